//! Authentication by password. All passwords are checked here, for both faces and every form, so one
//! rate limit covers them all.
//!
//! Attempts are counted in the database for each account (and for each name without an account, so
//! that both look alike), and in memory for each client's network. A device on which the account was
//! logged in before has a count of its own, so attackers cannot lock the owner out.

pub mod db;

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use crate::{
    config::Site,
    identity::UserId,
    metrics::metrics,
    users::{Email, Login, Password, Passwords, credentials::db::Credentials, secret::Secret},
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
const DEVICE_SECONDS: i64 = 180 * 24 * 60 * 60;

/// A user who has shown the right password or link. Valid until all sessions of the user are ended,
/// which raises the epoch in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated {
    pub user: UserId,
    /// `users.auth_epoch` at that time.
    pub epoch: i32,
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
    pub async fn log_in(&self, login: &str, password: &str) -> Result<Option<Authenticated>> {
        let device = self.device.as_ref().map(Secret::key);
        let parsed = Login::parse(login);
        let credentials = match &parsed {
            Some(login) => db::by_login(&self.db, login, device.as_deref()).await?,
            None => None,
        };
        let name = match &parsed {
            Some(Login::Name(name)) => name.key(),
            Some(Login::Email(email)) => email.canonical().to_owned(),
            None => login.trim().to_lowercase(),
        };
        self.check(credentials, &name, password).await
    }

    /// Asks `user`, who is logged in, for their password again before a sensitive action. `None` if it
    /// is wrong.
    pub async fn reauthenticate(
        &self,
        user: UserId,
        password: &str,
    ) -> Result<Option<Authenticated>> {
        let device = self.device.as_ref().map(Secret::key);
        let credentials = db::by_user_id(&self.db, user, device.as_deref()).await?;
        let authenticated = self.check(credentials, "", password).await?;
        if authenticated.is_none() {
            tracing::info!(user = user.0, "password refused");
        }
        Ok(authenticated)
    }

    async fn check(
        &self,
        credentials: Option<Credentials>,
        name: &str,
        password: &str,
    ) -> Result<Option<Authenticated>> {
        let is_known_device = credentials.as_ref().is_some_and(|found| found.is_known_device);
        let key = match (&credentials, &self.device) {
            (Some(found), Some(device)) if is_known_device => {
                count_key("device", &format!("{} {}", found.id.0, device.key()))
            }
            (Some(found), _) => count_key("account", &found.id.0.to_string()),
            (None, _) => count_key("nobody", name),
        };
        if self.throttle.is_on() {
            if !is_known_device {
                self.throttle.check(RateLimit::Guess, self.client)?;
            }
            if let Some(wait) = db::count_attempt(&self.db, &key).await? {
                metrics().refused("tries_at_account");
                tracing::warn!(
                    user = credentials.map(|found| found.id.0),
                    "too many password attempts"
                );
                return Err(Error::TooManyAttempts { wait });
            }
        }

        let hash = credentials.as_ref().and_then(|found| found.password_hash.clone());
        let verdict = match self.passwords.verify(Password::parse(password), hash).await {
            Ok(verdict) => verdict,
            Err(error) => {
                if self.throttle.is_on() {
                    db::uncount_attempt(&self.db, &key).await?;
                }
                return Err(error);
            }
        };
        let Some(user) = credentials.filter(|found| verdict.fits && !found.is_suspended) else {
            return Ok(None);
        };
        if self.throttle.is_on() {
            db::clear_attempts(&self.db, &key).await?;
        }
        if let (Some(old), Some(new)) = (&user.password_hash, &verdict.rehashed) {
            db::replace_hash(&self.db, user.id, old, new).await?;
            tracing::info!(user = user.id.0, "rehashed a password");
        }
        Ok(Some(Authenticated { user: user.id, epoch: user.epoch }))
    }

    /// Counts a question whether a name or an address is taken, as a guess; a 429 over the limit.
    pub fn check_guess_limit(&self) -> Result<()> {
        self.throttle.check(RateLimit::Guess, self.client)
    }

    /// Counts a new account; a 429 over the limit.
    pub fn check_sign_up_limit(&self) -> Result<()> {
        self.throttle.check(RateLimit::SignUp, self.client)
    }

    /// Counts a link sent to `email`; a 429 over the limit.
    pub fn check_mail_limit(&self, email: &Email) -> Result<()> {
        self.throttle.check(RateLimit::Mail, email.canonical())
    }

    /// Remembers this device as one of `user`'s; returns the cookie that identifies it from now on.
    pub async fn remember_device(&self, user: UserId, site: &Site) -> Result<String> {
        let device = Secret::new();
        let old = self.device.as_ref().map(Secret::key);
        db::remember_device(&self.db, user, &device.key(), old.as_deref()).await?;
        Ok(cookies::build(site, DEVICE_COOKIE, device.reveal(), DEVICE_SECONDS))
    }
}

/// The key that attempts are counted under. Hashed, because a name without an account is a typing
/// error and sometimes a password.
fn count_key(kind: &str, name: &str) -> String {
    let mut key = format!(
        "{:x}",
        Sha256::new().chain_update(kind).chain_update(" ").chain_update(name).finalize()
    );
    key.truncate(32);
    key
}
