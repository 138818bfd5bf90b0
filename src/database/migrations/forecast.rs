//! What a migration would do to a site that serves, found out in a transaction that is rolled back.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, Row as _, migrate::Migration};

use crate::database::migrations::{
    MAX_HOLD, MigrationError, Target,
    apply::{Direction, lock, plan},
    statements::Statements,
    status::steps,
};

/// What one migration would do.
#[derive(Debug)]
pub struct Forecast {
    pub version: i64,
    pub name: String,
    pub is_down: bool,
    /// How long its statements took: it holds no lock longer.
    pub took: Duration,
    /// Without those of the forecasts before it.
    pub locks: Vec<Lock>,
    /// Built beside readers and writers, each with its table.
    pub indexes: Vec<(String, String)>,
    /// Tables that are dropped, each with the number of its rows now.
    pub drops: Vec<(String, i64)>,
    /// Why it would not run, or would block people for too long.
    pub problem: Option<String>,
}

/// A lock that other statements have to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    pub mode: String,
    pub table: String,
}

impl Lock {
    /// Whether readers wait too, and not writers alone.
    pub fn blocks_readers(&self) -> bool {
        self.mode == "AccessExclusiveLock"
    }
}

/// Tries the way to `target` in a transaction that is rolled back. It blocks the site no longer than
/// the migrations themselves may: a statement that takes longer is cancelled, and the forecast ends
/// there.
pub async fn forecast(db: &PgPool, target: Target) -> Result<Vec<Forecast>, MigrationError> {
    let mut connection = db.acquire().await?.detach();
    let found = try_out(&mut connection, target).await;
    connection.close().await?;
    found
}

async fn try_out(
    connection: &mut PgConnection,
    target: Target,
) -> Result<Vec<Forecast>, MigrationError> {
    lock(connection).await?;
    let plan = plan(&steps(connection).await?, target)?;
    let tables = tables(connection).await?;
    let mut tx = connection.begin().await?;
    let limit = format!("set local statement_timeout = '{}ms'", MAX_HOLD.as_millis());
    tx.execute(limit.as_str()).await?;
    let mut forecasts: Vec<Forecast> = Vec::new();
    for (migration, direction) in plan {
        let (mut forecast, has_run) = run(&mut tx, migration, direction).await?;
        if has_run {
            add_effects(&mut tx, &tables, &forecasts, &mut forecast).await?;
        }
        forecasts.push(forecast);
        if !has_run {
            break;
        }
    }
    tx.rollback().await?;
    // Only now, when nothing waits for our locks.
    for (table, rows) in forecasts.iter_mut().flat_map(|forecast| &mut forecast.drops) {
        let count = format!("select count(*) from {table}");
        *rows = connection.fetch_one(count.as_str()).await?.try_get(0)?;
    }
    Ok(forecasts)
}

/// Every table of ours, by its oid.
async fn tables(connection: &mut PgConnection) -> sqlx::Result<HashMap<i64, String>> {
    let tables = sqlx::query_as(
        "select c.oid::bigint, c.oid::regclass::text from pg_class c
        where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text not like 'pg\\_%'
            and c.relnamespace::regnamespace::text <> 'information_schema'",
    );
    Ok(tables.fetch_all(connection).await?.into_iter().collect())
}

/// Runs the statements of one migration. `false` where they failed: the transaction is aborted then.
async fn run(
    tx: &mut PgConnection,
    migration: &Migration,
    direction: Direction,
) -> sqlx::Result<(Forecast, bool)> {
    let statements = match direction {
        Direction::Up => Statements::separate(tx, &migration.sql).await?,
        Direction::Finish => {
            Statements { text: String::new(), ..Statements::separate_all(&migration.sql) }
        }
        Direction::Down => {
            let statements = Statements::separate(tx, &migration.sql).await?;
            Statements { text: statements.text_down(), ..statements }
        }
    };
    let started = Instant::now();
    let outcome = tx.execute(statements.text.as_str()).await;
    let took = started.elapsed();
    let forecast = Forecast {
        version: migration.version,
        name: migration.description.to_string(),
        is_down: direction == Direction::Down,
        took,
        locks: Vec::new(),
        indexes: statements.indexes.into_iter().map(|index| (index.name, index.table)).collect(),
        drops: Vec::new(),
        problem: match &outcome {
            Err(err) => Some(problem(err)),
            Ok(_) => (took > MAX_HOLD).then(too_long),
        },
    };
    Ok((forecast, outcome.is_ok()))
}

/// Adds the locks and the dropped tables that the earlier forecasts do not have.
async fn add_effects(
    tx: &mut PgConnection,
    tables: &HashMap<i64, String>,
    earlier: &[Forecast],
    forecast: &mut Forecast,
) -> sqlx::Result<()> {
    let is_new_lock = |lock: &Lock| !earlier.iter().any(|one| one.locks.contains(lock));
    forecast.locks = locks(tx, tables).await?.into_iter().filter(is_new_lock).collect();
    let is_new_drop =
        |table: &String| !earlier.iter().any(|one| one.drops.iter().any(|(name, _)| name == table));
    let dropped = dropped(tx, tables).await?.into_iter().filter(is_new_drop);
    forecast.drops = dropped.map(|table| (table, 0)).collect();
    Ok(())
}

fn problem(err: &sqlx::Error) -> String {
    let code = err.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some("57014") => too_long(),
        Some("55P03" | "40P01") => {
            "somebody holds what it has to lock: it would wait for them, and go on trying for a \
             minute"
                .to_owned()
        }
        _ => format!("it would fail: {err}"),
    }
}

fn too_long() -> String {
    let most = MAX_HOLD.as_secs();
    format!("it would keep people waiting for longer than {most} s: stop the site for it")
}

/// The locks of this transaction that block writers or readers.
async fn locks(
    connection: &mut PgConnection,
    tables: &HashMap<i64, String>,
) -> sqlx::Result<Vec<Lock>> {
    let held = sqlx::query(
        "select relation::bigint, mode from pg_locks
        where pid = pg_backend_pid() and locktype = 'relation' and granted and mode in
            ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        order by mode",
    )
    .fetch_all(connection)
    .await?;
    let mut locks = Vec::new();
    for row in held {
        if let Some(table) = tables.get(&row.try_get(0)?) {
            locks.push(Lock { mode: row.try_get(1)?, table: table.clone() });
        }
    }
    locks.sort_by(|one, other| one.table.cmp(&other.table));
    Ok(locks)
}

async fn dropped(
    connection: &mut PgConnection,
    tables: &HashMap<i64, String>,
) -> sqlx::Result<Vec<String>> {
    let oids: Vec<i64> = tables.keys().copied().collect();
    let dropped: Vec<i64> = sqlx::query_scalar(
        "select oid from unnest($1::bigint[]) as was (oid)
        where not exists (select from pg_class c where c.oid::bigint = was.oid)",
    )
    .bind(oids)
    .fetch_all(connection)
    .await?;
    let mut dropped: Vec<_> = dropped.iter().filter_map(|oid| tables.get(oid).cloned()).collect();
    dropped.sort();
    Ok(dropped)
}
