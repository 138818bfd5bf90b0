//! One line for each request: what was asked for and what came of it, never by whom or with what.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;

/// Names one request in the log, on the 500 page and in the answer's `X-Request-Id`.
#[derive(Debug, Clone)]
pub struct RequestId(uuid::Uuid);

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

impl RequestId {
    pub fn fresh() -> RequestId {
        RequestId(uuid::Uuid::now_v7())
    }

    pub fn value(&self) -> HeaderValue {
        let mut buffer = uuid::Uuid::encode_buffer();
        let text: &str = self.0.hyphenated().encode_lower(&mut buffer);
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

pub async fn log(mut request: Request, next: Next) -> Response {
    let id = RequestId::fresh();
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    // The route, not the address: an address may hold a secret or a person's words.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", %id);

    async move {
        let started = Instant::now();
        let mut response = next.run(request).await;
        // As 64 bits: a larger number would be a text in JSON.
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(%method, route, status = response.status().as_u16(), ms, "answered");
        response.headers_mut().insert(HEADER, id.value());
        response
    }
    .instrument(span)
    .await
}
