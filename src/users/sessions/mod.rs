//! Log-ins that last. The library keeps the session and its cookie; our `user_sessions` says whose
//! it is, so that a session is over the moment its row is gone, whatever the library writes later.

pub mod db;
pub mod device;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tower_sessions::{
    Expiry, Session, SessionManagerLayer, SessionStore,
    cookie::SameSite,
    session::{Id, Record},
    session_store,
};
use tower_sessions_sqlx_store::PostgresStore;

use crate::{
    config::Site,
    users::credentials::Authenticated,
    web::{Error, Result},
};

/// The layer that reads and writes the session cookie.
pub fn layer(db: PgPool, site: &Site) -> SessionManagerLayer<HashedStore> {
    let store = HashedStore(PostgresStore::new(db));
    let age = time::Duration::days(site.session_absolute_days().into());
    SessionManagerLayer::new(store)
        .with_name(site.cookie_name("sid"))
        .with_secure(site.base_url.is_secure())
        // Lax: who follows a link to the site from elsewhere should find themselves logged in.
        .with_same_site(SameSite::Lax)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(age))
}

/// Logs somebody in, under a new id and nothing of the session before: whoever knew the old id,
/// knows nothing. A 401 if what they proved does not hold any more.
pub async fn open(
    pool: &PgPool,
    session: &Session,
    authenticated: Authenticated,
    user_agent: &str,
) -> Result<()> {
    let lost = |err: tower_sessions::session::Error| Error::Unavailable(err.into());
    session.clear().await;
    session.cycle_id().await.map_err(lost)?;
    // An empty session is no session to the library.
    session.insert("v", 1).await.map_err(lost)?;
    session.save().await.map_err(lost)?;
    let id = session.id().ok_or_else(|| Error::internal("a saved session has no id"))?;
    if !db::open(pool, &key(id), authenticated, user_agent).await? {
        session.flush().await.map_err(lost)?;
        return Err(Error::Unauthenticated);
    }
    Ok(())
}

/// The header that makes a browser forget the session. The library's own lacks `Secure`, without
/// which a browser keeps a `__Host-` cookie.
pub fn clearing_cookie(site: &Site) -> String {
    crate::web::cookies::build(site, "sid", "", 0)
}

/// What the database knows a session by: half a SHA-256 of its id. Who reads the database cannot
/// become anybody with it.
pub fn key(id: Id) -> String {
    hashed(id).to_string()
}

fn hashed(id: Id) -> Id {
    let digest = Sha256::digest(id.0.to_le_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Id(i128::from_le_bytes(half))
}

/// The library's store, but it sees only hashed ids.
#[derive(Debug, Clone)]
pub struct HashedStore(PostgresStore);

#[async_trait]
impl SessionStore for HashedStore {
    /// An id has 128 random bits: no two are the same, so there is nothing to look for first.
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        self.save(record).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.0.save(&Record { id: hashed(record.id), ..record.clone() }).await
    }

    /// A record nobody can read any more is none.
    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        match self.0.load(&hashed(*id)).await {
            // The presented id goes back in: `cycle_id` deletes what the record calls itself.
            Ok(record) => Ok(record.map(|record| Record { id: *id, ..record })),
            Err(session_store::Error::Decode(_)) => {
                self.delete(id).await?;
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.0.delete(&hashed(*id)).await
    }
}
