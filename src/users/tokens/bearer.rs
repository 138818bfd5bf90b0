//! Who asks, by the token in `Authorization` (RFC 6750). The API believes it and nothing else.

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

/// Finds out who asks: one query for who shows a token, none for who does not. A token that does not
/// count is a 401 even where none is needed: its bearer believes to be logged in.
pub async fn authenticate_bearer(
    State(pool): State<PgPool>,
    State(tokens): State<Option<Tokens>>,
    mut request: Request,
    next: Next,
) -> Response {
    let shown = match token(request.headers()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(token)) => tokens.as_ref().and_then(|tokens| tokens.read(token)),
        Err(error) => return error.into_response(),
    };
    let viewer = match shown {
        Some(authenticated) => match db::viewer(&pool, authenticated).await {
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

/// A session gives no rights here, and a known device no tries.
pub async fn drop_cookies(mut request: Request) -> Request {
    request.headers_mut().remove(header::COOKIE);
    request
}

/// The token of the one `Authorization` header, if there is any.
fn token(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = shown.next() else { return Ok(None) };
    if shown.next().is_some() {
        return Err(Error::BadRequest("There are two Authorization headers.".into()));
    }
    let credentials = value.to_str().unwrap_or_default().split_once(' ');
    match credentials {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token)),
        _ => Err(Error::BadToken),
    }
}
