//! The request log: one line per request with route, status and duration, and never who sent it or
//! with which values.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;

use crate::{
    config::Site,
    metrics::metrics,
    text,
    web::request_id::{REQUEST_ID, RequestId},
};

/// Logs the request under its id, and counts it in the metrics.
pub async fn log(State(site): State<Arc<Site>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::from_request(&request, &site);
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    // The route, not the address: an address may contain a secret or personal text.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", %id);

    async move {
        let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
        let (started, in_flight) = (Instant::now(), metrics().request_started());
        let mut response = next.run(request).await;
        drop(in_flight);
        let took: Duration = started.elapsed();
        metrics().request_completed(&method, route, response.status(), took);
        // As 64 bits: the JSON log would write a larger integer as a string.
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        // A client may invent a method.
        let method = text::for_log(method.as_str().as_bytes());
        tracing::info!(method, route, status = response.status().as_u16(), ms, "request completed");
        response.headers_mut().insert(REQUEST_ID, id.into_value());
        response
    }
    .instrument(span)
    .await
}
