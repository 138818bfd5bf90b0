//! The viewer of a page, from the session cookie and nothing else.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts, Request, State},
    http::request::Parts,
    middleware::Next,
    response::Response,
};
use sqlx::PgPool;
use tower_sessions::Session;

use crate::{config::Site, identity::Viewer, users::sessions, web::Error};

/// The database could not be asked who the viewer is, which is not the same as an anonymous viewer.
#[derive(Clone)]
struct Unknown(Arc<str>);

/// `viewer: Viewer` in a handler means that the client must be logged in.
impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Viewer, Error> {
        if let Some(Unknown(cause)) = parts.extensions.get() {
            return Err(Error::Unavailable(cause.to_string().into()));
        }
        parts.extensions.get::<Viewer>().cloned().ok_or(Error::Unauthenticated)
    }
}

/// `viewer: Option<Viewer>` means that the client may be anonymous.
impl<S: Sync> OptionalFromRequestParts<S> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Viewer>, Infallible> {
        Ok(parts.extensions.get::<Viewer>().cloned())
    }
}

/// Middleware: looks up the viewer of a request. One query with a session cookie, none without. Puts
/// the viewer into the response's extensions too, for the layers further out.
pub async fn authenticate_session(
    State((db, site)): State<(PgPool, Arc<Site>)>,
    session: Session,
    mut request: Request,
    next: Next,
) -> Response {
    let mut viewer = None;
    if let Some(id) = session.id() {
        match sessions::db::viewer(&db, &sessions::key(id), &site).await {
            Ok(found) => viewer = found,
            Err(err) => {
                tracing::warn!(%err, "cannot look up the session");
                request.extensions_mut().insert(Unknown(err.to_string().into()));
            }
        }
    }
    if let Some(viewer) = &viewer {
        request.extensions_mut().insert(viewer.clone());
    }
    let mut response = next.run(request).await;
    if let Some(viewer) = viewer {
        response.extensions_mut().insert(viewer);
    }
    response
}
