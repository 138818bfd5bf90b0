//! How often one client or one person may do what costs others something.
//!
//! These budgets are kept in memory, each process its own, and forget the longest unused beyond a
//! fixed number of clients. What must outlive a restart, the tries at one account, is kept in the
//! database by `users`.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, clock::Clock as _, clock::DefaultClock};
use quick_cache::sync::Cache;

use crate::{
    metrics::metrics,
    web::{Error, Result},
};

/// About 10 MB when full.
const CLIENTS: usize = 50_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateLimit {
    /// A try at a password, or at finding out who has an account: by network.
    Guess,
    /// A new account: by network.
    SignUp,
    /// A link by mail: by account or address.
    Mail,
    /// A post or an edit: by person.
    Write,
    /// A look at how a text will come out, which changes nothing: by person. Apart from writing, so
    /// that who looks after every sentence can still publish.
    Preview,
    /// A vote: by person.
    Vote,
    /// A search: by person, or by network.
    Search,
}

impl RateLimit {
    pub fn name(self) -> &'static str {
        match self {
            RateLimit::Guess => "guess",
            RateLimit::SignUp => "sign_up",
            RateLimit::Mail => "mail",
            RateLimit::Write => "write",
            RateLimit::Preview => "preview",
            RateLimit::Vote => "vote",
            RateLimit::Search => "search",
        }
    }

    /// How many at once, and in how long the full number is there again.
    fn budget(self) -> (u32, Duration) {
        match self {
            RateLimit::Guess => (30, Duration::from_mins(15)),
            RateLimit::SignUp => (5, Duration::from_hours(1)),
            RateLimit::Mail => (3, Duration::from_hours(1)),
            RateLimit::Write => (10, Duration::from_mins(1)),
            RateLimit::Vote => (120, Duration::from_mins(1)),
            RateLimit::Preview | RateLimit::Search => (30, Duration::from_mins(1)),
        }
    }

    fn limiter(self) -> DefaultDirectRateLimiter {
        let (most, period) = self.budget();
        let most = NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period / most.get()).unwrap_or(Quota::per_hour(most));
        DefaultDirectRateLimiter::direct(quota.allow_burst(most))
    }
}

#[derive(Clone)]
pub struct Throttle {
    /// By a hash that nobody outside can aim at, of what is done and by whom. None where the setting
    /// `RATE_LIMITS` is off.
    limiters: Option<Arc<Cache<u64, Arc<DefaultDirectRateLimiter>>>>,
    hasher: RandomState,
}

impl Throttle {
    pub fn new(is_on: bool) -> Throttle {
        let limiters = is_on.then(|| Arc::new(Cache::new(CLIENTS)));
        Throttle { limiters, hasher: RandomState::new() }
    }

    pub fn is_on(&self) -> bool {
        self.limiters.is_some()
    }

    /// Counts one request of `subject` (a client or a member) against `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::RateLimited`] beyond the limit; it says when to try again.
    pub fn check(&self, limit: RateLimit, subject: impl Hash) -> Result<()> {
        let Some(limiters) = &self.limiters else { return Ok(()) };
        let key = self.hasher.hash_one((limit, subject));
        let limiter =
            limiters.get_or_insert_with(&key, || Ok::<_, Error>(Arc::new(limit.limiter())))?;
        limiter.check().map_err(|until| {
            tracing::warn!(?limit, "rate limited");
            metrics().refused(limit.name());
            Error::RateLimited { wait: until.wait_time_from(DefaultClock::default().now()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_each_clients_own_and_says_when_to_come_back() {
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
    fn two_hundred_thousand_clients_are_forgotten_in_turn() {
        let throttle = Throttle::new(true);
        for client in 0..200_000 {
            assert!(throttle.check(RateLimit::Guess, client).is_ok());
        }
        assert!(throttle.limiters.unwrap().len() <= CLIENTS);
    }
}
