//! Starting a session for an authenticated user.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderValue, header, request::Parts},
    response::Response,
};
use sqlx::PgPool;
use tower_sessions::Session;

use crate::{
    config::Site,
    users::{
        Passwords,
        credentials::{Authenticated, Authenticator},
        sessions,
    },
    web::{Error, Result, throttle::Throttle},
};

/// `log_in: LogIn` in a handler means that it may start a session.
pub struct LogIn {
    authenticator: Authenticator,
    db: PgPool,
    site: Arc<Site>,
    session: Session,
    user_agent: String,
}

impl<S: Send + Sync> FromRequestParts<S> for LogIn
where
    PgPool: FromRef<S>,
    Passwords: FromRef<S>,
    Throttle: FromRef<S>,
    Arc<Site>: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<LogIn> {
        let Ok(authenticator) = Authenticator::from_request_parts(parts, state)
            .await
            .map_err(|never: Infallible| never);
        let session = Session::from_request_parts(parts, state).await;
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = agent.unwrap_or_default();
        Ok(LogIn {
            authenticator,
            db: PgPool::from_ref(state),
            site: Arc::from_ref(state),
            session: session.map_err(|(_, problem)| Error::internal(problem))?,
            // Enough for people to tell their devices apart.
            user_agent: agent.get(..200).unwrap_or(agent).to_owned(),
        })
    }
}

impl LogIn {
    /// Starts a session under a new id, remembers the device, and sets both cookies on `response`. A
    /// 401 if all sessions of the user were ended since they authenticated.
    pub async fn start_session(
        &self,
        authenticated: Authenticated,
        mut response: Response,
    ) -> Result<Response> {
        sessions::open(&self.db, &self.session, authenticated, &self.user_agent).await?;
        let cookie = self.authenticator.remember_device(authenticated.user, &self.site).await?;
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }
}
