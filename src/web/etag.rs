//! Conditional requests: a client that holds the current version gets 304 without a body.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};

use crate::{cpu, web::Error};

/// A longer body takes more than a fraction of a millisecond to hash, in bytes.
const LONG: usize = 128 * 1024;

/// Sets an `ETag` from the content on each successful response to GET or HEAD, and responds 304 to a
/// client that holds it.
///
/// The tag is weak (RFC 9110, 8.8.1), because compression comes after.
pub async fn conditional_get(request: Request, next: Next) -> Response {
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let request_headers = request.headers().clone();
    let response = next.run(request).await;
    if !only_reads || response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body: Bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(err) => return Error::internal(err).into_response(),
    };
    let etag = cpu::run_if(body.len() > LONG, {
        let body = body.clone();
        move || weak_etag(&body)
    });
    let etag = etag.await;
    let is_held = is_held(&request_headers, &etag);
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
    let hex = hash.iter().take(12).map(|byte| format!("{byte:02x}"));
    format!("W/\"{}\"", hex.collect::<String>())
}

/// Whether the client's `If-None-Match` has `etag`.
pub fn is_held(headers: &HeaderMap, etag: &str) -> bool {
    let mut held = headers.get_all(header::IF_NONE_MATCH).iter();
    held.any(|held| is_among(held, etag))
}

/// Whether `etag` is in the list `held`. By weak comparison (RFC 9110, 13.1.2): a cache on the way may
/// have made a tag weak.
pub fn is_among(held: &HeaderValue, etag: &str) -> bool {
    let strong = |etag: &str| etag.trim().trim_start_matches("W/").to_owned();
    let held = held.to_str().unwrap_or_default().split(',');
    held.map(strong).any(|held| held == "*" || held == strong(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_matches_weak_or_strong_and_in_a_list() {
        let holds = |held: &'static str| is_among(&HeaderValue::from_static(held), "W/\"a1\"");
        assert!(holds("W/\"a1\"") && holds("\"a1\"") && holds("\"b\", W/\"a1\"") && holds("*"));
        assert!(!holds("\"b\"") && !holds("") && !holds("a1"));
    }
}
