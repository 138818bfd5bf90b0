//! Passwords: what makes a good one, and how it is kept.
//!
//! A hash is meant to be slow and to take memory, so hashing runs on a few threads of its own and
//! a queue that says "busy" rather than growing.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;

use crate::{
    identity::Username,
    users::Email,
    web::{Error, Result},
};

/// OWASP's Argon2id parameters: memory in KiB, passes, lanes.
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How long a log-in waits for its turn before it is told that the site is busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many may wait for theirs.
const QUEUE: usize = 128;

/// The dearest bcrypt hash that is looked at: each step up takes twice the time, and one of 16 seconds.
const MAX_BCRYPT_COST: u32 = 14;

/// The same for Argon2: a quarter of a gigabyte, and more passes than anybody makes.
const MAX_MEMORY: u32 = 262_144;
const MAX_PASSES: u32 = 16;

/// A password as it is hashed: in NFC, so that every keyboard spells it the same. Nothing is
/// trimmed or cut off.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    pub const MAX: usize = 128;

    /// `None` for what nobody can have as a password.
    pub fn parse(text: &str) -> Option<Password> {
        let text: String = text.nfc().collect();
        let fits = !text.contains('\0') && (1..=Password::MAX).contains(&text.chars().count());
        fits.then_some(Password(text))
    }
}

/// A password somebody chooses now: 10 to 128 characters that are not easily guessed.
#[derive(Clone)]
pub struct NewPassword(Password);

impl NewPassword {
    pub const MIN: usize = 10;

    /// `context` is what an attacker would try first: the site's name, the person's name and address.
    pub fn parse(text: &str, context: &[&str]) -> Result<NewPassword, BadPassword> {
        let text: String = text.nfc().collect();
        if text.contains('\0') {
            return Err(BadPassword::Control);
        }
        match text.chars().count() {
            0 => return Err(BadPassword::Empty),
            1..NewPassword::MIN => return Err(BadPassword::TooShort),
            NewPassword::MIN..=Password::MAX => {}
            _ => return Err(BadPassword::TooLong),
        }
        if zxcvbn::zxcvbn(&text, context).score() < zxcvbn::Score::Two {
            return Err(BadPassword::Guessable);
        }
        Ok(NewPassword(Password(text)))
    }
}

/// The words that a guesser would try first for this person on this site.
pub fn guessable_words<'a>(
    site: &'a str,
    username: Option<&'a Username>,
    email: Option<&'a Email>,
) -> Vec<&'a str> {
    let mut words = vec![site, "socialpost", "social post"];
    words.extend(username.map(Username::as_str));
    words.extend(site.split(' '));
    if let Some(email) = email {
        words.push(email.as_written());
        words.extend(email.as_written().split(['@', '.', '+', '-', '_']));
    }
    words
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    #[error("Choose a password.")]
    Empty,
    #[error(
        "Use at least {} characters. A few words in a row make a good password.",
        NewPassword::MIN
    )]
    TooShort,
    #[error("Use at most {} characters.", Password::MAX)]
    TooLong,
    #[error("This password is easily guessed. Add a word or two that nobody would expect.")]
    Guessable,
    #[error("The password has a character that cannot be stored.")]
    Control,
}

/// What came of a look at a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub fits: bool,
    /// The same password hashed as it is done today, where the hash it fits is weaker or from the app
    /// that this site grew out of.
    pub renewed: Option<String>,
}

/// Hashes and verifies, a few at a time.
#[derive(Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// How many are hashed at once.
    at_once: usize,
    /// The hash of nobody's password, made with today's parameters, so that an unknown user costs
    /// the same time as a known one.
    nobody: Arc<str>,
}

impl Passwords {
    pub fn new() -> anyhow::Result<Passwords> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // The other half is for those who read.
        let at_once = (cores / 2).max(1);
        let nobody = hash(&Password(uuid::Uuid::now_v7().to_string()))?;
        let (permits, queue) = (Semaphore::new(at_once), Semaphore::new(QUEUE));
        Ok(Passwords {
            permits: permits.into(),
            queue: queue.into(),
            nobody: nobody.into(),
            at_once,
        })
    }

    /// How many are being hashed and how many wait for their turn.
    pub fn at_work(&self) -> (i64, i64) {
        let running = self.at_once - self.permits.available_permits().min(self.at_once);
        let here = QUEUE - self.queue.available_permits().min(QUEUE);
        (running as i64, here.saturating_sub(running) as i64)
    }

    /// A PHC string, `$argon2id$v=19$m=19456,t=2,p=1$…`.
    pub async fn hash(&self, password: NewPassword) -> Result<String> {
        self.work(move || hash(&password.0)).await?.map_err(Error::internal)
    }

    /// Whether the password fits the hash. Without a hash it takes the same time and does not fit.
    pub async fn verify(
        &self,
        password: Option<Password>,
        hash: Option<String>,
    ) -> Result<Verdict> {
        let nobody = self.nobody.clone();
        self.work(move || {
            let is_known = hash.is_some() && password.is_some();
            let hash = hash.as_deref().unwrap_or(&nobody);
            let password = password.unwrap_or(Password(String::new()));
            let fits = fits(&password, hash) && is_known;
            let renewed = (fits && is_outdated(hash)).then(|| self::hash(&password).ok()).flatten();
            Verdict { fits, renewed }
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let Ok(_place) = self.queue.try_acquire() else { return Err(Error::Busy) };
        let turn = tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = turn else { return Err(Error::Busy) };
        tokio::task::spawn_blocking(move || {
            give_way();
            let done = work();
            drop(permit);
            done
        })
        .await
        .map_err(Error::internal)
    }
}

/// Lets whoever reads go first: a log-in takes a core for as long as forty pages, and nobody notices when
/// it takes a little longer. (On Linux a thread has a priority of its own; elsewhere it would be the whole
/// program's.)
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(err) = rustix::process::setpriority_process(None, 10) {
        tracing::debug!(%err, "cannot lower the priority of a hash");
    }
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &Password) -> Result<String, argon2::password_hash::Error> {
    Ok(hasher().hash_password(password.0.as_bytes())?.to_string())
}

fn fits(password: &Password, hash: &str) -> bool {
    match bcrypt_cost(hash) {
        Some(cost) => cost <= MAX_BCRYPT_COST && bcrypt::verify(&password.0, hash).unwrap_or(false),
        None => PasswordHash::new(hash)
            .is_ok_and(|hash| hasher().verify_password(password.0.as_bytes(), &hash).is_ok()),
    }
}

/// The cost of a bcrypt hash, `$2b$12$…`; `None` for another kind.
fn bcrypt_cost(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|kind| hash.strip_prefix(kind))?;
    Some(rest.split('$').next()?.parse().unwrap_or(u32::MAX))
}

/// Whether a log-in can try a password against it in good time: a hash of ours, or one of bcrypt or
/// Argon2 from elsewhere.
pub fn is_readable(hash: &str) -> bool {
    if let Some(cost) = bcrypt_cost(hash) {
        return cost <= MAX_BCRYPT_COST && hash.parse::<bcrypt::HashParts>().is_ok();
    }
    PasswordHash::new(hash).is_ok_and(|hash| {
        hash.algorithm.as_str().starts_with("argon2")
            && hash.hash.is_some()
            && Params::try_from(&hash)
                .is_ok_and(|params| params.m_cost() <= MAX_MEMORY && params.t_cost() <= MAX_PASSES)
    })
}

/// Whether it would be made stronger today.
fn is_outdated(hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else { return true };
    let is_current = parsed.algorithm == Algorithm::Argon2id.ident()
        && Params::try_from(&parsed).is_ok_and(|params| {
            params.m_cost() >= MEMORY && params.t_cost() >= PASSES && params.p_cost() >= LANES
        });
    !is_current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guessable_password_is_refused_with_the_reason() {
        let of = |text: &str| {
            let email = Email::parse("mirabelle@example.org").ok();
            NewPassword::parse(text, &guessable_words("Social Post", None, email.as_ref())).err()
        };
        assert_eq!(of("short"), Some(BadPassword::TooShort));
        assert_eq!(of("passwordpassword"), Some(BadPassword::Guessable));
        assert_eq!(of("mirabelle123"), Some(BadPassword::Guessable));
        assert_eq!(of("socialpost12345"), Some(BadPassword::Guessable));
        assert_eq!(of("mirabelle@example.org"), Some(BadPassword::Guessable));
        assert_eq!(of("abcdefghi\0jklmnop"), Some(BadPassword::Control));
        assert_eq!(of(&format!("violet kettle {}", "é".repeat(114))), None);
        assert_eq!(of(&"x".repeat(129)), Some(BadPassword::TooLong));
        assert_eq!(of("violet kettle 9 harbour"), None);
    }

    #[tokio::test]
    async fn every_character_counts_and_spelling_does_not() {
        let passwords = Passwords::new().unwrap();
        let long = format!("violet {} kettle 9 harbour", "é".repeat(100));
        let hash = passwords.hash(NewPassword::parse(&long, &[]).unwrap()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");

        let fits = async |text: &str| {
            passwords.verify(Password::parse(text), Some(hash.clone())).await.unwrap().fits
        };
        assert!(fits(&long).await);
        assert!(fits(&long.nfd().collect::<String>()).await);
        assert!(!fits(&long.replace("kettle", "kettlf")).await);
        assert!(!fits(&long.to_uppercase()).await);
        assert!(!passwords.verify(Password::parse(&long), None).await.unwrap().fits);
    }

    #[tokio::test]
    async fn an_old_or_weaker_hash_still_fits_and_is_made_anew() {
        let passwords = Passwords::new().unwrap();
        let text = "violet kettle 9 harbour";
        let bcrypted = bcrypt::hash(text, 4).unwrap();
        let weak = Params::new(8192, 1, 1, None).unwrap();
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, weak);
        let weak = weak.hash_password(text.as_bytes()).unwrap().to_string();
        let old = ["a", "b", "y"].map(|kind| bcrypted.replace("$2b$", &format!("$2{kind}$")));
        for hash in old.into_iter().chain([weak]) {
            let verify = async |text: &str| {
                passwords.verify(Password::parse(text), Some(hash.clone())).await.unwrap()
            };
            assert_eq!(
                verify("violet kettle 9 harbouR").await,
                Verdict { fits: false, renewed: None }
            );
            assert!(is_readable(&hash), "{hash}");
            let verdict = verify(text).await;
            let renewed = verdict.renewed.unwrap();
            assert!(verdict.fits && renewed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
            let again = passwords.verify(Password::parse(text), Some(renewed)).await.unwrap();
            assert_eq!(again, Verdict { fits: true, renewed: None });
        }
        for hash in
            ["", "$2b$", "$2b$99$x", "$2b$31$abcdefghijklmnopqrstuuN", "plain", "$argon2id$"]
        {
            let verdict = passwords.verify(Password::parse(text), Some(hash.into())).await.unwrap();
            assert_eq!(verdict, Verdict { fits: false, renewed: None }, "{hash}");
            assert!(!is_readable(hash), "{hash}");
        }
    }
}
