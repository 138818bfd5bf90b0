//! Connections, and what keeps a bad one from doing harm.

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
    // On a server that became a standby nothing can be written.
    let probe = "select now() = statement_timestamp() \
                 and current_setting('transaction_read_only') = 'off'";
    probed(options, max_connections, probe)
}

/// The same for a replica: nothing can be written through it, whatever it leads to.
pub fn open_reading(options: PgConnectOptions, max_connections: u32) -> PgPool {
    let options = options.options([("default_transaction_read_only", "on")]);
    probed(options, max_connections, "select now() = statement_timestamp()")
}

/// A pool that asks `probe` of its connections and closes those that do not answer with true.
///
/// Inside a transaction that a dropped `BEGIN` left open, `now()` stands still.
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
                probing.note(is_good);
                Ok(is_good)
            })
        })
        .connect_lazy_with(guarded(options.options(GUARDS)).options([ALIKE]))
}

const RESTED: Duration = Duration::from_secs(1);
/// For so long after a bad connection all of them are suspect.
const SUSPICION: Duration = Duration::from_secs(5);

/// When connections are asked that have not rested. Round trips dominate a page's time, so of a
/// busy pool only one connection is asked each second; but if that one is bad, such as after a
/// failover, the others probably are too.
struct Probing {
    opened: Instant,
    /// When the next one is due, in milliseconds from `opened` on.
    due: AtomicU64,
    /// Until when all are.
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

    fn note(&self, is_good: bool) {
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

/// Without the guards' time limits: for migrations, imports and other long work, where a slow
/// statement is no news.
pub fn open_without_timeouts(options: PgConnectOptions) -> PgPool {
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
