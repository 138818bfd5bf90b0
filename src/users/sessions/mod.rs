//! Sessions. The library keeps the session and its cookie; our `user_sessions` says which user it
//! belongs to. A session ends when its row is deleted, even if a running request saves it later.

pub mod db;
pub mod device;

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tower_sessions::{
    Expiry, Session, SessionManagerLayer, SessionStore,
    cookie::SameSite,
    session::{Id, Record},
    session_store,
};

use crate::{
    config::Site,
    users::credentials::Authenticated,
    web::{Error, Result},
};

/// The layer that reads and writes the session cookie.
pub fn layer(db: PgPool, site: &Site) -> SessionManagerLayer<HashedStore> {
    let days = site.session_absolute_days();
    let age = time::Duration::days(days.into());
    SessionManagerLayer::new(HashedStore { db, days })
        .with_name(site.cookie_name("sid"))
        .with_secure(site.base_url.is_secure())
        // Lax, so that people who follow a link from another site are logged in when they arrive.
        .with_same_site(SameSite::Lax)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(age))
}

/// Starts a session under a new id, with nothing from the session before, so that a known old id is
/// useless. A 401 if all sessions of the user were ended since they authenticated.
pub async fn open(
    pool: &PgPool,
    session: &Session,
    authenticated: Authenticated,
    user_agent: &str,
) -> Result<()> {
    let unavailable = |err: tower_sessions::session::Error| Error::Unavailable(err.into());
    session.clear().await;
    session.cycle_id().await.map_err(unavailable)?;
    // The library does not save an empty session.
    session.insert("v", 1).await.map_err(unavailable)?;
    session.save().await.map_err(unavailable)?;
    let id = session.id().ok_or_else(|| Error::internal("a saved session has no id"))?;
    if !db::open(pool, &key(id), authenticated, user_agent).await? {
        session.flush().await.map_err(unavailable)?;
        return Err(Error::Unauthenticated);
    }
    Ok(())
}

/// Middleware: a 503 where the database could not save the session after the handler. The library makes
/// that a bare 500, and no handler makes one.
pub async fn unavailable_if_not_saved(response: Response) -> Response {
    let is_ours = response.extensions().get::<Arc<Error>>().is_some();
    if response.status() != StatusCode::INTERNAL_SERVER_ERROR || is_ours {
        return response;
    }
    Error::Unavailable("the session could not be saved".into()).into_response()
}

/// The header that makes a browser forget the session. The library's own lacks `Secure`, without
/// which a browser keeps a `__Host-` cookie.
pub fn clearing_cookie(site: &Site) -> String {
    crate::web::cookies::build(site, "sid", "", 0)
}

/// What the database stores in place of a session's id: half a SHA-256 of it, so that reading the
/// database is not enough to take over a session.
pub fn key(id: Id) -> String {
    hashed(id).to_string()
}

fn hashed(id: Id) -> Id {
    let digest = Sha256::digest(id.0.to_le_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Id(i128::from_le_bytes(half))
}

/// The library's store of sessions: under hashed ids, and expiring by the database's clock. The library's
/// own clock is only that of this machine.
#[derive(Debug, Clone)]
pub struct HashedStore {
    db: PgPool,
    /// How long a saved session lasts.
    days: i32,
}

#[async_trait]
impl SessionStore for HashedStore {
    /// An id has 128 random bits, so there is no need to look for a collision first.
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        self.save(record).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let hashed = Record { id: hashed(record.id), ..record.clone() };
        let data = rmp_serde::to_vec(&hashed)
            .map_err(|err| session_store::Error::Encode(err.to_string()))?;
        db::save(&self.db, &hashed.id.to_string(), &data, self.days).await.map_err(backend)
    }

    /// Deletes a record that cannot be decoded and treats it as missing.
    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let data = db::load(&self.db, &key(*id)).await.map_err(backend)?;
        match data.map(|data| rmp_serde::from_slice::<Record>(&data)) {
            None => Ok(None),
            // With the client's id again: `cycle_id` deletes the record under the id it holds.
            Some(Ok(record)) => Ok(Some(Record { id: *id, ..record })),
            Some(Err(_)) => {
                self.delete(id).await?;
                Ok(None)
            }
        }
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        db::end(&self.db, &key(*id)).await.map_err(backend)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn backend(err: sqlx::Error) -> session_store::Error {
    session_store::Error::Backend(err.to_string())
}
