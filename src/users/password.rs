//! Password rules and hashing.
//!
//! Hashing is slow and takes memory by design, so only a few hashes run at once, behind a queue of
//! limited length. When the queue is full, the request fails as busy.

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

/// How long a request waits for its turn to hash before it fails as busy.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many hashes may run or wait.
const QUEUE: usize = 128;

/// The highest bcrypt cost that is verified. Each step doubles the time, and a cost of 16 takes seconds.
const MAX_BCRYPT_COST: u32 = 14;

/// The limits for Argon2: 256 MiB, and more passes than any common configuration has.
const MAX_MEMORY: u32 = 262_144;
const MAX_PASSES: u32 = 16;

/// A password as it is hashed: in NFC, so that different keyboards give the same text. Nothing is
/// trimmed or truncated.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    pub const MAX: usize = 128;

    /// `None` for text that cannot be a password.
    pub fn parse(text: &str) -> Option<Password> {
        let text: String = text.nfc().collect();
        let fits = !text.contains('\0') && (1..=Password::MAX).contains(&text.chars().count());
        fits.then_some(Password(text))
    }
}

/// A new password: 10 to 128 characters that are not easily guessed.
#[derive(Clone)]
pub struct NewPassword(Password);

impl NewPassword {
    pub const MIN: usize = 10;

    /// `context` is what an attacker would try first: the site's name, the user's name and e-mail
    /// address.
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

/// The words that an attacker would try first for this user on this site.
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
        "Use at least {} characters. A few unrelated words make a good password.",
        NewPassword::MIN
    )]
    TooShort,
    #[error("Use at most {} characters.", Password::MAX)]
    TooLong,
    #[error("This password is easy to guess. Add an unexpected word or two.")]
    Guessable,
    #[error("This password contains a character that cannot be used.")]
    Control,
}

/// The result of verifying a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub fits: bool,
    /// The same password hashed with today's parameters, if the stored hash is weaker or was imported
    /// from another program.
    pub rehashed: Option<String>,
}

/// Hashes and verifies passwords, a few at a time. Clones share the queue.
#[derive(Clone)]
pub struct Passwords {
    permits: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// How many run at once.
    at_once: usize,
    /// A hash of a random password with today's parameters, so that an unknown user takes the same
    /// time as a known one.
    dummy_hash: Arc<str>,
}

impl Passwords {
    pub fn new() -> anyhow::Result<Passwords> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // The other half of the cores serves pages.
        let at_once = (cores / 2).max(1);
        let dummy_hash = hash(&Password(uuid::Uuid::new_v4().to_string()))?;
        let (permits, queue) = (Semaphore::new(at_once), Semaphore::new(QUEUE));
        Ok(Passwords {
            permits: permits.into(),
            queue: queue.into(),
            dummy_hash: dummy_hash.into(),
            at_once,
        })
    }

    /// How many hashes are running and how many are waiting.
    pub fn at_work(&self) -> (i64, i64) {
        let running = self.at_once - self.permits.available_permits().min(self.at_once);
        let admitted = QUEUE - self.queue.available_permits().min(QUEUE);
        (running as i64, admitted.saturating_sub(running) as i64)
    }

    /// Hashes to a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$…`.
    pub async fn hash(&self, password: NewPassword) -> Result<String> {
        self.run(move || hash(&password.0)).await?.map_err(Error::internal)
    }

    /// Whether the password matches the hash. Without a hash it takes the same time and never matches.
    pub async fn verify(
        &self,
        password: Option<Password>,
        hash: Option<String>,
    ) -> Result<Verdict> {
        let dummy_hash = self.dummy_hash.clone();
        self.run(move || {
            let is_known = hash.is_some() && password.is_some();
            let hash = hash.as_deref().unwrap_or(&dummy_hash);
            let password = password.unwrap_or(Password(String::new()));
            let fits = fits(&password, hash) && is_known;
            let rehashed =
                (fits && is_outdated(hash)).then(|| self::hash(&password).ok()).flatten();
            Verdict { fits, rehashed }
        })
        .await
    }

    /// Runs `work` on a blocking thread when it is its turn.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let Ok(_queued) = self.queue.try_acquire() else { return Err(Error::Busy) };
        let turn = tokio::time::timeout(QUEUE_TIMEOUT, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = turn else { return Err(Error::Busy) };
        tokio::task::spawn_blocking(move || {
            lower_priority();
            let done = work();
            drop(permit);
            done
        })
        .await
        .map_err(Error::internal)
    }
}

/// Lowers the priority of this thread, so that pages are served first: a hash takes a core as long as
/// forty pages do, and a slightly slower log-in is not noticed. Only on Linux, where a thread has its own
/// priority; elsewhere it would apply to the whole process.
fn lower_priority() {
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

/// Whether a password can be verified against the hash in reasonable time: one of ours, or an imported
/// bcrypt or Argon2 hash.
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

/// Whether today's parameters are stronger.
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
    async fn every_character_counts_and_unicode_normalization_does_not() {
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
    async fn an_old_or_weaker_hash_still_matches_and_is_rehashed() {
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
                Verdict { fits: false, rehashed: None }
            );
            assert!(is_readable(&hash), "{hash}");
            let verdict = verify(text).await;
            let rehashed = verdict.rehashed.unwrap();
            assert!(verdict.fits && rehashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
            let again = passwords.verify(Password::parse(text), Some(rehashed)).await.unwrap();
            assert_eq!(again, Verdict { fits: true, rehashed: None });
        }
        for hash in
            ["", "$2b$", "$2b$99$x", "$2b$31$abcdefghijklmnopqrstuuN", "plain", "$argon2id$"]
        {
            let verdict = passwords.verify(Password::parse(text), Some(hash.into())).await.unwrap();
            assert_eq!(verdict, Verdict { fits: false, rehashed: None }, "{hash}");
            assert!(!is_readable(hash), "{hash}");
        }
    }
}
