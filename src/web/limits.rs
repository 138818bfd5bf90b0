//! How much one request may take, and how many may run at once.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::Error;

/// A form of a few short fields.
pub const SMALL_BODY: usize = 8 * 1024;
/// 40,000 characters of four bytes, each byte written as `%XX`, and the fields beside them.
pub const POST_BODY: usize = 512 * 1024;

/// A request that takes longer gets a 503; its work, once begun, is still finished.
const DEADLINE: Duration = Duration::from_secs(8);

/// More than this many at once would only wait for each other.
const AT_ONCE: usize = 512;

/// What the requests in flight share.
#[derive(Clone)]
pub struct Limits {
    places: Arc<Semaphore>,
    /// Requests whose client may be gone; a shutdown waits for them.
    pub running: TaskTracker,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { places: Arc::new(Semaphore::new(AT_ONCE)), running: TaskTracker::new() }
    }
}

/// Runs each request to its end, even when its client hangs up.
///
/// A handler is otherwise dropped wherever it stands. With sqlx 0.8 a `BEGIN` dropped in flight
/// leaves its connection inside a transaction, and what the next borrower writes is lost.
///
/// Full means 503 at once: a short answer now is worth more than a good one too late.
pub async fn run_to_the_end(
    State(limits): State<Limits>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(place) = limits.places.clone().try_acquire_owned() else {
        return Error::Busy.into_response();
    };
    let task = limits.running.spawn(async move {
        let response = next.run(request).await;
        drop(place);
        response
    });
    match tokio::time::timeout(DEADLINE, task).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Error::internal(panic).into_response(),
        Err(_) => Error::Unavailable("the request took too long".into()).into_response(),
    }
}

/// Addresses longer than this are nobody's; the query alone may take half.
const MAX_ADDRESS: usize = 4096;

pub async fn short_address(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let is_long = uri.path_and_query().is_some_and(|all| all.as_str().len() > MAX_ADDRESS)
        || uri.query().is_some_and(|query| query.len() > MAX_ADDRESS / 2);
    if is_long { StatusCode::URI_TOO_LONG.into_response() } else { next.run(request).await }
}
