//! Connections, and what keeps a bad one from doing harm.

use std::{future::Future, time::Duration};

use sqlx::{
    ConnectOptions as _, Executor as _, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing::log::LevelFilter;

/// How alike two texts must look for the search to offer one for the other. The extension's own 0.6
/// leaves out nearly every word with two letters swapped.
const ALIKE: (&str, &str) = ("pg_trgm.word_similarity_threshold", "0.3");

/// Longer than any statement of a page should take, shorter than a visitor's patience.
const GUARDS: [(&str, &str); 4] = [
    ("statement_timeout", "2s"),
    ("lock_timeout", "1s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("application_name", "social-post"),
];

/// A pool that answers within a second or says that it cannot.
///
/// It does not connect yet: the site starts while its database is down.
pub fn open(options: PgConnectOptions, max_connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(1))
        .test_before_acquire(false)
        .before_acquire(|connection, idle| {
            Box::pin(async move {
                // Round trips dominate a page's time: only a connection that has rested is asked.
                if idle.idle_for < Duration::from_secs(1) {
                    return Ok(true);
                }
                // Inside a transaction that a dropped `BEGIN` left open, `now()` stands still; on a
                // server that became a standby nothing can be written. Such a connection is closed.
                let probe = connection.fetch_one(
                    "select now() = statement_timestamp() \
                     and current_setting('transaction_read_only') = 'off'",
                );
                match tokio::time::timeout(Duration::from_millis(500), probe).await {
                    Ok(Ok(row)) => row.try_get(0),
                    _ => Ok(false),
                }
            })
        })
        .connect_lazy_with(guarded(options).options(GUARDS).options([ALIKE]))
}

/// Without the guards' time limits: for migrations, imports and other long work, where a slow
/// statement is no news.
pub fn open_unhurried(options: PgConnectOptions) -> PgPool {
    let options = guarded(options).log_slow_statements(LevelFilter::Trace, Duration::from_secs(1));
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options.options([("application_name", "social-post")]))
}

/// Statements are logged only when somebody asks for it, and never with their values.
fn guarded(options: PgConnectOptions) -> PgConnectOptions {
    options
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Warn, Duration::from_secs(1))
}

/// Runs `write` again, up to three times more, when Postgres ended it to break a deadlock or a
/// serialization conflict: neither left anything behind.
pub async fn retrying<T, F>(mut write: impl FnMut() -> F) -> sqlx::Result<T>
where
    F: Future<Output = sqlx::Result<T>>,
{
    for attempt in 1..=3u64 {
        match write().await {
            Err(sqlx::Error::Database(err))
                if matches!(err.code().as_deref(), Some("40001" | "40P01")) =>
            {
                let jitter = rand::random::<u64>() % 10;
                tokio::time::sleep(Duration::from_millis(attempt * 10 + jitter)).await;
            }
            done => return done,
        }
    }
    write().await
}

/// Whether a write failed because a row it refers to is gone, deleted while the request ran.
pub fn refers_to_nothing(err: &sqlx::Error) -> bool {
    err.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}
