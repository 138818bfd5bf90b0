//! A timeout for each request, and a place in the queue; a request runs to completion once it has
//! started.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::web::{Error, middleware::admission::Admission};

/// A request that takes longer is answered with a 503, and still runs to completion.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// What the requests in flight share. A clone is the same.
#[derive(Clone, Default)]
pub struct Limits {
    pub admission: Admission,
    /// Requests in flight, also those whose client has disconnected; a shutdown waits for them.
    pub running: TaskTracker,
}

/// Runs each request to completion, even when its client disconnects.
///
/// Otherwise the handler is dropped at whichever `await` it has reached. With sqlx 0.8 a `BEGIN`
/// dropped in flight leaves its connection inside a transaction, and what the next user of the
/// connection writes is lost.
///
/// Without a place in time the response is a 503. The place is held until the work is done, whether
/// or not its client is still there.
pub async fn run_to_completion(
    State(limits): State<Limits>,
    request: Request,
    next: Next,
) -> Response {
    let place = match limits.admission.admit(&request).await {
        Ok(place) => place,
        Err(busy) => return busy.into_response(),
    };
    let work = async move {
        let response = next.run(request).await;
        if let Some(place) = place {
            place.leave(&response);
        }
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
