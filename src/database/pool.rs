//! Connection pools, their timeouts, and checks that replace broken connections.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Executor as _, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing::log::LevelFilter;

/// How similar two texts must be for the search to suggest one for the other. The extension's default of
/// 0.6 misses nearly every word with two letters swapped.
const SIMILARITY: (&str, &str) = ("pg_trgm.word_similarity_threshold", "0.3");

/// Longer than any statement of a page should take, shorter than a visitor waits.
const TIMEOUTS: [(&str, &str); 4] = [
    ("statement_timeout", "2s"),
    ("lock_timeout", "1s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("application_name", "social-post"),
];

/// A pool that gives out a connection within a second or fails.
///
/// It connects lazily: the site can start while its database is down.
pub fn open(options: PgConnectOptions, max_connections: u32) -> PgPool {
    // On a server that became a standby nothing can be written.
    let probe = "select now() = statement_timestamp() \
                 and current_setting('transaction_read_only') = 'off'";
    probed(options, max_connections, probe)
}

/// As [`open`], for a replica: read only, even where the server is a primary.
pub fn open_reading(options: PgConnectOptions, max_connections: u32) -> PgPool {
    let options = options.options([("default_transaction_read_only", "on")]);
    probed(options, max_connections, "select now() = statement_timestamp()")
}

/// A pool that checks its connections with `probe` and closes those where it does not return true.
///
/// Inside a transaction that a dropped `BEGIN` left open, `now()` does not advance.
fn probed(options: PgConnectOptions, max_connections: u32, probe: &'static str) -> PgPool {
    let probing = Arc::new(Probing::default());
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(Duration::from_secs(1))
        .test_before_acquire(false)
        .before_acquire(move |connection, idle| {
            let probing = probing.clone();
            Box::pin(async move {
                if idle.idle_for < RESTED && !probing.is_due() {
                    return Ok(true);
                }
                let answer = connection.fetch_one(probe);
                let is_good = match tokio::time::timeout(Duration::from_millis(500), answer).await {
                    Ok(Ok(row)) => row.try_get(0)?,
                    _ => false,
                };
                probing.record(is_good);
                Ok(is_good)
            })
        })
        .connect_lazy_with(with_logging(options.options(TIMEOUTS)).options([SIMILARITY]))
}

const RESTED: Duration = Duration::from_secs(1);
/// For so long after a broken connection all of them are checked.
const SUSPICION: Duration = Duration::from_secs(5);

/// Decides when a connection that was used recently is checked. Round trips dominate a page's time, so
/// a busy pool checks only one connection a second; but if that one is broken, such as after a failover,
/// the others probably are too.
struct Probing {
    opened: Instant,
    /// When the next check is due, in milliseconds since `opened`.
    due: AtomicU64,
    /// Until when every check is due.
    suspect: AtomicU64,
}

impl Default for Probing {
    fn default() -> Probing {
        Probing { opened: Instant::now(), due: AtomicU64::new(0), suspect: AtomicU64::new(0) }
    }
}

impl Probing {
    fn is_due(&self) -> bool {
        let now = self.after(Duration::ZERO);
        self.due.load(Ordering::Relaxed) <= now || now < self.suspect.load(Ordering::Relaxed)
    }

    fn record(&self, is_good: bool) {
        if is_good {
            self.due.store(self.after(RESTED), Ordering::Relaxed);
        } else {
            self.suspect.store(self.after(SUSPICION), Ordering::Relaxed);
        }
    }

    fn after(&self, wait: Duration) -> u64 {
        u64::try_from((self.opened.elapsed() + wait).as_millis()).unwrap_or(u64::MAX)
    }
}

/// A pool without timeouts, for migrations, imports and other long work, where a slow statement is
/// expected.
pub fn open_without_timeouts(options: PgConnectOptions) -> PgPool {
    let options =
        with_logging(options).log_slow_statements(LevelFilter::Trace, Duration::from_secs(1));
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options.options([("application_name", "social-post")]))
}

/// Statements are logged at level `trace` only, slow ones as a warning, and never with their values.
fn with_logging(options: PgConnectOptions) -> PgConnectOptions {
    options
        .log_statements(LevelFilter::Trace)
        .log_slow_statements(LevelFilter::Warn, Duration::from_secs(1))
}

/// Retries `write` up to three times when Postgres aborted it to break a deadlock or a serialization
/// conflict: neither leaves anything behind.
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

/// Whether a write failed because a row that it refers to was deleted while the request ran.
pub fn refers_to_nothing(err: &sqlx::Error) -> bool {
    err.as_database_error().is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}
