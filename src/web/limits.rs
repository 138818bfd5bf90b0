//! How much one request may take, and how many may run at once.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::Error;

/// A form of a few short fields.
pub const SMALL_BODY: usize = 8 * 1024;
/// 40,000 characters of four bytes, each byte written as `%XX`, and the fields beside them.
pub const POST_BODY: usize = 512 * 1024;

/// For a form to arrive whole, over a poor line.
const UPLOAD: Duration = Duration::from_secs(12);

/// Work that takes longer is answered with a 503, and is still finished.
const WORK: Duration = Duration::from_secs(3);

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

/// Reads the form before anything else, so that a slow line takes nothing from the time for the
/// work, and a client that goes away in the middle of it has asked for nothing.
pub async fn arrive_first(request: Request, next: Next) -> Response {
    match timeout(UPLOAD, whole(request)).await {
        Ok(Ok(request)) => next.run(request).await,
        Ok(Err(error)) => error.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
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
    let work = async move {
        let response = next.run(request).await;
        drop(place);
        response
    };
    // What it logs stands under the request's id, though it is a task of its own.
    let task = limits.running.spawn(work.in_current_span());
    match timeout(WORK, task).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Error::internal(panic).into_response(),
        Err(_) => Error::Unavailable("the request took too long".into()).into_response(),
    }
}

/// The request with all of its body in memory.
async fn whole(request: Request) -> Result<Request, Error> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > POST_BODY as u64 {
        return Err(Error::TooLarge);
    }
    match Limited::new(body, POST_BODY).collect().await {
        Ok(body) => Ok(Request::from_parts(head, Body::from(body.to_bytes()))),
        Err(err) if err.is::<LengthLimitError>() => Err(Error::TooLarge),
        Err(_) => Err(Error::BadRequest("The form did not arrive whole.".into())),
    }
}

/// Addresses longer than this are nobody's.
const MAX_ADDRESS: usize = 4096;
/// The longest search, 200 characters of four bytes, each byte written as `%XX`, and what goes
/// with it.
const MAX_QUERY: usize = 3072;

pub async fn short_address(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let is_long = uri.path_and_query().is_some_and(|all| all.as_str().len() > MAX_ADDRESS)
        || uri.query().is_some_and(|query| query.len() > MAX_QUERY);
    if is_long { StatusCode::URI_TOO_LONG.into_response() } else { next.run(request).await }
}
