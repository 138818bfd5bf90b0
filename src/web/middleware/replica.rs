//! Which database answers a read: the replica where what it shows may be a moment old, the primary
//! for who has just written.

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

/// The mark of who has just written. It holds nothing and gives no right, so that every process
/// understands it.
const WROTE: &str = "wrote";
/// Its life in seconds: longer than a replica may lag and it takes to notice that it does.
const MARKED: i64 = 10;

/// The primary still needs its time when the replica has taken this.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pool for what a handler only reads: the replica's inside of [`read_replica`], else the
/// primary's.
pub struct ReadPool(pub PgPool);

#[derive(Clone)]
struct Chosen(PgPool);

impl<S: Sync> FromRequestParts<S> for ReadPool
where
    PgPool: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<ReadPool, Infallible> {
        let chosen = parts.extensions.get().map(|Chosen(pool)| pool.clone());
        Ok(ReadPool(chosen.unwrap_or_else(|| PgPool::from_ref(state))))
    }
}

/// Lets the replica answer what may be a moment old. Where it fails, or knows nothing of what is
/// asked for, the primary is asked within the same request.
pub async fn read_replica(
    State((replica, site)): State<(Option<Replica>, Arc<Site>)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(replica) = replica else { return next.run(request).await };
    let is_bound = !is_read(request.method()) || has_written(request.headers(), &site);
    let Some(pool) = replica.fit().filter(|_| !is_bound) else {
        return next.run(request).await;
    };
    let (head, _) = request.into_parts();
    let again = Request::from_parts(head.clone(), Body::empty());
    let mut request = Request::from_parts(head, Body::empty());
    request.extensions_mut().insert(Chosen(pool.clone()));
    // A read that is dropped in the middle leaves nothing behind.
    match timeout(PATIENCE, next.clone().run(request)).await {
        // Somebody may have been told of it who is faster than the replica.
        Ok(response) if response.status() == StatusCode::NOT_FOUND => {}
        Ok(response) if !response.status().is_server_error() => return response,
        Ok(_) => {
            tracing::warn!("the replica failed; asking the primary");
            replica.mark_unhealthy();
        }
        Err(_) => {
            tracing::warn!("the replica takes too long; asking the primary");
            replica.mark_unhealthy();
        }
    }
    next.run(again).await
}

/// Marks who has written, so that they see at once what they wrote: a replica may lag, and what another
/// process keeps may be older too.
pub async fn set_read_your_writes(
    State((replica, site)): State<(Option<Replica>, Arc<Site>)>,
    request: Request,
    next: Next,
) -> Response {
    let may_write = !is_read(request.method());
    let mut response = next.run(request).await;
    let may_write =
        may_write && (replica.is_some() || response.extensions().get::<Viewer>().is_some());
    // What ended in a fault of ours may be written all the same.
    if may_write && !response.status().is_client_error() {
        let cookie = cookies::build(&site, WROTE, "1", MARKED);
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether somebody has just written, or may have. A program keeps no cookie, and several processes no
/// common memory: who shows a token always reads from the primary.
pub fn has_written(headers: &HeaderMap, site: &Site) -> bool {
    headers.contains_key(header::AUTHORIZATION)
        || cookies::read(headers, &site.cookie_name(WROTE)).is_some()
}
