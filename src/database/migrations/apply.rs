//! Moving the schema while the site serves.
//!
//! Each migration is one transaction that waits only a moment for a lock, because every statement
//! behind a waiting `alter table` waits too. An index on a table with rows is built afterwards, beside
//! readers and writers; until it is built the migration counts as begun and not finished.

use std::time::{Duration, Instant};

use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool, Postgres, Row as _,
    migrate::{Migrate as _, MigrateError, Migration},
    postgres::PgArguments,
};

use crate::database::migrations::{
    LOCK_TIMEOUT, MIGRATIONS, MigrationError, Mismatch, RETRY_TIMEOUT, State, Step, Target,
    statements::{Index, Statements},
    status::steps,
};

/// Moves the schema, one migration after the other, while the site serves; does nothing at the target.
/// Several programs at once wait for each other.
///
/// No migration holds a lock that readers or writers wait for longer than its own statements take,
/// and none waits for a lock longer than a quarter of a second at a time. A failure leaves the schema
/// at the migration before, or at one that the next `up` finishes.
pub async fn migrate(db: &PgPool, target: Target) -> Result<(), MigrationError> {
    // A connection of its own, closed at the end in every case: that releases the lock.
    let mut connection = db.acquire().await?.detach();
    let done = migrate_with(&mut connection, target).await;
    connection.close().await?;
    done
}

async fn migrate_with(connection: &mut PgConnection, target: Target) -> Result<(), MigrationError> {
    lock(connection).await?;
    connection.ensure_migrations_table().await?;
    for (migration, direction) in plan(&steps(connection).await?, target)? {
        match direction {
            Direction::Up => apply(connection, migration).await?,
            Direction::Finish => {
                finish(connection, migration, &Statements::separate_all(&migration.sql)).await?;
            }
            Direction::Down => revert(connection, migration).await?,
        }
        let direction = direction.as_str();
        tracing::info!(
            "migration {:04} ({}) {direction}",
            migration.version,
            migration.description
        );
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    /// Only its indexes are missing.
    Finish,
    Down,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Direction::Up => "applied",
            Direction::Finish => "finished",
            Direction::Down => "reverted",
        }
    }
}

/// Which migrations to run, in order.
pub(super) fn plan(
    steps: &[Step],
    target: Target,
) -> Result<Vec<(&'static Migration, Direction)>, MigrationError> {
    let target = target_version(steps, target)?;
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for step in steps {
        match (step.state, step.version > target) {
            (State::Unknown, _) => return Err(MigrationError::Mismatch(Mismatch::Ahead)),
            (State::Changed, false) => return Err(MigrationError::Mismatch(Mismatch::Foreign)),
            (State::Broken, true) => return Err(MigrationError::Mismatch(Mismatch::Unfinished)),
            (State::Applied | State::Changed, true) => {
                down.push((migration(step, false)?, Direction::Down));
            }
            (State::Pending, false) => up.push((migration(step, true)?, Direction::Up)),
            (State::Broken, false) => up.push((migration(step, true)?, Direction::Finish)),
            (State::Applied, false) | (State::Pending, true) => {}
        }
    }
    if !down.is_empty() && up.iter().any(|(_, direction)| *direction == Direction::Finish) {
        return Err(MigrationError::Mismatch(Mismatch::Unfinished));
    }
    down.reverse();
    down.extend(up);
    Ok(down)
}

/// The last version that is to be applied.
fn target_version(steps: &[Step], target: Target) -> Result<i64, MigrationError> {
    match target {
        Target::Up => Ok(i64::MAX),
        Target::Down(count) => {
            let is_there = |step: &&Step| step.state != State::Pending;
            let versions: Vec<i64> =
                steps.iter().filter(is_there).map(|step| step.version).collect();
            Ok(versions.len().checked_sub(count + 1).map_or(0, |at| versions[at]))
        }
        Target::To(version) if version != 0 && !MIGRATIONS.version_exists(version) => {
            Err(MigrationError::NoSuchVersion(version))
        }
        Target::To(version) => Ok(version),
    }
}

fn migration(step: &Step, is_up: bool) -> Result<&'static Migration, MigrationError> {
    let is_it = |migration: &&Migration| {
        migration.version == step.version && migration.migration_type.is_up_migration() == is_up
    };
    MIGRATIONS.iter().find(is_it).ok_or(MigrationError::Mismatch(Mismatch::Ahead))
}

/// Waits until no other program migrates this database. In short waits: a statement that waits holds
/// a snapshot, which would block the other program's `create index concurrently`.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let wait = format!("set lock_timeout = '{}ms'", LOCK_TIMEOUT.as_millis());
    connection.execute(wait.as_str()).await?;
    let mut is_logged = false;
    loop {
        match connection.lock().await {
            Err(MigrateError::Execute(err)) if is_lock_timeout(&err) => {
                if !is_logged {
                    tracing::info!("another program is migrating this database; waiting for it");
                    is_logged = true;
                }
                tokio::time::sleep(LOCK_TIMEOUT).await;
            }
            done => return Ok(done?),
        }
    }
}

async fn apply(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrationError> {
    let started = Instant::now();
    let statements = Statements::separate(connection, &migration.sql).await?;
    let record =
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values ($1, $2, $3, $4, -1)";
    let record = || {
        sqlx::query(record)
            .bind(migration.version)
            .bind(migration.description.to_string())
            .bind(statements.indexes.is_empty())
            .bind(migration.checksum.to_vec())
    };
    run_with_retries(connection, migration, &statements.text, record).await?;
    finish(connection, migration, &statements).await?;
    let took = i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX);
    sqlx::query("update _sqlx_migrations set execution_time = $2 where version = $1")
        .bind(migration.version)
        .bind(took)
        .execute(connection)
        .await?;
    Ok(())
}

/// Indexes that come back on a table with rows are built before the rest is dropped: interrupted in
/// between, the migration still counts as applied, and nothing is missing.
async fn revert(
    connection: &mut PgConnection,
    migration: &Migration,
) -> Result<(), MigrationError> {
    let statements = Statements::separate(connection, &migration.sql).await?;
    build(connection, migration, &statements.indexes).await?;
    let forget =
        || sqlx::query("delete from _sqlx_migrations where version = $1").bind(migration.version);
    run_with_retries(connection, migration, &statements.text_down(), forget).await
}

type Statement = sqlx::query::Query<'static, Postgres, PgArguments>;

/// Runs `text` and `record` in one transaction. When a lock is not free at once the transaction is
/// rolled back, so that waiting statements can pass, and tried again.
async fn run_with_retries(
    connection: &mut PgConnection,
    migration: &Migration,
    text: &str,
    record: impl Fn() -> Statement,
) -> Result<(), MigrationError> {
    let (version, name) = (migration.version, migration.description.to_string());
    let deadline = Instant::now() + RETRY_TIMEOUT;
    let mut pause = LOCK_TIMEOUT;
    loop {
        match run(connection, text, record()).await {
            Ok(()) => return Ok(()),
            Err(err) if !is_lock_timeout(&err) => {
                return Err(MigrationError::Failed { version, name, cause: err });
            }
            Err(_) if Instant::now() > deadline => {
                let holders = holders(connection).await?;
                return Err(MigrationError::Locked { version, name, holders });
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

async fn run(connection: &mut PgConnection, text: &str, record: Statement) -> sqlx::Result<()> {
    let mut tx = connection.begin().await?;
    tx.execute(text).await?;
    record.execute(&mut *tx).await?;
    tx.commit().await
}

/// Builds the missing indexes beside readers and writers, drops those that they replace, and records
/// the migration as finished.
async fn finish(
    connection: &mut PgConnection,
    migration: &Migration,
    statements: &Statements,
) -> Result<(), MigrationError> {
    build(connection, migration, &statements.indexes).await?;
    for name in &statements.replaced {
        run_concurrently(connection, &format!("drop index concurrently if exists {name}")).await?;
    }
    sqlx::query("update _sqlx_migrations set success = true where version = $1 and not success")
        .bind(migration.version)
        .execute(connection)
        .await?;
    Ok(())
}

async fn build(
    connection: &mut PgConnection,
    migration: &Migration,
    indexes: &[Index],
) -> Result<(), MigrationError> {
    for index in indexes {
        build_index(connection, index).await.map_err(|cause| MigrationError::NoIndex {
            version: migration.version,
            name: migration.description.to_string(),
            index: index.name.clone(),
            cause,
        })?;
    }
    Ok(())
}

/// Waits for all open transactions, while nothing waits for it.
async fn build_index(connection: &mut PgConnection, index: &Index) -> sqlx::Result<()> {
    let Index { name, definition, is_unique, .. } = index;
    let state = sqlx::query_scalar::<_, bool>(
        "select indisvalid from pg_index where indexrelid = to_regclass($1)",
    );
    match state.bind(name).fetch_optional(&mut *connection).await? {
        Some(true) => return Ok(()),
        // An earlier try left an index that no query uses.
        Some(false) => {
            run_concurrently(connection, &format!("drop index concurrently {name}")).await?;
        }
        None => {}
    }
    let unique = if *is_unique { "unique " } else { "" };
    let create = format!("create {unique}index concurrently {name} {definition}");
    run_concurrently(connection, &create).await
}

/// Runs a `concurrently` statement, which waits for all open transactions, without a lock timeout.
async fn run_concurrently(connection: &mut PgConnection, statement: &str) -> sqlx::Result<()> {
    connection.execute("set lock_timeout = 0").await?;
    let done = connection.execute(statement).await;
    let wait = format!("set lock_timeout = '{}ms'", LOCK_TIMEOUT.as_millis());
    connection.execute(wait.as_str()).await?;
    done.map(drop)
}

/// A deadlock counts too: to break it Postgres ends one of the two transactions, which may be ours.
fn is_lock_timeout(err: &sqlx::Error) -> bool {
    let code = err.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

/// What may hold the lock: the three oldest transactions of other sessions.
async fn holders(connection: &mut PgConnection) -> sqlx::Result<String> {
    let found = sqlx::query(
        "select pid, coalesce(nullif(application_name, ''), 'without a name'),
            extract(epoch from now() - xact_start)::bigint
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
        order by xact_start limit 3",
    )
    .fetch_all(connection)
    .await?;
    let mut lines = Vec::new();
    for row in found {
        let (pid, name, age): (i32, String, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        lines.push(format!("process {pid} ({name}) has a transaction open for {age} s"));
    }
    if lines.is_empty() {
        return Ok("the transaction that held them has ended".to_owned());
    }
    Ok(format!("{}: wait for it, or end it with pg_terminate_backend", lines.join(", ")))
}
