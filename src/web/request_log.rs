//! One line for each request: what was asked for and what came of it, never by whom or with what.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;

use super::client;
use crate::{config::Site, metrics::metrics};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request in the log, on the 500 page and in the answer's `X-Request-Id`.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// That of a request, whoever has named it.
    pub fn of(request: &Request, site: &Site) -> RequestId {
        if let Some(id) = request.extensions().get::<RequestId>() {
            return id.clone();
        }
        let is_from_proxy = client::is_from_proxy(request, site);
        let given = is_from_proxy.then(|| RequestId::given(request.headers())).flatten();
        given.unwrap_or_else(RequestId::new)
    }

    pub fn into_value(self) -> HeaderValue {
        self.0
    }

    /// The one that a proxy of ours has given, so that its log and this one tell of the same.
    fn given(headers: &HeaderMap) -> Option<RequestId> {
        let mut ids = headers.get_all(REQUEST_ID).iter();
        let (Some(id), None) = (ids.next(), ids.next()) else { return None };
        let is_plain = id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        (is_plain && (8..=64).contains(&id.len())).then(|| RequestId(id.clone()))
    }

    fn new() -> RequestId {
        let id = uuid::Uuid::now_v7().to_string();
        RequestId(HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("unknown")))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

pub async fn log(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request, &site);
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    // The route, not the address: an address may hold a secret or a person's words.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", %id);

    async move {
        let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
        let (started, in_flight) = (Instant::now(), metrics().begun());
        let mut response = next.run(request).await;
        drop(in_flight);
        let took: Duration = started.elapsed();
        metrics().answered(&method, route, response.status(), took);
        // As 64 bits: a larger number would be a text in JSON.
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(%method, route, status = response.status().as_u16(), ms, "answered");
        response.headers_mut().insert(REQUEST_ID, id.0);
        response
    }
    .instrument(span)
    .await
}
