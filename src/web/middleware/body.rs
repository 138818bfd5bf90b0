//! Limits on a request: the size of its body and its address, and the time in which they arrive.

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

/// The body limit of a form with a few short fields, in bytes.
pub const SMALL_BODY: usize = 8 * 1024;
/// The body limit of a post, in bytes: 40,000 characters of four bytes, each byte written as `%XX`, and
/// the other fields.
pub const POST_BODY: usize = 512 * 1024;

/// How long a body may take to arrive, over a slow connection.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(12);

/// Buffers the whole body before anything else runs. A slow upload does not use up the request's
/// timeout, and a client that disconnects during it has made no request.
pub async fn buffer_body(request: Request, next: Next) -> Response {
    match timeout(UPLOAD_TIMEOUT, whole(request)).await {
        Ok(Ok(request)) => next.run(request).await,
        Ok(Err(error)) => error.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// The request with its whole body in memory.
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

/// The longest address, path and query, in bytes.
const MAX_URI: usize = 4096;
/// The longest query, in bytes: a search of 200 characters of four bytes, each byte written as `%XX`,
/// and its other parameters.
const MAX_QUERY: usize = 3072;

/// Refuses addresses that are longer than any of this site with a 414.
pub async fn limit_uri_length(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let is_long = uri.path_and_query().is_some_and(|all| all.as_str().len() > MAX_URI)
        || uri.query().is_some_and(|query| query.len() > MAX_QUERY);
    if is_long { StatusCode::URI_TOO_LONG.into_response() } else { next.run(request).await }
}
