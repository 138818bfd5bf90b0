//! Password rules and hashing.
//!
//! Hashing is slow and takes memory by design, and judging how strong a password is can take as long.
//! So only a few of both run at once, behind a queue of limited length in which each account and each
//! network takes turns. When the queue is full, the request fails as busy.

use std::{thread, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization as _;

use crate::{
    identity::{UserId, Username},
    users::{
        Email,
        fair_queue::{FairQueue, Limits},
    },
    web::{Error, Result, client::ClientNet},
};

/// OWASP's Argon2id parameters: memory in KiB, passes, lanes.
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How long a request waits for its turn before it fails as busy.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many requests may wait.
const QUEUE: usize = 128;

/// The highest bcrypt cost that is verified. Each step doubles the time, and a cost of 16 takes seconds.
const MAX_BCRYPT_COST: u32 = 14;

/// The limits for Argon2: 256 MiB, and more passes than any common configuration has.
const MAX_MEMORY: u32 = 262_144;
const MAX_PASSES: u32 = 16;

/// How many characters are judged at once. The time grows with their square.
const JUDGED: usize = 24;

/// Words shorter than this are found by zxcvbn alone.
const SHORTEST_WORD: usize = 4;

/// The symbols that zxcvbn takes for letters. It tries all combinations of the letters that they can
/// stand for, and 128 characters with all of these take a second.
const LOOK_ALIKES: &str = "@({[<!|$+%";

/// How many different ones of them are judged as such. With five, and all ten digits, [`JUDGED`]
/// characters take 14 milliseconds at most.
const MAX_LOOK_ALIKES: usize = 5;

/// What a further one is judged as: a symbol that stands for no letter.
const PLAIN_SYMBOLS: &str = "#&*;:~";

/// The account or network that work is done for. Each takes turns in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An account that is logged in, or whose owner has opened a mailed link.
    Account(UserId),
    Network(ClientNet),
    /// A command of the operator.
    Operator,
}

impl Subject {
    /// How many requests may wait in the queue. A person needs one or two; a class at school, whose
    /// members log in at the same time, has one network.
    fn most_waiting(self) -> usize {
        match self {
            Subject::Account(_) => 8,
            Subject::Network(_) | Subject::Operator => 32,
        }
    }
}

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

/// A new password of 10 to 128 characters. [`Passwords::judge`] says whether it is easily guessed.
#[derive(Clone)]
pub struct NewPassword(Password);

impl NewPassword {
    pub const MIN: usize = 10;

    /// Checks all rules but the costly one.
    pub fn parse(text: &str) -> Result<NewPassword, BadPassword> {
        let text: String = text.nfc().collect();
        if text.contains('\0') {
            return Err(BadPassword::Control);
        }
        match text.chars().count() {
            0 => Err(BadPassword::Empty),
            1..NewPassword::MIN => Err(BadPassword::TooShort),
            NewPassword::MIN..=Password::MAX => Ok(NewPassword(Password(text))),
            _ => Err(BadPassword::TooLong),
        }
    }

    /// Whether it takes at least a million guesses (zxcvbn's score of two). `words` is what an attacker
    /// would try first.
    ///
    /// Takes up to 14 milliseconds of CPU. It is judged in parts of [`JUDGED`] characters, and one part that is hard to guess is enough:
    /// whatever else is in a password does not make it easier.
    pub fn is_strong(&self, words: &[String]) -> bool {
        let mut text = self.0.0.clone();
        if text.chars().count() > JUDGED {
            // A word that is cut in two by the end of a part would not be found.
            text = words.iter().fold(text.to_lowercase(), |text, word| {
                if word.len() < SHORTEST_WORD {
                    text
                } else {
                    text.replace(&word.to_lowercase(), "")
                }
            });
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        parts(&text).iter().any(|part| {
            zxcvbn::zxcvbn(&without_most_look_alikes(part), &words).score() >= zxcvbn::Score::Two
        })
    }
}

/// The text in parts of [`JUDGED`] characters.
fn parts(text: &str) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(JUDGED).map(|part| part.iter().collect()).collect()
}

/// The text with at most [`MAX_LOOK_ALIKES`] different look-alikes, the further ones replaced by other
/// symbols. Different ones stay different.
fn without_most_look_alikes(text: &str) -> String {
    let mut found: Vec<char> = Vec::new();
    let mut replace = |c: char| {
        if !LOOK_ALIKES.contains(c) {
            return c;
        }
        let at = found.iter().position(|known| *known == c).unwrap_or_else(|| {
            found.push(c);
            found.len() - 1
        });
        at.checked_sub(MAX_LOOK_ALIKES).and_then(|at| PLAIN_SYMBOLS.chars().nth(at)).unwrap_or(c)
    };
    text.chars().map(&mut replace).collect()
}

/// The words that an attacker would try first for this user on this site.
pub fn guessable_words(
    site: &str,
    username: Option<&Username>,
    email: Option<&Email>,
) -> Vec<String> {
    let mut words = vec![site, "socialpost", "social post"];
    words.extend(username.map(Username::as_str));
    words.extend(site.split(' '));
    if let Some(email) = email {
        words.push(email.as_written());
        words.extend(email.as_written().split(['@', '.', '+', '-', '_']));
    }
    words.into_iter().map(str::to_owned).collect()
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub fits: bool,
    /// Whether the stored hash is weaker than today's, or was imported from another program.
    pub is_outdated: bool,
}

/// Judges, hashes and verifies passwords, a few at a time. Clones share the queue.
#[derive(Clone)]
pub struct Passwords(FairQueue<Subject>);

impl Default for Passwords {
    fn default() -> Passwords {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // The other half of the cores serves pages.
        let running = (cores / 2).max(1);
        Passwords(FairQueue::new(Limits { running, waiting: QUEUE, patience: QUEUE_TIMEOUT }))
    }
}

impl Passwords {
    /// How many pieces of work are running and how many are waiting.
    pub fn at_work(&self) -> (i64, i64) {
        let (running, waiting) = self.0.count();
        (running as i64, waiting as i64)
    }

    /// The problem of a password that is easily guessed, by [`guessable_words`] among others.
    pub async fn judge(
        &self,
        subject: Subject,
        password: &NewPassword,
        words: Vec<String>,
    ) -> Result<Result<(), BadPassword>> {
        let password = password.clone();
        let is_strong = self.run(subject, move || password.is_strong(&words)).await?;
        Ok(if is_strong { Ok(()) } else { Err(BadPassword::Guessable) })
    }

    /// Hashes to a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$…`.
    pub async fn hash(&self, subject: Subject, password: NewPassword) -> Result<String> {
        self.rehash(subject, password.0).await
    }

    /// Hashes a password that the account has already.
    pub async fn rehash(&self, subject: Subject, password: Password) -> Result<String> {
        self.run(subject, move || hash(&password)).await?.map_err(Error::internal)
    }

    /// Whether the password matches the hash. Without one it never does.
    ///
    /// The work is the same whatever the hash, and without one: a verification with today's parameters,
    /// and one with those of each of `kinds`, the hashes that the site has
    /// ([`hash_kinds`](crate::users::credentials::db::hash_kinds)).
    pub async fn verify(
        &self,
        subject: Subject,
        password: Option<Password>,
        hash: Option<String>,
        kinds: Vec<String>,
    ) -> Result<Verdict> {
        self.run(subject, move || {
            let is_password = password.is_some();
            let password = password.unwrap_or(Password(String::new()));
            let hash = hash.as_deref();
            let mut is_right = false;
            for each in work(hash, &kinds) {
                is_right |= fits(&password, &each) && Some(each.as_str()) == hash;
            }
            let fits = is_right && is_password;
            Verdict { fits, is_outdated: fits && hash.is_some_and(is_outdated) }
        })
        .await
    }

    /// Runs `work` when it is the subject's turn, on a thread of its own: the priority of a thread can be
    /// lowered and not raised again, so one that others use afterwards would stay slow.
    async fn run<T: Send + 'static>(
        &self,
        subject: Subject,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let turn = self.0.turn(subject, subject.most_waiting()).await.ok_or(Error::Busy)?;
        let (send, done) = oneshot::channel();
        let thread = thread::Builder::new().name("hash".to_owned());
        thread
            .spawn(move || {
                lower_priority();
                // A request that gave up does not read it.
                let _ = send.send(work());
                drop(turn);
            })
            .map_err(Error::internal)?;
        done.await.map_err(Error::internal)
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

/// The algorithm and parameters of today's hashes.
fn todays_kind() -> String {
    format!("$argon2id$v=19$m={MEMORY},t={PASSES},p={LANES}$")
}

/// The hashes to verify a password against: one of each kind, and `hash` itself as the one of its kind.
fn work(hash: Option<&str>, kinds: &[String]) -> Vec<String> {
    let mut kinds = kinds.to_vec();
    kinds.push(todays_kind());
    kinds.sort();
    kinds.dedup();
    let mut hashes: Vec<String> =
        kinds.iter().map(|kind| dummy(kind)).filter(|dummy| is_readable(dummy)).collect();
    if let Some(hash) = hash.filter(|hash| is_readable(hash)) {
        hashes.retain(|dummy| {
            !kinds.iter().any(|kind| dummy.starts_with(kind) && hash.starts_with(kind))
        });
        hashes.push(hash.to_owned());
    }
    hashes
}

/// A hash of this kind that no password is known for.
fn dummy(kind: &str) -> String {
    if bcrypt_cost(kind).is_some() {
        // 16 bytes of salt and 23 of hash, in bcrypt's own base 64.
        return format!("{kind}{}", ".".repeat(22 + 31));
    }
    format!("{kind}{}${}", "A".repeat(22), "A".repeat(43))
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
    use proptest::prelude::*;

    use super::*;

    const ANYONE: Subject = Subject::Operator;

    fn judge(text: &str, words: &[String]) -> Result<(), BadPassword> {
        let password = NewPassword::parse(text)?;
        if password.is_strong(words) { Ok(()) } else { Err(BadPassword::Guessable) }
    }

    #[test]
    fn a_guessable_password_is_refused_with_the_reason() {
        let of = |text: &str| {
            let email = Email::parse("mirabelle@example.org").ok();
            judge(text, &guessable_words("Social Post", None, email.as_ref())).err()
        };
        assert_eq!(of("short"), Some(BadPassword::TooShort));
        assert_eq!(of("passwordpassword"), Some(BadPassword::Guessable));
        assert_eq!(of("mirabelle123"), Some(BadPassword::Guessable));
        assert_eq!(of("socialpost12345"), Some(BadPassword::Guessable));
        assert_eq!(of("mirabelle@example.org"), Some(BadPassword::Guessable));
        assert_eq!(of("!@#$%^&*()"), Some(BadPassword::Guessable));
        assert_eq!(of("p@$$w0rd!1"), Some(BadPassword::Guessable));
        assert_eq!(of(&"password".repeat(16)), Some(BadPassword::Guessable));
        assert_eq!(of("abcdefghi\0jklmnop"), Some(BadPassword::Control));
        assert_eq!(of(&format!("violet kettle {}", "é".repeat(114))), None);
        assert_eq!(of(&"x".repeat(129)), Some(BadPassword::TooLong));
        assert_eq!(of("violet kettle 9 harbour"), None);
    }

    #[test]
    fn a_long_address_is_a_guessable_password_for_its_owner() {
        let address = format!("{}@{}.example.org", "mirabelle-".repeat(6), "harbour-".repeat(5));
        let email = Email::parse(&address).unwrap();
        let words = guessable_words("Social Post", None, Some(&email));
        assert_eq!(judge(&address, &words), Err(BadPassword::Guessable));

        let name = Username::parse("Augusta-Ada-King-Lovelace").unwrap();
        let words = guessable_words("Social Post", Some(&name), None);
        for text in [name.as_str().repeat(4), format!("1{name}{name}1!"), name.key().repeat(2)] {
            assert_eq!(judge(&text, &words), Err(BadPassword::Guessable), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// A part that is hard to guess is enough, wherever it is.
        #[test]
        fn a_strong_password_stays_strong_whatever_comes_before_or_after_it(
            before in 0..50usize, after in 0..50usize, filler in "[a1 ]",
        ) {
            let text = format!("{}violet kettle 9 harbour{}", filler.repeat(before), filler.repeat(after));
            prop_assert_eq!(judge(&text, &[]), Ok(()));
        }

        #[test]
        fn of_the_look_alikes_in_a_password_at_most_five_are_judged_as_such(
            text in "[@(\\{\\[<!|$+%a-f0-9]{1,32}",
        ) {
            let judged = without_most_look_alikes(&text);
            let distinct = |text: &str, among: &str| {
                let found: std::collections::BTreeSet<char> =
                    text.chars().filter(|c| among.contains(*c)).collect();
                found.len()
            };
            prop_assert!(distinct(&judged, LOOK_ALIKES) <= MAX_LOOK_ALIKES);
            let all: String = [LOOK_ALIKES, PLAIN_SYMBOLS].concat();
            prop_assert_eq!(distinct(&judged, &all), distinct(&text, LOOK_ALIKES));
            let plain = |text: &str| text.chars().map(|c| if all.contains(c) { '@' } else { c }).collect::<String>();
            prop_assert_eq!(plain(&judged), plain(&text));
        }
    }

    #[tokio::test]
    async fn every_character_counts_and_unicode_normalization_does_not() {
        let passwords = Passwords::default();
        let long = format!("violet {} kettle 9 harbour", "é".repeat(100));
        let hash = passwords.hash(ANYONE, NewPassword::parse(&long).unwrap()).await.unwrap();
        assert!(hash.starts_with(&todays_kind()), "{hash}");

        let fits = async |text: &str, hash: Option<String>| {
            let password = Password::parse(text);
            passwords.verify(ANYONE, password, hash, Vec::new()).await.unwrap().fits
        };
        let known = Some(hash);
        assert!(fits(&long, known.clone()).await);
        assert!(fits(&long.nfd().collect::<String>(), known.clone()).await);
        assert!(!fits(&long.replace("kettle", "kettlf"), known.clone()).await);
        assert!(!fits(&long.to_uppercase(), known).await);
        assert!(!fits(&long, None).await);
        assert!(!fits("", Some(dummy(&todays_kind()))).await);
    }

    #[tokio::test]
    async fn an_old_or_weaker_hash_still_matches_and_is_outdated() {
        let passwords = Passwords::default();
        let text = "violet kettle 9 harbour";
        let verify = async |text: &str, hash: &str| {
            let password = Password::parse(text);
            let hash = Some(hash.to_owned());
            passwords.verify(ANYONE, password, hash, Vec::new()).await.unwrap()
        };
        let bcrypted = bcrypt::hash(text, 4).unwrap();
        let weak = Params::new(8192, 1, 1, None).unwrap();
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, weak);
        let weak = weak.hash_password(text.as_bytes()).unwrap().to_string();
        let old = ["a", "b", "y"].map(|kind| bcrypted.replace("$2b$", &format!("$2{kind}$")));
        let (no, yes) = (
            Verdict { fits: false, is_outdated: false },
            Verdict { fits: true, is_outdated: true },
        );
        for hash in old.into_iter().chain([weak]) {
            assert!(is_readable(&hash), "{hash}");
            assert_eq!(verify("violet kettle 9 harbouR", &hash).await, no, "{hash}");
            assert_eq!(verify(text, &hash).await, yes, "{hash}");
        }
        let rehashed = passwords.rehash(ANYONE, Password::parse(text).unwrap()).await.unwrap();
        assert_eq!(verify(text, &rehashed).await, Verdict { fits: true, is_outdated: false });
        for hash in
            ["", "$2b$", "$2b$99$x", "$2b$31$abcdefghijklmnopqrstuuN", "plain", "$argon2id$"]
        {
            assert_eq!(verify(text, hash).await, no, "{hash}");
            assert!(!is_readable(hash), "{hash}");
        }
    }

    /// The algorithm and parameters decide how much work a verification is.
    #[test]
    fn a_failed_log_in_verifies_the_same_kinds_of_hashes_whatever_the_account_has() {
        let kinds = [
            "$2b$04$",
            "$2y$12$",
            "$2b$99$",
            "$argon2id$v=19$m=8192,t=1,p=1$",
            "$argon2i$v=19$m=4096,t=3,p=1$",
        ];
        let kinds = kinds.map(str::to_owned);
        let verified = |hash: Option<&str>, kinds: &[String]| {
            let mut all: Vec<String> = work(hash, kinds)
                .iter()
                .map(|hash| {
                    let salt = if hash.starts_with("$2") {
                        7
                    } else {
                        hash.match_indices('$').nth(3).unwrap().0 + 1
                    };
                    hash[..salt].to_owned()
                })
                .collect();
            all.sort();
            all
        };
        let of_nobody = verified(None, &kinds);
        assert_eq!(of_nobody.len(), 5, "today's, and all but the unreadable one: {of_nobody:?}");
        for kind in kinds.iter().chain([&todays_kind()]) {
            assert_eq!(verified(Some(&dummy(kind)), &kinds), of_nobody, "{kind}");
        }
        assert_eq!(verified(Some("plain"), &kinds), of_nobody);
        assert_eq!(
            verified(None, &[]),
            [todays_kind()],
            "a site without imported hashes pays nothing"
        );
        assert_eq!(verified(None, &[todays_kind()]), [todays_kind()]);
        for hash in work(None, &kinds) {
            // The dummies are valid, so verifying them is work.
            assert!(is_readable(&hash), "{hash}");
        }
    }
}
