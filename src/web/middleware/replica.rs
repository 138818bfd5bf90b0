//! Read replica routing: reads that may be slightly stale go to the replica, and a client that has
//! just written reads from the primary (read your writes).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRef, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::Response,
};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::{config::Site, database::Replica, identity::Viewer, web::cookies};

/// The cookie of a client that has just written. It has no content and gives no right, so every process
/// understands it.
const WROTE: &str = "wrote";
/// The cookie's lifetime in seconds: longer than a replica may lag, plus the time to detect that.
const WROTE_SECONDS: i64 = 10;

/// How long the replica may take, so that the primary can still answer in time after it.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);

/// The pool for a handler's reads: the replica's where [`read_replica`] chose it, else the primary's.
pub struct ReadPool(pub PgPool);

#[derive(Clone)]
struct ReplicaPool(PgPool);

impl<S: Sync> FromRequestParts<S> for ReadPool
where
    PgPool: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ReadPool, Infallible> {
        let replica = parts.extensions.get().map(|ReplicaPool(pool)| pool.clone());
        Ok(ReadPool(replica.unwrap_or_else(|| PgPool::from_ref(state))))
    }
}

/// Lets a request read from the replica. Where the replica fails or does not have what is requested,
/// the request is retried on the primary.
pub async fn read_replica(
    State((replica, site)): State<(Option<Replica>, Arc<Site>)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(replica) = replica else { return next.run(request).await };
    let needs_primary = !is_read(request.method()) || has_written(request.headers(), &site);
    let Some(pool) = replica.healthy().filter(|_| !needs_primary) else {
        return next.run(request).await;
    };
    let (head, _) = request.into_parts();
    let retry = Request::from_parts(head.clone(), Body::empty());
    let mut request = Request::from_parts(head, Body::empty());
    request.extensions_mut().insert(ReplicaPool(pool.clone()));
    // Dropping an unfinished read is safe: it leaves no transaction open.
    match timeout(REPLICA_TIMEOUT, next.clone().run(request)).await {
        // It may exist already and not have been replicated yet.
        Ok(response) if response.status() == StatusCode::NOT_FOUND => {}
        Ok(response) if !response.status().is_server_error() => return response,
        Ok(_) => {
            tracing::warn!("the replica failed; retrying on the primary");
            replica.mark_unhealthy();
        }
        Err(_) => {
            tracing::warn!("the replica timed out; retrying on the primary");
            replica.mark_unhealthy();
        }
    }
    next.run(retry).await
}

/// Sets the cookie of a client that has written, so that it reads its own writes: a replica may lag,
/// and another process' cache may be older.
pub async fn set_read_your_writes(
    State((replica, site)): State<(Option<Replica>, Arc<Site>)>,
    request: Request,
    next: Next,
) -> Response {
    let may_write = !is_read(request.method());
    let mut response = next.run(request).await;
    let may_write =
        may_write && (replica.is_some() || response.extensions().get::<Viewer>().is_some());
    // A write may be committed even though the response is a 5xx.
    if may_write && !response.status().is_client_error() {
        let cookie = cookies::build(&site, WROTE, "1", WROTE_SECONDS);
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether the client has just written, or may have. A program keeps no cookies and the processes share
/// no memory, so a request with a token always reads from the primary.
pub fn has_written(headers: &HeaderMap, site: &Site) -> bool {
    headers.contains_key(header::AUTHORIZATION)
        || cookies::read(headers, &site.cookie_name(WROTE)).is_some()
}
