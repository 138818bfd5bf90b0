//! Links sent by e-mail. Opening one proves control of the address it was sent to.

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
    identity::{UserId, Username},
    mail::{self, Mailer},
    users::{self, Email, credentials::Authenticated, secret::Secret},
    web::middleware::timeout::Limits,
};

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To set a new password.
    Password,
    /// To confirm an e-mail address.
    Email,
}

impl Purpose {
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Password => "password",
            Purpose::Email => "email",
        }
    }

    /// The link's URL, built from the settings and never from a request.
    pub fn url(self, site: &Site, secret: &Secret) -> String {
        let path = match self {
            Purpose::Password => "password/reset",
            Purpose::Email => "email/confirm",
        };
        format!("{}/{path}/{}", site.base_url.origin(), secret.reveal())
    }
}

/// A link that can still be used.
#[derive(Debug)]
pub struct MailedLink {
    /// See [`Secret::key`].
    pub key: String,
    pub user: UserId,
    pub username: Username,
    /// The address to confirm, otherwise the account's.
    pub email: Option<String>,
}

/// The link with the token at the end of its URL; `None` once it is used, replaced or expired.
pub async fn find(
    pool: &PgPool,
    token: &str,
    purpose: Purpose,
) -> sqlx::Result<Option<MailedLink>> {
    match token.parse::<Secret>() {
        Ok(secret) => db::find(pool, &secret.key(), purpose).await,
        Err(_) => Ok(None),
    }
}

/// Sends e-mails to people. They are sent after the response, so that its time does not tell who has
/// an account; a shutdown waits for them.
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
    /// Whether the site sends e-mail.
    pub fn are_on(&self) -> bool {
        self.mailer.is_on()
    }

    /// Sends a link to set a new password to the address, if an account has it.
    pub fn send_reset(&self, email: Email) {
        self.spawn(async move |links| {
            let secret = Secret::new();
            let found = db::create_for_password(&links.db, &email, &secret.key()).await?;
            if let Some(db::Recipient { username, email: Some(to) }) = found {
                links.mailer.send(emails::reset(&links.site, &username, &to, &secret)).await;
            }
            Ok(())
        });
    }

    /// Sends a link to confirm `email`. If the address belongs to another account, tells its owner
    /// about the attempt instead.
    pub fn send_confirm(&self, authenticated: Authenticated, username: Username, email: Email) {
        self.spawn(async move |links| {
            let owner = users::db::owner_of(&links.db, &email).await?;
            let email = match owner {
                Some((owner, to)) if owner != username => emails::taken(&links.site, &owner, &to),
                _ => {
                    let secret = Secret::new();
                    if !db::create_for_email(&links.db, authenticated, &secret.key(), &email)
                        .await?
                    {
                        return Ok(());
                    }
                    emails::confirm(&links.site, &username, email.as_written(), &secret)
                }
            };
            links.mailer.send(email).await;
            Ok(())
        });
    }

    /// Sends an e-mail without a link.
    pub fn send(&self, email: mail::OutgoingEmail) {
        self.spawn(async move |links| {
            links.mailer.send(email).await;
            Ok(())
        });
    }

    fn spawn<F>(&self, work: impl FnOnce(Links) -> F)
    where
        F: Future<Output = sqlx::Result<()>> + Send + 'static,
    {
        if !self.are_on() {
            return;
        }
        let work = work(self.clone());
        self.running.spawn(async move {
            if let Err(err) = work.await {
                tracing::warn!(%err, "cannot send an e-mail");
            }
        });
    }
}
