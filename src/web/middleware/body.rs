//! How many bytes a request may have, and how long it may take to arrive.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody as _},
    extract::Request,
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::web::Error;

/// A form of a few short fields.
pub const SMALL_BODY: usize = 8 * 1024;
/// 40,000 characters of four bytes, each byte written as `%XX`, and the fields beside them.
pub const POST_BODY: usize = 512 * 1024;

/// For a form to arrive whole, over a poor line.
const UPLOAD: Duration = Duration::from_secs(12);

/// Reads the form before anything else, so that a slow line takes nothing from the time for the
/// work, and a client that goes away in the middle of it has asked for nothing.
pub async fn buffer_body(request: Request, next: Next) -> Response {
    match timeout(UPLOAD, whole(request)).await {
        Ok(Ok(request)) => next.run(request).await,
        Ok(Err(error)) => error.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// The request with all of its body in memory.
async fn whole(request: Request) -> Result<Request, Error> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > POST_BODY as u64 {
        return Err(Error::TooLarge);
    }
    match Limited::new(body, POST_BODY).collect().await {
        Ok(body) => Ok(Request::from_parts(head, Body::from(body.to_bytes()))),
        Err(err) if err.is::<LengthLimitError>() => Err(Error::TooLarge),
        Err(_) => Err(Error::BadRequest("The form did not arrive whole.".into())),
    }
}

/// Addresses longer than this are nobody's.
const MAX_ADDRESS: usize = 4096;
/// The longest search, 200 characters of four bytes, each byte written as `%XX`, and what goes
/// with it.
const MAX_QUERY: usize = 3072;

pub async fn limit_uri_length(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let is_long = uri.path_and_query().is_some_and(|all| all.as_str().len() > MAX_ADDRESS)
        || uri.query().is_some_and(|query| query.len() > MAX_QUERY);
    if is_long { StatusCode::URI_TOO_LONG.into_response() } else { next.run(request).await }
}
