//! The schema's history, forward and back.
//!
//! Migrations are compiled in, so a program knows exactly which schema it was built for.

use std::{borrow::Cow, collections::HashMap};

use sqlx::{
    PgConnection, PgPool,
    migrate::{Migrate as _, MigrateError, Migrator},
};

pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// One recorded point of the schema, and whether this database has reached it.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub version: i64,
    pub name: String,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Applied,
    Pending,
    /// Applied by a newer program: this one does not know it.
    Unknown,
    /// Applied, but from another text than this program has.
    Changed,
    /// Begun and not finished.
    Broken,
}

/// Every known migration and every applied one, oldest first.
pub async fn status(db: &PgPool) -> Result<Vec<Step>, MigrateError> {
    let mut connection = db.acquire().await?;
    let mut applied: HashMap<i64, Cow<'static, [u8]>> = HashMap::new();
    let mut broken = None;
    if has_history(&mut connection).await? {
        broken = connection.dirty_version().await?;
        let found = connection.list_applied_migrations().await?;
        applied.extend(found.into_iter().map(|migration| (migration.version, migration.checksum)));
    }
    let ups = MIGRATIONS.iter().filter(|migration| migration.migration_type.is_up_migration());
    let mut steps: Vec<Step> = ups
        .map(|migration| {
            let state = match applied.remove(&migration.version) {
                _ if broken == Some(migration.version) => State::Broken,
                None => State::Pending,
                Some(checksum) if checksum == migration.checksum => State::Applied,
                Some(_) => State::Changed,
            };
            let name = migration.description.to_string();
            Step { version: migration.version, name, state }
        })
        .collect();
    steps.extend(applied.into_keys().map(|version| Step {
        version,
        name: "(from a newer program)".to_owned(),
        state: State::Unknown,
    }));
    steps.sort_by_key(|step| step.version);
    Ok(steps)
}

/// How the schema stands to the one this program was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("the database is behind this program: run `social-post migrate up`")]
    Behind,
    #[error(
        "the database is ahead of this program: run the newer social-post, or take the schema back \
         with that one's `social-post migrate down`"
    )]
    Ahead,
    #[error(
        "the database was migrated from other files than this program has: \
         see `social-post migrate status`"
    )]
    Foreign,
    #[error("a migration was begun and not finished: see `social-post migrate status`")]
    Unfinished,
}

/// `None` where the schema is the one this program was built for.
pub async fn mismatch(db: &PgPool) -> Result<Option<Mismatch>, MigrateError> {
    let steps = status(db).await?;
    let ranked = [
        (State::Unknown, Mismatch::Ahead),
        (State::Changed, Mismatch::Foreign),
        (State::Broken, Mismatch::Unfinished),
        (State::Pending, Mismatch::Behind),
    ];
    let found = ranked.iter().find(|(state, _)| steps.iter().any(|step| step.state == *state));
    Ok(found.map(|(_, mismatch)| *mismatch))
}

/// Applies everything pending; does nothing where there is nothing to do. Several at once wait for
/// each other.
pub async fn up(db: &PgPool) -> Result<(), MigrateError> {
    MIGRATIONS.run(db).await
}

/// Takes back the last `steps` migrations.
pub async fn down(db: &PgPool, steps: usize) -> Result<(), MigrateError> {
    let applied = applied_versions(db).await?;
    let Some(keep) = applied.len().checked_sub(steps + 1).and_then(|at| applied.get(at)) else {
        return MIGRATIONS.undo(db, 0).await;
    };
    MIGRATIONS.undo(db, *keep).await
}

/// Moves the schema to `version`, forward or back; 0 is the empty database. `VersionNotPresent`
/// where no migration has that version.
pub async fn to(db: &PgPool, version: i64) -> Result<(), MigrateError> {
    if version != 0 && !MIGRATIONS.version_exists(version) {
        return Err(MigrateError::VersionNotPresent(version));
    }
    let until: Vec<_> =
        MIGRATIONS.iter().filter(|migration| migration.version <= version).cloned().collect();
    let forward = Migrator { migrations: until.into(), ignore_missing: true, ..Migrator::DEFAULT };
    forward.run(db).await?;
    MIGRATIONS.undo(db, version).await
}

async fn applied_versions(db: &PgPool) -> Result<Vec<i64>, MigrateError> {
    let steps = status(db).await?;
    let is_applied = |step: &&Step| matches!(step.state, State::Applied | State::Changed);
    Ok(steps.iter().filter(is_applied).map(|step| step.version).collect())
}

/// Asked first, because the library's own way would make the table, and to look must not write.
async fn has_history(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(connection)
        .await
}
