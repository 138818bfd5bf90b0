//! One line for each request: what was asked for and what came of it, never by whom or with what.

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
    web::request_id::{REQUEST_ID, RequestId},
};

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
        response.headers_mut().insert(REQUEST_ID, id.into_value());
        response
    }
    .instrument(span)
    .await
}
