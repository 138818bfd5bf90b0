//! A replica, and whether it may be read just now.

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

/// What a replica shows may be this old. Who has just written reads from the primary for longer.
pub const MAX_LAG: Duration = Duration::from_secs(5);

const BETWEEN_CHECKS: Duration = Duration::from_secs(1);

/// A replica that has not said within this time how it is cannot serve a page either.
const CHECK: Duration = Duration::from_secs(1);

/// A streaming standby of the site's database.
///
/// It is left out while it does not answer, lags, or has another schema, and comes back by itself.
#[derive(Clone)]
pub struct Replica {
    pool: PgPool,
    /// To look at it with: a busy pool must not be taken for a dead server.
    eye: PgPool,
    state: Arc<State>,
}

struct State {
    is_fit: AtomicBool,
    doubted: Notify,
}

impl Replica {
    /// It is not read before [`Replica::watch`] has found it fit.
    pub fn new(options: &PgConnectOptions, max_connections: u32) -> Replica {
        Replica {
            pool: pool::open_reading(options.clone(), max_connections),
            eye: pool::open_reading(options.clone(), 1),
            state: Arc::new(State { is_fit: AtomicBool::new(false), doubted: Notify::new() }),
        }
    }

    /// The pool to read from, while it is fit.
    pub fn fit(&self) -> Option<&PgPool> {
        self.state.is_fit.load(Ordering::Relaxed).then_some(&self.pool)
    }

    /// A read has failed: leaves the replica out until it was looked at, which happens at once.
    pub fn mark_unhealthy(&self) {
        self.state.is_fit.store(false, Ordering::Relaxed);
        self.state.doubted.notify_one();
    }

    /// Looks every second how the replica is, for ever: an error is only an answer.
    pub async fn watch(self, primary: PgPool) {
        let mut history = History::default();
        let mut told = None;
        loop {
            // The primary first: what it had written by now is what the replica has to have.
            if let Ok(Ok(position)) = timeout(CHECK, position(&primary)).await {
                history.note(Instant::now(), position);
            }
            let check = examine(&self.eye, &history, self.fit().is_some());
            let found = match timeout(CHECK, check).await {
                Ok(found) => found,
                Err(_) => Err("it does not answer".to_owned()),
            };
            self.state.is_fit.store(found.is_ok(), Ordering::Relaxed);
            if told.as_ref() != Some(&found) {
                match &found {
                    Ok(()) => tracing::info!("reading from the replica"),
                    Err(reason) => tracing::warn!(reason, "the replica is left out"),
                }
            }
            // Nobody reads what is left out, so only one that is read can be doubted.
            if found.is_ok() {
                drop(timeout(BETWEEN_CHECKS, self.state.doubted.notified()).await);
            } else {
                sleep(BETWEEN_CHECKS).await;
            }
            told = Some(found);
        }
    }
}

/// Why the site would not read from this replica now, after five seconds at most and those to connect;
/// `None` where it would.
pub async fn fault(options: &PgConnectOptions, primary: &PgPool) -> sqlx::Result<Option<String>> {
    let eye = pool::open_reading(options.clone(), 1);
    let mut history = History::default();
    let now = position(primary).await?;
    let wanted = now.at;
    history.note(Instant::now(), now);
    let look = async {
        examine(&eye, &history, false).await?;
        let until = Instant::now() + MAX_LAG;
        while position(&eye).await.is_ok_and(|position| position.at < wanted) {
            if Instant::now() > until {
                return Err(format!("it is more than {} seconds behind", MAX_LAG.as_secs()));
            }
            sleep(BETWEEN_CHECKS / 4).await;
        }
        Ok(())
    };
    let found = look.await.err();
    eye.close().await;
    Ok(found)
}

/// Where a server's log stands, and of which database.
struct Position {
    /// The cluster and the database in it: the same on the primary and all its standbys.
    of: String,
    is_standby: bool,
    /// What is written here, or on a standby, what of it can be read.
    at: i64,
}

async fn position(db: &PgPool) -> sqlx::Result<Position> {
    let (of, is_standby, at) = sqlx::query_as(
        "select system_identifier || ' ' || current_database(), pg_is_in_recovery(), \
         pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() \
         else pg_current_wal_lsn() end, '0/0')::bigint from pg_control_system()",
    )
    .fetch_one(db)
    .await?;
    Ok(Position { of, is_standby, at })
}

/// `Err` says why the replica must not be read.
async fn examine(replica: &PgPool, history: &History, was_fit: bool) -> Result<(), String> {
    let position = position(replica).await.map_err(|err| format!("it does not answer: {err}"))?;
    if !position.is_standby {
        return Err("it is no standby: DATABASE_REPLICA_URL names a primary".to_owned());
    }
    if history.of.as_ref().is_some_and(|of| *of != position.of) {
        return Err("it is a standby of another database than DATABASE_URL names".to_owned());
    }
    if history.lag(Instant::now(), position.at) > MAX_LAG {
        return Err(format!("it is more than {} seconds behind", MAX_LAG.as_secs()));
    }
    // It changes with the primary's, and a statement that does not fit it raises a mark_unhealthy.
    if !was_fit {
        match migrations::mismatch(replica).await {
            Ok(None) => {}
            Ok(Some(mismatch)) => return Err(mismatch.to_string()),
            Err(err) => return Err(format!("it does not answer: {err}")),
        }
    }
    Ok(())
}

/// Where the primary stood at each look. It tells how old a standby's data are without comparing
/// clocks, and a primary on which nothing happens makes no standby look late.
///
/// While the primary is away nothing is added: what a standby has then is the best there is.
#[derive(Default)]
struct History {
    of: Option<String>,
    seen: VecDeque<(Instant, i64)>,
}

impl History {
    fn note(&mut self, now: Instant, primary: Position) {
        // After a failover the log may go on from an earlier place.
        if self.seen.back().is_some_and(|(_, last)| *last > primary.at) {
            self.seen.clear();
        }
        self.of = Some(primary.of);
        self.seen.push_back((now, primary.at));
        // One that is older than the lag may grow, to tell whether it does.
        while self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) > MAX_LAG) {
            self.seen.pop_front();
        }
    }

    /// How long ago the primary had already written what a standby at `replayed` lacks.
    fn lag(&self, now: Instant, replayed: i64) -> Duration {
        let lacking = self.seen.iter().find(|(_, written)| *written > replayed);
        lacking.map_or(Duration::ZERO, |(at, _)| now.duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: i64) -> Position {
        Position { of: "7 site".into(), is_standby: false, at: position }
    }

    #[test]
    fn a_standby_is_as_late_as_the_first_thing_it_lacks() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut history = History::default();
        assert_eq!(history.lag(start, 0), Duration::ZERO, "nothing is known yet");

        for second in 0..60 {
            history.note(after(second), at(100));
        }
        assert_eq!(
            history.lag(after(59), 100),
            Duration::ZERO,
            "an idle primary makes nobody late"
        );
        for second in 60..90 {
            history.note(after(second), at(100 + second as i64));
        }
        assert_eq!(history.lag(after(89), 189), Duration::ZERO);
        assert_eq!(history.lag(after(89), 186), Duration::from_secs(2));
        assert!(history.lag(after(89), 150) > MAX_LAG);
        assert!(history.seen.len() < 10, "it grows without end");

        // The primary is away: nobody gets any later.
        assert_eq!(history.lag(after(89), 189), Duration::ZERO);
        // A new primary went on from an earlier place.
        history.note(after(300), at(180));
        assert_eq!(history.lag(after(301), 180), Duration::ZERO);
    }
}
