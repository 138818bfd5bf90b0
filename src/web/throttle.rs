//! Rate limits, by client network or by member.
//!
//! The counters live in memory, separately in each process. Beyond a fixed number of clients the least
//! recently used are dropped. The attempts at one account must survive a restart, so `users` counts
//! them in the database.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, clock::Clock as _, clock::DefaultClock};
use quick_cache::sync::Cache;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    metrics::metrics,
    web::{Error, Result},
};

/// How many counters are kept: about 10 MB when full.
const CLIENTS: usize = 50_000;

/// A rate limit: what it counts, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateLimit {
    /// A guess at a password, or at who has an account: by client network.
    Guess,
    /// A new account: by client network.
    SignUp,
    /// A new password that has to be judged: by account.
    NewPassword,
    /// A letter: by the mailbox or address that it goes to.
    Mail,
    /// A letter to any address: by the member who makes the site send it.
    MailSender,
    /// A letter to any address: by client network.
    MailNetwork,
    /// A notice about an account: by the mailbox that it goes to.
    Notice,
    /// A new post or an edit: by member.
    Write,
    /// A preview of a text, which changes nothing: by member. Separate from `Write`, so that a member
    /// who previews after every sentence can still publish.
    Preview,
    /// A vote: by member.
    Vote,
    /// A search: by member, or by client network without a session.
    Search,
}

impl RateLimit {
    /// Its name in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            RateLimit::Guess => "guess",
            RateLimit::SignUp => "sign_up",
            RateLimit::NewPassword => "new_password",
            RateLimit::Mail => "mail",
            RateLimit::MailSender => "mail_sender",
            RateLimit::MailNetwork => "mail_network",
            RateLimit::Notice => "notice",
            RateLimit::Write => "write",
            RateLimit::Preview => "preview",
            RateLimit::Vote => "vote",
            RateLimit::Search => "search",
        }
    }

    /// The burst, and how long it takes to refill the whole burst.
    fn budget(self) -> (u32, Duration) {
        match self {
            RateLimit::Guess => (30, Duration::from_mins(15)),
            // Enough for several typing errors.
            RateLimit::NewPassword => (10, Duration::from_mins(15)),
            RateLimit::Mail => (3, Duration::from_hours(1)),
            RateLimit::SignUp | RateLimit::MailSender | RateLimit::Notice => {
                (5, Duration::from_hours(1))
            }
            RateLimit::MailNetwork => (20, Duration::from_hours(1)),
            RateLimit::Write => (10, Duration::from_mins(1)),
            RateLimit::Vote => (120, Duration::from_mins(1)),
            RateLimit::Preview | RateLimit::Search => (30, Duration::from_mins(1)),
        }
    }

    fn limiter(self) -> DefaultDirectRateLimiter {
        let (burst, period) = self.budget();
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period / burst.get()).unwrap_or(Quota::per_hour(burst));
        DefaultDirectRateLimiter::direct(quota.allow_burst(burst))
    }
}

/// The counters of every [`RateLimit`]. Clones share them.
#[derive(Clone)]
pub struct Throttle {
    /// By a keyed hash of the limit and its subject, so that nobody can provoke collisions. `None` where
    /// the setting `RATE_LIMITS` is off.
    limiters: Option<Arc<Cache<u64, Arc<DefaultDirectRateLimiter>>>>,
    hasher: RandomState,
    /// See [`Throttle::one_at_a_time`]; a subject has the one of its hash.
    locks: Arc<[Mutex<()>; 64]>,
}

impl Throttle {
    pub fn new(is_on: bool) -> Throttle {
        let limiters = is_on.then(|| Arc::new(Cache::new(CLIENTS)));
        let locks = Arc::new(std::array::from_fn(|_| Mutex::new(())));
        Throttle { limiters, hasher: RandomState::new(), locks }
    }

    pub fn is_on(&self) -> bool {
        self.limiters.is_some()
    }

    /// Waits until no other request of `subject` in this process holds the lock. Requests that have to
    /// wait for each other in the database wait here first, where they hold no connection to it.
    pub async fn one_at_a_time(&self, subject: impl Hash) -> MutexGuard<'_, ()> {
        let at = self.hasher.hash_one(subject) % self.locks.len() as u64;
        self.locks[usize::try_from(at).unwrap_or_default()].lock().await
    }

    /// Counts one request of `subject` (a client or a member) against `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`], or [`Error::TooManyAttempts`] for a guess, beyond the limit. Both say how
    /// long to wait.
    pub fn check(&self, limit: RateLimit, subject: impl Hash) -> Result<()> {
        let Some(limiters) = &self.limiters else { return Ok(()) };
        let key = self.hasher.hash_one((limit, subject));
        let limiter =
            limiters.get_or_insert_with(&key, || Ok::<_, Error>(Arc::new(limit.limiter())))?;
        limiter.check().map_err(|until| {
            tracing::warn!(?limit, "rate limited");
            metrics().refused(limit.name());
            let wait = until.wait_time_from(DefaultClock::default().now());
            match limit {
                RateLimit::Guess => Error::TooManyAttempts { wait },
                _ => Error::RateLimited { wait },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_is_counted_for_each_client_and_says_how_long_to_wait() {
        let throttle = Throttle::new(true);
        for _ in 0..5 {
            assert!(throttle.check(RateLimit::SignUp, "here").is_ok());
        }
        match throttle.check(RateLimit::SignUp, "here") {
            Err(Error::RateLimited { wait }) => {
                assert!(wait > Duration::from_mins(11) && wait <= Duration::from_mins(12));
            }
            other => panic!("{other:?}"),
        }
        assert!(throttle.check(RateLimit::SignUp, "there").is_ok());
        assert!(throttle.check(RateLimit::Guess, "here").is_ok());
        assert!((0..100).all(|_| Throttle::new(false).check(RateLimit::SignUp, "here").is_ok()));
    }

    #[test]
    fn the_least_recently_used_of_two_hundred_thousand_clients_are_dropped() {
        let throttle = Throttle::new(true);
        for client in 0..200_000 {
            assert!(throttle.check(RateLimit::Guess, client).is_ok());
        }
        assert!(throttle.limiters.unwrap().len() <= CLIENTS);
    }
}
