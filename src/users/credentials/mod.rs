//! Authentication by password. All passwords are checked here, for both faces and every form, so one
//! rate limit covers them all.
//!
//! Attempts are counted in the database for each log-in in each network ([`attempts`]), and in memory
//! for each network. A device on which the account was logged in before has a count of its own, so
//! attackers cannot lock the owner out. SECURITY.md has the promise in full.

pub mod attempts;
pub mod db;

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    config::Site,
    identity::UserId,
    metrics::metrics,
    users::{
        Email, Login, Password, Passwords,
        credentials::{
            attempts::{Count, TypedLogin},
            db::Credentials,
        },
        password::Subject,
        secret::Secret,
    },
    web::{
        Error, Result,
        client::ClientNet,
        cookies,
        throttle::{RateLimit, Throttle},
    },
};

/// The cookie that identifies a known device.
pub const DEVICE_COOKIE: &str = "device";

/// Half a year.
pub const DEVICE_SECONDS: i64 = 180 * 24 * 60 * 60;

/// A user who has shown the right password or link. Valid until all sessions of the user are ended,
/// which raises the epoch in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated {
    pub user: UserId,
    /// `users.auth_epoch` at that time.
    pub epoch: i32,
}

/// What a program shows that was logged in to the account before, as browsers show their cookie. It
/// grants nothing but a count of attempts of its own.
#[derive(Debug, Clone)]
pub enum EarlierLogIn {
    /// A token that may have expired.
    Token { authenticated: Authenticated, id: Uuid },
    /// The secret of a mailed link with which the program has reset the password.
    Link(Secret),
}

/// Checks passwords and counts the attempts of one request's client.
pub struct Authenticator {
    db: PgPool,
    passwords: Passwords,
    throttle: Throttle,
    client: ClientNet,
    device: Option<Secret>,
}

impl<S: Send + Sync> FromRequestParts<S> for Authenticator
where
    PgPool: FromRef<S>,
    Passwords: FromRef<S>,
    Throttle: FromRef<S>,
    Arc<Site>: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Authenticator, Infallible> {
        let site = Arc::<Site>::from_ref(state);
        let name = site.cookie_name(DEVICE_COOKIE);
        Ok(Authenticator {
            db: PgPool::from_ref(state),
            passwords: Passwords::from_ref(state),
            throttle: Throttle::from_ref(state),
            client: ClientNet::from_request_parts(parts, state).await?,
            device: cookies::read(&parts.headers, &name).and_then(|text| text.parse().ok()),
        })
    }
}

impl Authenticator {
    /// The user with this log-in and password, if they are not suspended. Every other case takes the
    /// same time and returns the same `None`. A 429 after too many attempts.
    pub async fn log_in(
        &self,
        login: &str,
        password: &str,
        earlier: Option<&EarlierLogIn>,
    ) -> Result<Option<Authenticated>> {
        let device = match earlier {
            Some(EarlierLogIn::Link(secret)) => Some(secret.key()),
            _ => self.device.as_ref().map(Secret::key),
        };
        let parsed = Login::parse(login);
        let credentials = match &parsed {
            Some(login) => db::by_login(&self.db, login, device.as_deref()).await?,
            None => None,
        };
        let device = credentials.as_ref().and_then(|found| match earlier {
            Some(EarlierLogIn::Token { authenticated, id }) => {
                let is_theirs =
                    (authenticated.user, authenticated.epoch) == (found.id, found.epoch);
                is_theirs.then(|| id.to_string())
            }
            _ => device.filter(|_| found.is_known_device),
        });
        let typed = TypedLogin::new(login, parsed.as_ref());
        self.check(credentials, &typed, device, Subject::Network(self.client), password).await
    }

    /// Asks `user`, who is logged in, for their password again before a sensitive action. `None` if it
    /// is wrong.
    pub async fn reauthenticate(
        &self,
        user: UserId,
        password: &str,
    ) -> Result<Option<Authenticated>> {
        let device = self.device.as_ref().map(Secret::key);
        let Some(credentials) = db::by_user_id(&self.db, user, device.as_deref()).await? else {
            return Ok(None);
        };
        let device = device.filter(|_| credentials.is_known_device);
        let typed = TypedLogin::name(&credentials.username);
        let subject = Subject::Account(user);
        let authenticated =
            self.check(Some(credentials), &typed, device, subject, password).await?;
        if authenticated.is_none() {
            tracing::info!(user = user.0, "password refused");
        }
        Ok(authenticated)
    }

    /// `device` is the name of the client's device if the account was logged in on it before.
    async fn check(
        &self,
        credentials: Option<Credentials>,
        typed: &TypedLogin,
        device: Option<String>,
        subject: Subject,
        password: &str,
    ) -> Result<Option<Authenticated>> {
        let count = match (&credentials, &device) {
            (Some(found), Some(device)) => Count::of_device(found.id, device),
            _ => Count::of_network(typed, self.client),
        };
        if self.throttle.is_on() {
            if device.is_none() {
                self.throttle.check(RateLimit::Guess, self.client)?;
            }
            let counted = {
                let _lock = self.throttle.one_at_a_time(&count.network).await;
                db::count_attempt(&self.db, &count).await?
            };
            if let Err(wait) = counted {
                metrics().refused("tries_at_account");
                tracing::warn!(
                    user = credentials.map(|found| found.id.0),
                    "too many password attempts"
                );
                return Err(Error::TooManyAttempts { wait });
            }
        }

        let kinds = db::hash_kinds(&self.db).await?;
        let hash = credentials.as_ref().and_then(|found| found.password_hash.clone());
        let password = Password::parse(password);
        let verdict = match self.passwords.verify(subject, password.clone(), hash, kinds).await {
            Ok(verdict) => verdict,
            Err(error) => {
                if self.throttle.is_on() {
                    db::uncount_attempt(&self.db, &count).await?;
                }
                return Err(error);
            }
        };
        let Some(user) = credentials.filter(|found| verdict.fits && !found.is_suspended) else {
            return Ok(None);
        };
        if self.throttle.is_on() {
            // The attempts of this network or device alone: what others do goes on counting.
            let keys = if device.is_some() {
                vec![count.key.clone()]
            } else {
                let here = logins_of(&user).map(|login| Count::of_network(&login, self.client).key);
                here.collect()
            };
            db::clear_attempts(&self.db, &keys, &count).await?;
        }
        // At a log-in only: before a sensitive action the password may be about to be replaced.
        let is_log_in = matches!(subject, Subject::Network(_));
        if let (Some(old), Some(password), true) =
            (&user.password_hash, password, verdict.is_outdated && is_log_in)
        {
            let new = self.passwords.rehash(subject, password).await?;
            db::replace_hash(&self.db, user.id, old, &new).await?;
            tracing::info!(user = user.id.0, "rehashed a password");
        }
        Ok(Some(Authenticated { user: user.id, epoch: user.epoch }))
    }

    /// The network, as a subject of the queue for passwords.
    pub fn network(&self) -> Subject {
        Subject::Network(self.client)
    }

    /// Counts a question whether a name or an address is taken, as a guess; a 429 over the limit.
    pub fn check_guess_limit(&self) -> Result<()> {
        self.throttle.check(RateLimit::Guess, self.client)
    }

    /// Counts a new account; a 429 over the limit.
    pub fn check_sign_up_limit(&self) -> Result<()> {
        self.throttle.check(RateLimit::SignUp, self.client)
    }

    /// Counts a new password for `user`, which has to be judged; a 429 over the limit.
    pub fn check_new_password_limit(&self, user: UserId) -> Result<()> {
        self.throttle.check(RateLimit::NewPassword, user)
    }

    /// Counts a request for a link to a new password, by network and by address; a 429 over the limit.
    ///
    /// By the address itself over all networks: an attacker who requests a link for the owner's address
    /// sends the owner a link that works. By its mailbox only within the network, because e-mails to
    /// other addresses of the mailbox do not help the owner.
    pub fn check_reset_limit(&self, email: &Email) -> Result<()> {
        self.throttle.check(RateLimit::MailNetwork, self.client)?;
        self.throttle.check(RateLimit::Mail, ("reset", self.client, email.mailbox()))?;
        self.throttle.check(RateLimit::Mail, ("reset", email.canonical()))
    }

    /// Counts a letter that `user` makes the site send to any address; a 429 over the limit of the
    /// account, the network or the mailbox.
    pub fn check_sender_limit(&self, user: UserId, email: &Email) -> Result<()> {
        self.throttle.check(RateLimit::MailSender, user)?;
        self.throttle.check(RateLimit::MailNetwork, self.client)?;
        self.check_mailbox_limit(email)
    }

    /// Counts a letter to a mailbox that did not ask for it; a 429 over the limit.
    pub fn check_mailbox_limit(&self, email: &Email) -> Result<()> {
        self.throttle.check(RateLimit::Mail, ("confirm", email.mailbox()))
    }

    /// Counts a notice about an account to its address; a 429 over the limit.
    pub fn check_notice_limit(&self, email: &Email) -> Result<()> {
        self.throttle.check(RateLimit::Notice, email.mailbox())
    }

    /// Remembers this device as one of `user`'s; returns the cookie that identifies it from now on.
    pub async fn remember_device(&self, user: UserId, site: &Site) -> Result<String> {
        let device = Secret::new();
        let old = self.device.as_ref().map(Secret::key);
        db::remember_device(&self.db, user, &device.key(), old.as_deref()).await?;
        Ok(cookies::build(site, DEVICE_COOKIE, device.reveal(), DEVICE_SECONDS))
    }
}

/// Forgets all attempts at the password of `user`, under any of their log-ins and from every network.
pub async fn forget_attempts(pool: &PgPool, user: UserId) -> sqlx::Result<()> {
    let Some(found) = db::by_user_id(pool, user, None).await? else { return Ok(()) };
    let keys: Vec<String> = logins_of(&found).map(|login| login.key()).collect();
    db::forget_attempts(pool, &keys).await
}

/// The log-ins of an account.
fn logins_of(user: &Credentials) -> impl Iterator<Item = TypedLogin> {
    let email = user.email.as_deref().map(TypedLogin::email);
    [TypedLogin::name(&user.username)].into_iter().chain(email)
}
