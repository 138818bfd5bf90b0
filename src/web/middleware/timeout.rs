//! A timeout for each request and a limit on concurrent requests; a request runs to completion once
//! it has started.

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

/// A request that takes longer is answered with a 503, and still runs to completion.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Concurrent requests; more would only wait for each other.
const MAX_CONCURRENT: usize = 512;

/// What the requests in flight share. A clone is the same.
#[derive(Clone)]
pub struct Limits {
    permits: Arc<Semaphore>,
    /// Requests in flight, also those whose client has disconnected; a shutdown waits for them.
    pub running: TaskTracker,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { permits: Arc::new(Semaphore::new(MAX_CONCURRENT)), running: TaskTracker::new() }
    }
}

/// Runs each request to completion, even when its client disconnects.
///
/// Otherwise the handler is dropped at whichever `await` it has reached. With sqlx 0.8 a `BEGIN`
/// dropped in flight leaves its connection inside a transaction, and what the next user of the
/// connection writes is lost.
///
/// Without a free permit the response is a 503 at once.
pub async fn run_to_completion(
    State(limits): State<Limits>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(permit) = limits.permits.clone().try_acquire_owned() else {
        return Error::Busy.into_response();
    };
    let work = async move {
        let response = next.run(request).await;
        drop(permit);
        response
    };
    // It is a task of its own, and still logs within the request's span.
    let task = limits.running.spawn(work.in_current_span());
    match timeout(REQUEST_TIMEOUT, task).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Error::internal(panic).into_response(),
        Err(_) => Error::Unavailable("the request took too long".into()).into_response(),
    }
}
