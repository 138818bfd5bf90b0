//! Links by mail: who follows one proves that mail to an address reaches them.

pub mod db;
pub mod emails;

use std::{convert::Infallible, future::Future, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::{
    config::Site,
    identity::Username,
    mail::{self, Mailer},
    users::{self, Email, credentials::Authenticated, secret::Secret},
    web::middleware::timeout::Limits,
};

/// What a link is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To choose a new password.
    Password,
    /// To make an address one's own.
    Email,
}

impl Purpose {
    pub fn word(self) -> &'static str {
        match self {
            Purpose::Password => "password",
            Purpose::Email => "email",
        }
    }

    /// The link's whole address, built from the settings and never from what a request says.
    pub fn url(self, site: &Site, secret: &Secret) -> String {
        let path = match self {
            Purpose::Password => "password/reset",
            Purpose::Email => "email/confirm",
        };
        format!("{}/{path}/{}", site.base_url.origin(), secret.reveal())
    }
}

/// Whose a link is, and the address it is about.
#[derive(Debug)]
pub struct Shown {
    pub username: Username,
    pub email: Option<String>,
}

/// `links: Links` in a handler means that it writes to people. All of it happens after the answer, so
/// that nobody learns from the time it takes who has an account; a shutdown waits for it.
#[derive(Clone)]
pub struct Links {
    db: PgPool,
    site: Arc<Site>,
    mailer: Mailer,
    running: TaskTracker,
}

impl<S: Sync> FromRequestParts<S> for Links
where
    PgPool: FromRef<S>,
    Arc<Site>: FromRef<S>,
    Mailer: FromRef<S>,
    Limits: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Links, Infallible> {
        Ok(Links {
            db: PgPool::from_ref(state),
            site: Arc::from_ref(state),
            mailer: Mailer::from_ref(state),
            running: Limits::from_ref(state).running,
        })
    }
}

impl Links {
    /// Whether the site writes at all.
    pub fn are_on(&self) -> bool {
        self.mailer.is_on()
    }

    /// Sends whoever has the address a link to a new password, and nobody anything else.
    pub fn send_reset(&self, email: Email) {
        self.later(async move |links| {
            let secret = Secret::new();
            let found = db::for_password_by_email(&links.db, &email, &secret.key()).await?;
            if let Some(db::Recipient { username, email: Some(to) }) = found {
                links.mailer.send(emails::reset(&links.site, &username, &to, &secret)).await;
            }
            Ok(())
        });
    }

    /// Sends a link to `email` by which somebody may prove it to be theirs; to an address that another
    /// has, only word that somebody wanted it.
    pub fn send_confirm(&self, authenticated: Authenticated, username: Username, email: Email) {
        self.later(async move |links| {
            let owner = users::db::owner_of(&links.db, &email).await?;
            let email = match owner {
                Some((owner, to)) if owner != username => emails::taken(&links.site, &owner, &to),
                _ => {
                    let secret = Secret::new();
                    if !db::for_email(&links.db, authenticated, &secret.key(), &email).await? {
                        return Ok(());
                    }
                    emails::confirm(&links.site, &username, email.as_written(), &secret)
                }
            };
            links.mailer.send(email).await;
            Ok(())
        });
    }

    /// Sends a letter without a link.
    pub fn send(&self, email: mail::OutgoingEmail) {
        self.later(async move |links| {
            links.mailer.send(email).await;
            Ok(())
        });
    }

    fn later<F>(&self, work: impl FnOnce(Links) -> F)
    where
        F: Future<Output = sqlx::Result<()>> + Send + 'static,
    {
        if !self.are_on() {
            return;
        }
        let work = work(self.clone());
        self.running.spawn(async move {
            if let Err(err) = work.await {
                tracing::warn!(%err, "cannot write to somebody");
            }
        });
    }
}
