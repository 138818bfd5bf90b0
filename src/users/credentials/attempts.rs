//! How attempts at a password are counted.
//!
//! A count belongs to what was typed as the log-in and to the client's network, and never depends on
//! whether an account has that log-in. So no refusal tells who has an account, nor which address
//! belongs to which name.
//!
//! A person has a user name and an e-mail address, and the attempts at both have to share one limit.
//! For that an attempt at an address counts as one at every name, as far as that network is concerned,
//! and the other way around: the count that decides is the log-in's own, plus the highest count among
//! the log-ins of the other kind.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::{
    identity::{UserId, Username},
    users::Login,
    web::client::ClientNet,
};

/// How many attempts are free, for each log-in in each network.
pub const FREE: i32 = 5;

/// The longest wait for the next attempt. A count ends after as long without an attempt.
pub const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// How many attempts at one log-in may come at once from all networks together.
///
/// NIST SP 800-63B allows at most 100 consecutive failures.
pub const EVERYWHERE: u32 = 100;

/// How long it takes until one more may come: 30 an hour, which is more than one network can make
/// ([`FREE`] in each [`LONGEST_WAIT`]), so that one network alone never uses them up.
pub const EVERYWHERE_INTERVAL: Duration = Duration::from_mins(2);

/// A log-in as it was typed, in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedLogin {
    text: String,
    is_email: bool,
}

impl TypedLogin {
    /// `parsed` is what the text means, if it can belong to an account.
    pub fn new(typed: &str, parsed: Option<&Login>) -> TypedLogin {
        match parsed {
            Some(Login::Name(name)) => TypedLogin::name(name),
            Some(Login::Email(email)) => TypedLogin::email(email.canonical()),
            None => {
                let text = typed.trim().to_lowercase();
                TypedLogin { is_email: text.contains('@'), text }
            }
        }
    }

    pub fn name(name: &Username) -> TypedLogin {
        TypedLogin { text: name.key(), is_email: false }
    }

    /// An e-mail address in its canonical form.
    pub fn email(canonical: &str) -> TypedLogin {
        TypedLogin { text: canonical.to_owned(), is_email: true }
    }

    /// What the database stores instead. Hashed, because a log-in that nobody has is a typing error
    /// and sometimes a password.
    pub fn key(&self) -> String {
        digest(if self.is_email { "email" } else { "name" }, &self.text)
    }
}

/// What an attempt is counted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The log-in and the network together.
    pub key: String,
    pub login: String,
    pub network: String,
    pub is_email: bool,
    /// The count of the log-in over all networks; `None` for a known device.
    pub everywhere: Option<String>,
}

impl Count {
    pub fn of_network(login: &TypedLogin, network: ClientNet) -> Count {
        let (login_key, network) = (login.key(), digest("network", &network.to_string()));
        Count {
            key: digest("attempts", &format!("{login_key} {network}")),
            everywhere: Some(digest("everywhere", &login_key)),
            login: login_key,
            network,
            is_email: login.is_email,
        }
    }

    /// The count of a device on which `user` has logged in, which nobody else can use up.
    pub fn of_device(user: UserId, device: &str) -> Count {
        let key = digest("device", &format!("{} {device}", user.0));
        Count { login: key.clone(), network: key.clone(), key, is_email: false, everywhere: None }
    }
}

fn digest(kind: &str, text: &str) -> String {
    let mut key = format!(
        "{:x}",
        Sha256::new().chain_update(kind).chain_update(" ").chain_update(text).finalize()
    );
    key.truncate(32);
    key
}

/// The attempts at one log-in so far, from the network of the next one.
#[derive(Debug, Clone)]
pub struct Counted {
    pub key: String,
    pub is_email: bool,
    pub tries: i32,
    /// Until when the next attempt has to wait; zero if it need not.
    pub wait: Duration,
}

/// What the count of a log-in becomes with one more attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    pub tries: i32,
    /// How long the next attempt after this one will have to wait.
    pub delay: Duration,
}

/// Whether one more attempt may be made, after those that were `counted` in its network; otherwise how
/// long it has to wait.
pub fn next(count: &Count, counted: &[Counted]) -> Result<Next, Duration> {
    let own = counted.iter().find(|one| one.key == count.key);
    let tries = own.map_or(0, |own| own.tries);
    let others = || counted.iter().filter(|one| one.is_email != count.is_email);
    let most = others().map(|other| other.tries).max().unwrap_or(0);
    if tries + most >= FREE {
        let others = others().filter(|other| tries + other.tries >= FREE);
        let wait = others.chain(own).map(|one| one.wait).max().unwrap_or_default();
        if wait > Duration::ZERO {
            return Err(wait);
        }
    }
    Ok(Next { tries: tries + 1, delay: delay(tries + 1 + most) })
}

/// How long the next attempt has to wait after `tries`: not at all, then 1, 2, 4, 8 and 15 minutes.
fn delay(tries: i32) -> Duration {
    match u32::try_from(tries - FREE) {
        Ok(beyond) => Duration::from_mins(1 << beyond.min(4)).min(LONGEST_WAIT),
        Err(_) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The counts of one network, with a clock that only the test moves.
    #[derive(Default)]
    struct Network {
        counts: Vec<Counted>,
    }

    impl Network {
        fn attempt(&mut self, login: &TypedLogin) -> Result<(), Duration> {
            let count = Count::of_network(login, ClientNet::from_address([192, 0, 2, 1].into()));
            let Next { tries, delay } = next(&count, &self.counts)?;
            self.counts.retain(|one| one.key != count.key);
            let Count { key, is_email, .. } = count;
            self.counts.push(Counted { key, is_email, tries, wait: delay });
            Ok(())
        }

        fn pass(&mut self, time: Duration) {
            for one in &mut self.counts {
                one.wait = one.wait.saturating_sub(time);
            }
        }
    }

    fn login(text: &str) -> TypedLogin {
        TypedLogin::new(text, Login::parse(text).as_ref())
    }

    #[test]
    fn the_wait_for_a_password_attempt_grows_also_when_name_and_address_alternate() {
        let mut network = Network::default();
        let logins = [login("ada"), login("ada@example.org")];
        for n in 0..5 {
            assert_eq!(network.attempt(&logins[n % 2]), Ok(()));
        }
        for (n, minutes) in [1, 2, 4, 8, 15, 15].into_iter().enumerate() {
            let wait = Duration::from_mins(minutes);
            assert_eq!(network.attempt(&logins[0]), Err(wait));
            assert_eq!(network.attempt(&logins[1]), Err(wait));
            network.pass(wait);
            assert_eq!(network.attempt(&logins[n % 2]), Ok(()));
        }
    }

    proptest! {
        /// Any number of attempts at any of two names and two addresses, and waits between them: no
        /// pair of a name and an address, which may be one account's, gets a sixth attempt without a wait.
        #[test]
        fn a_sixth_password_attempt_waits_whichever_name_and_address_belong_together(
            attempts in prop::collection::vec(0..4usize, 0..40),
        ) {
            let logins = ["ada", "bob", "ada@example.org", "x@example.org"].map(login);
            let mut network = Network::default();
            let mut made = [0; 4];
            for at in attempts {
                made[at] += i32::from(network.attempt(&logins[at]).is_ok());
            }
            for name in 0..2 {
                for email in 2..4 {
                    prop_assert!(made[name] + made[email] <= FREE, "{:?}", made);
                }
            }
        }

        /// What somebody has is not looked at, so two addresses with the same history get the same.
        #[test]
        fn the_count_of_password_attempts_is_the_same_for_any_two_addresses(
            attempts in prop::collection::vec(0..3usize, 0..20),
        ) {
            let mut networks = [Network::default(), Network::default()];
            let logins = [["ada", "bob", "ada@example.org"], ["ada", "bob", "nobody@example.org"]];
            for at in attempts {
                let [one, other] = [0, 1].map(|of| networks[of].attempt(&login(logins[of][at])));
                prop_assert_eq!(one, other);
            }
        }
    }
}
