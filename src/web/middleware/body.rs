//! Limits on a request: the size of its body and its address, the time in which they arrive, and what
//! all bodies together may take.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::{
    config::Site,
    web::{
        Error,
        byte_budget::{ByteBudget, Spent},
        client::ClientNet,
        middleware::known_routes::RouteTraits,
    },
};

/// How long a body may take to arrive, over a slow connection.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(12);

/// What the bodies of all requests together may take, in bytes.
const MOST: usize = 64 * 1024 * 1024;

/// The memory of the bodies that are being read or worked on. A clone shares it.
#[derive(Clone)]
pub struct Bodies(ByteBudget);

impl Default for Bodies {
    fn default() -> Bodies {
        Bodies(ByteBudget::new(MOST))
    }
}

/// Buffers the whole body before anything else runs, within the limit of its route. A slow upload does
/// not use up the request's timeout, and a client that disconnects during it has made no request.
///
/// A request that only reads is not asked for its body.
pub async fn buffer_body(
    State((bodies, site)): State<(Bodies, Arc<Site>)>,
    request: Request,
    next: Next,
) -> Response {
    if request.method().is_safe() {
        let (head, _) = request.into_parts();
        return next.run(Request::from_parts(head, Body::empty())).await;
    }
    match timeout(UPLOAD_TIMEOUT, whole(request, &bodies, &site)).await {
        Ok(Ok(request)) => next.run(request).await,
        Ok(Err(error)) => error.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// The request with its whole body in memory.
async fn whole(request: Request, bodies: &Bodies, site: &Site) -> Result<Request, Error> {
    let limit = RouteTraits::of(&request).body;
    let client = ClientNet::of(&request, site);
    let (head, mut body) = request.into_parts();
    if body.size_hint().lower() > limit as u64 {
        return Err(Error::TooLarge);
    }
    let mut whole = Counted { bytes: Vec::new(), spent: bodies.0.spend(client) };
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Error::BadRequest("The form did not arrive whole.".into()))?;
        let Ok(part) = frame.into_data() else { continue };
        if whole.bytes.len() + part.len() > limit {
            return Err(Error::TooLarge);
        }
        if !whole.spent.add(part.len()) {
            return Err(Error::Busy);
        }
        whole.bytes.extend_from_slice(&part);
    }
    Ok(Request::from_parts(head, Body::from(Bytes::from_owner(whole))))
}

/// A body that counts for as long as any part of the program holds it.
struct Counted {
    bytes: Vec<u8>,
    spent: Spent,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
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
