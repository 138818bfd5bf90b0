//! Forms that are shown again because something went wrong.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};

use crate::web::Error;

/// The form's page with the status and `Retry-After` of the error that brought it back.
pub fn with_error_status(error: Error, mut page: Response) -> Response {
    let (head, _) = error.into_response().into_parts();
    *page.status_mut() = head.status;
    if let Some(wait) = head.headers.get(header::RETRY_AFTER) {
        page.headers_mut().insert(header::RETRY_AFTER, wait.clone());
    }
    page
}

/// The notice to show above a form that can be sent again unchanged, and the error itself. Returns
/// all other errors as `Err`.
pub fn retryable(error: Error) -> Result<(String, Error), Error> {
    match error {
        Error::Unavailable(_)
        | Error::Busy
        | Error::RateLimited { .. }
        | Error::TooManyAttempts { .. } => Ok((error.to_string(), error)),
        error => Err(error),
    }
}
