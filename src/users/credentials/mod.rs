//! Proving to be somebody. The one place where passwords are checked, whichever face or form asks, so
//! that there is one budget of tries for all of them.
//!
//! Tries are counted for each account (and each name that nobody has, so that both look alike) in the
//! database, and for each client's network in memory. So that strangers who guess cannot lock the
//! owner out, a device on which somebody has logged in to the account has a count of its own.

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
    users::{Login, Password, Passwords, credentials::db::Credentials, secret::Secret},
    web::{
        Error, Result,
        client::ClientNet,
        cookies,
        throttle::{RateLimit, Throttle},
    },
};

/// The cookie that a device is known by.
pub const DEVICE_COOKIE: &str = "device";

/// Half a year.
const DEVICE_SECONDS: i64 = 180 * 24 * 60 * 60;

/// Who proved to be whom, and when: as long as nothing has ended all sessions of theirs since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authenticated {
    pub user: UserId,
    /// `users.auth_epoch` as it was then.
    pub epoch: i32,
}

/// `authenticator: Authenticator` in a handler means that it checks a password.
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
    /// Who that is, if there is such a person, they are not suspended, and the password is theirs. The
    /// same time and the same answer for whatever is not so; a 429 when there were too many tries.
    pub async fn log_in(&self, login: &str, password: &str) -> Result<Option<Authenticated>> {
        let device = self.device.as_ref().map(Secret::key);
        let parsed = Login::parse(login);
        let known = match &parsed {
            Some(login) => db::by_login(&self.db, login, device.as_deref()).await?,
            None => None,
        };
        let name = match &parsed {
            Some(Login::Name(name)) => name.key(),
            Some(Login::Email(email)) => email.canonical().to_owned(),
            None => login.trim().to_lowercase(),
        };
        self.check(known, &name, password).await
    }

    /// Proof that it is really `user`, who is logged in already and does something that asks for the
    /// password again; `None` if the password is not theirs.
    pub async fn reauthenticate(
        &self,
        user: UserId,
        password: &str,
    ) -> Result<Option<Authenticated>> {
        let device = self.device.as_ref().map(Secret::key);
        let known = db::of(&self.db, user, device.as_deref()).await?;
        let authenticated = self.check(known, "", password).await?;
        if authenticated.is_none() {
            tracing::info!(user = user.0, "password refused");
        }
        Ok(authenticated)
    }

    async fn check(
        &self,
        known: Option<Credentials>,
        name: &str,
        password: &str,
    ) -> Result<Option<Authenticated>> {
        let is_known_device = known.as_ref().is_some_and(|known| known.is_known_device);
        let key = match (&known, &self.device) {
            (Some(known), Some(device)) if is_known_device => {
                count_key("device", &format!("{} {}", known.id.0, device.key()))
            }
            (Some(known), _) => count_key("account", &known.id.0.to_string()),
            (None, _) => count_key("nobody", name),
        };
        if self.throttle.is_on() {
            if !is_known_device {
                self.throttle.check(RateLimit::Guess, self.client)?;
            }
            if let Some(wait) = db::take_try(&self.db, &key).await? {
                metrics().refused("tries_at_account");
                tracing::warn!(
                    user = known.map(|known| known.id.0),
                    "too many tries at a password"
                );
                return Err(Error::TooManyAttempts { wait });
            }
        }

        let hash = known.as_ref().and_then(|known| known.password_hash.clone());
        let verdict = match self.passwords.verify(Password::parse(password), hash).await {
            Ok(verdict) => verdict,
            Err(error) => {
                if self.throttle.is_on() {
                    db::give_back_try(&self.db, &key).await?;
                }
                return Err(error);
            }
        };
        let Some(known) = known.filter(|known| verdict.fits && !known.is_suspended) else {
            return Ok(None);
        };
        if self.throttle.is_on() {
            db::forget_tries(&self.db, &key).await?;
        }
        if let (Some(old), Some(new)) = (&known.password_hash, &verdict.renewed) {
            db::renew_hash(&self.db, known.id, old, new).await?;
            tracing::info!(user = known.id.0, "made a password's hash anew");
        }
        Ok(Some(Authenticated { user: known.id, epoch: known.epoch }))
    }

    /// Counts a look at whether a name or an address is taken, as a guess.
    pub fn may_look(&self) -> Result<()> {
        self.throttle.check(RateLimit::Guess, self.client)
    }

    /// Counts a new account.
    pub fn may_sign_up(&self) -> Result<()> {
        self.throttle.check(RateLimit::SignUp, self.client)
    }

    /// Counts a link sent to `address`, in its canonical form.
    pub fn may_mail(&self, address: &str) -> Result<()> {
        self.throttle.check(RateLimit::Mail, address)
    }

    /// Remembers this device as one of `user`'s; returns the cookie that says so from now on.
    pub async fn know_device(&self, user: UserId, site: &Site) -> Result<String> {
        let device = Secret::new();
        let old = self.device.as_ref().map(Secret::key);
        db::know_device(&self.db, user, &device.key(), old.as_deref()).await?;
        Ok(cookies::build(site, DEVICE_COOKIE, device.reveal(), DEVICE_SECONDS))
    }
}

/// Under what tries are counted: a hash, because names that nobody has are people's slips, at times of
/// a password.
fn count_key(kind: &str, name: &str) -> String {
    let mut key = format!(
        "{:x}",
        Sha256::new().chain_update(kind).chain_update(" ").chain_update(name).finalize()
    );
    key.truncate(32);
    key
}
