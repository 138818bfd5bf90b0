//! Authentication by the token in `Authorization` (RFC 6750), the only one that the API accepts.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use sqlx::PgPool;

use crate::{
    users::tokens::{Tokens, db},
    web::{Error, Result},
};

/// Middleware: looks up the viewer of a request. One query with a token, none without. An invalid token
/// is a 401 even where none is needed, because the client believes that it is logged in.
pub async fn authenticate_bearer(
    State(pool): State<PgPool>,
    State(tokens): State<Option<Tokens>>,
    mut request: Request,
    next: Next,
) -> Response {
    let verified = match token(request.headers()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(token)) => tokens.as_ref().and_then(|tokens| tokens.verify(token)),
        Err(error) => return error.into_response(),
    };
    let viewer = match verified {
        Some(verified) => match db::viewer(&pool, verified).await {
            Ok(viewer) => viewer,
            Err(err) => return Error::from(err).into_response(),
        },
        None => None,
    };
    match viewer {
        Some(viewer) => {
            request.extensions_mut().insert(viewer);
            next.run(request).await
        }
        None => Error::BadToken.into_response(),
    }
}

/// Middleware: removes cookies. In the API a session grants nothing, and a known device is known by a
/// token ([`EarlierLogIn`](crate::users::credentials::EarlierLogIn)).
pub async fn drop_cookies(mut request: Request) -> Request {
    request.headers_mut().remove(header::COOKIE);
    request
}

/// The token in the `Authorization` header, if there is one; two headers are a 400.
pub fn token(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::BadRequest("There are two Authorization headers.".into()));
    }
    let credentials = value.to_str().unwrap_or_default().split_once(' ');
    match credentials {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token)),
        _ => Err(Error::BadToken),
    }
}
