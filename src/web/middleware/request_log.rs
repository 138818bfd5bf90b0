//! The request log: route, status and duration of a request, and never who sent it or with which
//! values. The setting `ACCESS_LOG` says whether of each request, or of failed ones only.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;

use crate::{
    config::{AccessLog, Site},
    metrics::metrics,
    text,
    web::{
        middleware::known_routes::KnownRoute,
        request_id::{REQUEST_ID, RequestId},
    },
};

/// Logs the request under its id, and counts it in the metrics.
pub async fn log(
    State((site, log)): State<(Arc<Site>, AccessLog)>,
    mut request: Request,
    next: Next,
) -> Response {
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
        if is_logged(log, response.status()) {
            // A client may invent a method.
            let method = text::for_log(method.as_str().as_bytes());
            let (status, ms) = (response.status().as_u16(), millis(took));
            tracing::info!(method, route, status, ms, "request completed");
        }
        response.headers_mut().insert(REQUEST_ID, id.into_value());
        response
    }
    .instrument(span)
    .await
}

/// Logs a request that was answered from the page cache, as [`log`] does the others.
pub fn completed_at_once(
    log: AccessLog,
    id: &RequestId,
    route: &KnownRoute,
    status: StatusCode,
    took: Duration,
) {
    if is_logged(log, status) {
        let (method, route, status, ms) =
            (&route.method, route.path, status.as_u16(), millis(took));
        tracing::info_span!("request", %id)
            .in_scope(|| tracing::info!(%method, route, status, ms, "request completed"));
    }
}

fn is_logged(log: AccessLog, status: StatusCode) -> bool {
    log == AccessLog::All || status.is_client_error() || status.is_server_error()
}

/// As 64 bits: the JSON log would write a larger integer as a string.
fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
