//! The one error type of every handler.
//!
//! A handler returns [`Error`] whether a person or a program asks. The outermost layers render it:
//! `error_page` as a page for people or a message for htmx, `problem` as a problem document for
//! programs.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::metrics::metrics;

/// The content type of an error response for programs (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request failed. The `Display` text is the sentence that a person or a program reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed: bytes that are not UTF-8, a damaged cursor, a repeated field.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    /// The request needs a session or a token, and has none.
    #[error("Log in first.")]
    Unauthenticated,
    /// The token is not valid, or the credentials are of a kind that this API does not accept. The
    /// response does not say which.
    #[error("This token is invalid or has expired. Log in for a new one.")]
    BadToken,
    #[error("Wrong user name, e-mail or password.")]
    WrongPassword,
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// Another site may have sent this form, or the visitor uses an address that is not `BASE_URL`.
    #[error(
        "The address of this site is {ours}, and this form was sent from another. Open {ours} and try again there."
    )]
    CrossSite { ours: String },
    #[error("There is nothing at this address.")]
    NotFound,
    /// The body is larger than the route accepts.
    #[error("That is too long. Shorten it and try again.")]
    TooLarge,
    #[error("This address accepts a plain web form (application/x-www-form-urlencoded, UTF-8).")]
    UnsupportedType,
    #[error("This address accepts a JSON document (application/json, UTF-8).")]
    NotJson,
    /// Fields that are not valid, each with its message. Pages show their own form again instead.
    #[error("Some fields are not valid.")]
    Fields(Vec<Field>),
    /// Fields whose value must be unique and already belongs to another member.
    #[error("Already taken.")]
    Taken(Vec<Field>),
    /// The request conflicts with the current state of what it changes.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// The request breaks a rule. The message is safe to show: it repeats only the client's own input.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// The rate limit of this client or member is used up. `wait` is the time until it allows one more
    /// request.
    #[error("You're doing that too fast. Try again in {}.", describe_wait(*.wait))]
    RateLimited { wait: Duration },
    /// The same for guesses at a password, or at who has an account.
    #[error("Too many attempts. Try again in {}.", describe_wait(*.wait))]
    TooManyAttempts { wait: Duration },
    /// More work is queued than the server can do soon.
    #[error("The site is very busy right now. Try again in a moment.")]
    Busy,
    /// The database is unreachable or too slow. The cause is logged and never shown.
    #[error("The site can't reach its database right now. Try again in a moment.")]
    Unavailable(#[source] Cause),
    /// A fault of the program. The cause is logged and never shown.
    #[error("Something went wrong on our side.")]
    Internal(#[source] Cause),
}

/// A field of a request, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Field {
    #[schema(example = "title")]
    pub field: &'static str,
    #[schema(example = "Give your post a title.")]
    pub message: String,
}

impl Field {
    pub fn new(field: &'static str, message: &impl ToString) -> Field {
        Field { field, message: message.to_string() }
    }
}

impl Error {
    pub fn internal(cause: impl Into<Cause>) -> Error {
        Error::Internal(cause.into())
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Error::BadRequest(_) => StatusCode::BAD_REQUEST,
            Error::Unauthenticated | Error::BadToken | Error::WrongPassword => {
                StatusCode::UNAUTHORIZED
            }
            Error::Forbidden(_) | Error::CrossSite { .. } => StatusCode::FORBIDDEN,
            Error::NotFound => StatusCode::NOT_FOUND,
            Error::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Error::UnsupportedType | Error::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::Invalid(_) | Error::Fields(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Taken(_) | Error::Conflict(_) => StatusCode::CONFLICT,
            Error::RateLimited { .. } | Error::TooManyAttempts { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Error::Busy | Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(err: sqlx::Error) -> Error {
        if matches!(err, sqlx::Error::PoolTimedOut) {
            metrics().connection_timed_out();
        }
        match &err {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::Unavailable(err.into()),
            sqlx::Error::Database(cause) => match cause.code().as_deref() {
                // U+0000 in a text that no type has checked: the client's fault, not ours.
                Some("22021") => {
                    Error::Invalid("The text has a character that cannot be stored.".into())
                }
                Some(code) if is_unavailable(code) => Error::Unavailable(err.into()),
                _ => Error::Internal(err.into()),
            },
            _ => Error::Internal(err.into()),
        }
    }
}

/// Whether an SQLSTATE code means that the database cannot serve now but will later (Postgres manual,
/// appendix A): connection failures, refused log-ins, a database not created yet, conflicts that
/// outlived their retries, insufficient resources, a full disk, timeouts, shutdown and recovery, a
/// standby, a schema not migrated yet.
fn is_unavailable(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "28" | "3D" | "40" | "53" | "57" | "58"))
        || matches!(code, "55P03" | "25006" | "42P01" | "42703" | "42883")
}

/// Logs the cause, sets the status and `Retry-After`, and puts the error into the extensions, where the
/// layer that renders the body finds it.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match &self {
            Error::Internal(cause) => tracing::error!(%cause, "request failed"),
            Error::Unavailable(cause) => tracing::warn!(%cause, "database unavailable"),
            _ => {}
        }
        let mut response = self.status().into_response();
        let wait = match &self {
            Error::RateLimited { wait } | Error::TooManyAttempts { wait } => {
                Some(whole_seconds(*wait))
            }
            Error::Busy | Error::Unavailable(_) => Some(2),
            _ => None,
        };
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Rounded up, so that a client that waits this long is not too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// `12 minutes`, rounded up.
fn describe_wait(wait: Duration) -> String {
    let (count, unit) = match whole_seconds(wait) {
        seconds if seconds < 60 => (seconds.max(1), "second"),
        seconds if seconds < 3600 => (seconds.div_ceil(60), "minute"),
        seconds => (seconds.div_ceil(3600), "hour"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A response extension: the text of this error response is all that its readers, such as a load balancer,
/// are to get.
#[derive(Clone)]
pub struct PlainText;

/// Whether this is an error response without a body for people or programs yet: one of ours, or one of
/// axum's or tower's.
pub fn is_bare_failure(response: &Response) -> bool {
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let is_rendered = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"text/html") || kind.starts_with(PROBLEM.as_bytes())
    });
    failed && !is_rendered && response.extensions().get::<PlainText>().is_none()
}

/// The sentence that describes an error response to the person or program that gets it.
pub fn describe(response: &Response) -> Cow<'static, str> {
    match response.extensions().get::<Arc<Error>>() {
        Some(error) => error.to_string().into(),
        None => match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => {
                "This address does not accept this kind of request.".into()
            }
            StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge.to_string().into(),
            StatusCode::REQUEST_TIMEOUT => "The request took too long to arrive.".into(),
            StatusCode::URI_TOO_LONG => "This address is too long.".into(),
            status => status.canonical_reason().unwrap_or("Something went wrong.").into(),
        },
    }
}
