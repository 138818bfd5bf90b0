//! What a client holds already is not sent again.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};

use super::Error;

/// Names every good answer to a question by its content, and sends 304 to who has it.
///
/// The name is a weak one (RFC 9110, 8.8.1): compression comes after.
pub async fn unless_held(request: Request, next: Next) -> Response {
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let asked = request.headers().clone();
    let response = next.run(request).await;
    if !only_reads || response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body: Bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(err) => return Error::internal(err).into_response(),
    };
    let etag = weak_etag(&body);
    let is_held = is_held(&asked, &etag);
    head.headers.extend(HeaderValue::from_str(&etag).map(|etag| (header::ETAG, etag)));
    if is_held {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, body.into())
}

fn weak_etag(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    let words = hash.iter().take(12).map(|byte| format!("{byte:02x}"));
    format!("W/\"{}\"", words.collect::<String>())
}

/// Whether the client says that it has what is called `etag` (RFC 9110, 13.1.2: weakness is no
/// difference, and a cache on the way may have made it weak).
pub fn is_held(headers: &HeaderMap, etag: &str) -> bool {
    let strong = |etag: &str| etag.trim_start_matches("W/").to_owned();
    let etag = strong(etag);
    items(headers, &header::IF_NONE_MATCH).any(|held| held == "*" || strong(held) == etag)
}

/// What stands between the commas.
pub fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
