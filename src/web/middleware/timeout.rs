//! How much one request may take, and how many may run at once.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::web::Error;

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

/// Runs each request to its end, even when its client hangs up.
///
/// A handler is otherwise dropped wherever it stands. With sqlx 0.8 a `BEGIN` dropped in flight
/// leaves its connection inside a transaction, and what the next borrower writes is lost.
///
/// Full means 503 at once: a short answer now is worth more than a good one too late.
pub async fn run_to_completion(
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
