//! Which migrations a database has, and whether it fits this program.

use std::{borrow::Cow, collections::HashMap};

use sqlx::{
    PgConnection, PgPool,
    migrate::{Migrate as _, MigrateError},
};

use crate::database::migrations::ups;

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
    steps(&mut *db.acquire().await?).await
}

/// As [`status`], on a connection.
pub(super) async fn steps(connection: &mut PgConnection) -> Result<Vec<Step>, MigrateError> {
    let mut applied: HashMap<i64, Cow<'static, [u8]>> = HashMap::new();
    let mut broken = None;
    if has_history(connection).await? {
        broken = connection.dirty_version().await?;
        let found = connection.list_applied_migrations().await?;
        applied.extend(found.into_iter().map(|migration| (migration.version, migration.checksum)));
    }
    let mut steps: Vec<Step> = ups()
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

/// Checked first, because the library's own call would create the table, and reading the status must
/// not write.
async fn has_history(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(connection)
        .await
}

/// How a database's schema differs from the one this program was built for.
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
    #[error("a migration was begun and not finished: run `social-post migrate up` to finish it")]
    Unfinished,
}

/// `None` where the schema is the one this program was built for.
pub async fn mismatch(db: &PgPool) -> Result<Option<Mismatch>, MigrateError> {
    Ok(mismatch_in(&status(db).await?))
}

/// As [`mismatch`], from steps that were read already.
pub fn mismatch_in(steps: &[Step]) -> Option<Mismatch> {
    let ranked = [
        (State::Unknown, Mismatch::Ahead),
        (State::Changed, Mismatch::Foreign),
        (State::Broken, Mismatch::Unfinished),
        (State::Pending, Mismatch::Behind),
    ];
    let found = ranked.iter().find(|(state, _)| steps.iter().any(|step| step.state == *state));
    found.map(|(_, mismatch)| *mismatch)
}
