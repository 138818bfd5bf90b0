//! The read replica, and whether it is healthy.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::database::{migrations, pool};

/// The greatest lag of a healthy replica. A client that has just written reads from the primary for
/// longer.
pub const MAX_LAG: Duration = Duration::from_secs(5);

const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A replica whose check takes longer than this cannot serve a page either.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// A streaming standby of the site's database.
///
/// It is not read while it does not answer, lags or has another schema; it is read again by itself.
#[derive(Clone)]
pub struct Replica {
    pool: PgPool,
    /// For checks: a busy pool must not look like a dead server.
    checks: PgPool,
    health: Arc<Health>,
}

struct Health {
    is_healthy: AtomicBool,
    /// A read has failed.
    reported: Notify,
}

impl Replica {
    /// It is not read before [`Replica::watch`] has found it healthy.
    pub fn new(options: &PgConnectOptions, max_connections: u32) -> Replica {
        Replica {
            pool: pool::open_reading(options.clone(), max_connections),
            checks: pool::open_reading(options.clone(), 1),
            health: Arc::new(Health {
                is_healthy: AtomicBool::new(false),
                reported: Notify::new(),
            }),
        }
    }

    /// The pool to read from, while the replica is healthy.
    pub fn healthy(&self) -> Option<&PgPool> {
        self.health.is_healthy.load(Ordering::Relaxed).then_some(&self.pool)
    }

    /// Stops reading from the replica after a failed read, until the next check, which starts at once.
    pub fn mark_unhealthy(&self) {
        self.health.is_healthy.store(false, Ordering::Relaxed);
        self.health.reported.notify_one();
    }

    /// Checks the replica every second, for as long as the process runs; an error makes it unhealthy.
    pub async fn watch(self, primary: PgPool) {
        let mut history = History::default();
        let mut logged = None;
        loop {
            // The primary first: the replica has to have what is written there by now.
            if let Ok(Ok(position)) = timeout(CHECK_TIMEOUT, position(&primary)).await {
                history.record(Instant::now(), position);
            }
            let check = examine(&self.checks, &history, self.healthy().is_some());
            let found = match timeout(CHECK_TIMEOUT, check).await {
                Ok(found) => found,
                Err(_) => Err("it does not answer".to_owned()),
            };
            self.health.is_healthy.store(found.is_ok(), Ordering::Relaxed);
            if logged.as_ref() != Some(&found) {
                match &found {
                    Ok(()) => tracing::info!("reading from the replica"),
                    Err(reason) => tracing::warn!(reason, "the replica is left out"),
                }
            }
            // Only a healthy replica is read, so only then can a read fail.
            if found.is_ok() {
                drop(timeout(CHECK_INTERVAL, self.health.reported.notified()).await);
            } else {
                sleep(CHECK_INTERVAL).await;
            }
            logged = Some(found);
        }
    }
}

/// Why the site would not read from this replica now; `None` where it would. Takes five seconds at most,
/// and the time to connect.
pub async fn fault(options: &PgConnectOptions, primary: &PgPool) -> sqlx::Result<Option<String>> {
    let checks = pool::open_reading(options.clone(), 1);
    let mut history = History::default();
    let now = position(primary).await?;
    let wanted = now.at;
    history.record(Instant::now(), now);
    let check = async {
        examine(&checks, &history, false).await?;
        let until = Instant::now() + MAX_LAG;
        while position(&checks).await.is_ok_and(|position| position.at < wanted) {
            if Instant::now() > until {
                return Err(format!("it is more than {} seconds behind", MAX_LAG.as_secs()));
            }
            sleep(CHECK_INTERVAL / 4).await;
        }
        Ok(())
    };
    let found = check.await.err();
    checks.close().await;
    Ok(found)
}

/// A position in the write-ahead log of a server.
struct Position {
    /// The cluster and the database: the same on the primary and all its standbys.
    database: String,
    is_standby: bool,
    /// What is written here, or on a standby, replayed.
    at: i64,
}

async fn position(db: &PgPool) -> sqlx::Result<Position> {
    let (database, is_standby, at) = sqlx::query_as(
        "select system_identifier || ' ' || current_database(), pg_is_in_recovery(), \
         pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() \
         else pg_current_wal_lsn() end, '0/0')::bigint from pg_control_system()",
    )
    .fetch_one(db)
    .await?;
    Ok(Position { database, is_standby, at })
}

/// `Err` says why the replica must not be read.
async fn examine(replica: &PgPool, history: &History, was_healthy: bool) -> Result<(), String> {
    let position = position(replica).await.map_err(|err| format!("it does not answer: {err}"))?;
    if !position.is_standby {
        return Err("it is not a standby: DATABASE_REPLICA_URL names a primary".to_owned());
    }
    if history.database.as_ref().is_some_and(|database| *database != position.database) {
        return Err("it is a standby of another database than DATABASE_URL names".to_owned());
    }
    if history.lag(Instant::now(), position.at) > MAX_LAG {
        return Err(format!("it is more than {} seconds behind", MAX_LAG.as_secs()));
    }
    // The schema changes with the primary's, and a read that does not fit it marks the replica unhealthy.
    if !was_healthy {
        match migrations::mismatch(replica).await {
            Ok(None) => {}
            Ok(Some(mismatch)) => return Err(mismatch.to_string()),
            Err(err) => return Err(format!("it does not answer: {err}")),
        }
    }
    Ok(())
}

/// The primary's position at each check. It tells how old a standby's data is without comparing clocks,
/// and an idle primary makes no standby look late.
///
/// While the primary is unreachable nothing is added, so that the standby stays healthy.
#[derive(Default)]
struct History {
    database: Option<String>,
    seen: VecDeque<(Instant, i64)>,
}

impl History {
    fn record(&mut self, now: Instant, primary: Position) {
        // After a failover the log may continue from an earlier position.
        if self.seen.back().is_some_and(|(_, last)| *last > primary.at) {
            self.seen.clear();
        }
        self.database = Some(primary.database);
        self.seen.push_back((now, primary.at));
        // Keeps one older than the greatest lag, to detect a greater one.
        while self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) > MAX_LAG) {
            self.seen.pop_front();
        }
    }

    /// How long ago the primary had written what a standby at `replayed` does not have.
    fn lag(&self, now: Instant, replayed: i64) -> Duration {
        let lacking = self.seen.iter().find(|(_, written)| *written > replayed);
        lacking.map_or(Duration::ZERO, |(at, _)| now.duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: i64) -> Position {
        Position { database: "7 site".into(), is_standby: false, at: position }
    }

    #[test]
    fn a_standby_is_as_late_as_the_first_thing_it_lacks() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut history = History::default();
        assert_eq!(history.lag(start, 0), Duration::ZERO, "nothing is known yet");

        for second in 0..60 {
            history.record(after(second), at(100));
        }
        assert_eq!(
            history.lag(after(59), 100),
            Duration::ZERO,
            "an idle primary makes nobody late"
        );
        for second in 60..90 {
            history.record(after(second), at(100 + second as i64));
        }
        assert_eq!(history.lag(after(89), 189), Duration::ZERO);
        assert_eq!(history.lag(after(89), 186), Duration::from_secs(2));
        assert!(history.lag(after(89), 150) > MAX_LAG);
        assert!(history.seen.len() < 10, "it grows without end");

        // The primary is unreachable: the lag does not grow.
        assert_eq!(history.lag(after(89), 189), Duration::ZERO);
        // A new primary continues from an earlier position.
        history.record(after(300), at(180));
        assert_eq!(history.lag(after(301), 180), Duration::ZERO);
    }
}
