//! What can go wrong, once, for every face.
//!
//! Handlers return [`Error`] and do not care who is asking: [`as_page`], the last layer, turns it
//! into a page for people or a message for htmx.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::metrics::metrics;

/// What programs read of a failure (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is broken: bytes that are not UTF-8, a damaged cursor, a doubled field.
    #[error("{0}")]
    BadRequest(Cow<'static, str>),
    #[error("Log in first.")]
    Unauthenticated,
    /// A token that does not count, or credentials of a kind that is none here; nobody learns why.
    #[error("This token is not good, or not any more. Log in for a new one.")]
    BadToken,
    /// A name and a password that do not fit each other.
    #[error("That name and password do not match.")]
    WrongPassword,
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// Another site may have sent this, or the visitor is on an address that is not `BASE_URL`.
    #[error(
        "The address of this site is {ours}, and this form came from another. Open {ours} and try again there."
    )]
    CrossSite { ours: String },
    #[error("There is nothing at this address.")]
    NotFound,
    #[error("That is more than this page takes.")]
    TooLarge,
    #[error("This address takes a plain web form (application/x-www-form-urlencoded, UTF-8).")]
    UnsupportedType,
    #[error("This address takes a JSON document (application/json, UTF-8).")]
    NotJson,
    /// Fields that break rules, each with what is wrong with it. Pages show their own form instead.
    #[error("Some fields do not hold.")]
    Fields(Vec<Field>),
    /// The same, where what they ask for belongs to somebody already.
    #[error("Somebody has that already.")]
    Taken(Vec<Field>),
    /// What is asked for does not go together with how things stand.
    #[error("{0}")]
    Conflict(Cow<'static, str>),
    /// What the caller sent breaks a rule. Safe to show: it only repeats their own input.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// The budget of this client or person is used up for now.
    #[error("That was too often. Try again in {}.", in_words(*.wait))]
    RateLimited { wait: Duration },
    /// More work is waiting than the server can do soon.
    #[error("The site is very busy just now. Try again in a moment.")]
    Busy,
    /// The database is away or too slow. The cause is logged and never shown.
    #[error("The site cannot reach its database just now. Try again in a moment.")]
    Unavailable(#[source] Cause),
    /// Our fault. The cause is logged and never shown.
    #[error("Something went wrong on our side.")]
    Internal(#[source] Cause),
}

/// A field of a request and what is wrong with it.
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
            Error::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
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
                // Text with U+0000 that no type of ours has caught: the caller's, not ours.
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

/// SQLSTATE codes of a database that cannot serve now but will (Postgres' manual, appendix A):
/// connection failures, refused log-ins, a database not made yet, conflicts that outlived their
/// retries, no resources, full disk, time-outs, shutdown and recovery, a standby, a schema that is not migrated yet.
fn is_unavailable(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "28" | "3D" | "40" | "53" | "57" | "58"))
        || matches!(code, "55P03" | "25006" | "42P01" | "42703" | "42883")
}

/// Sets the status and carries the error along; [`as_page`] writes the body.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match &self {
            Error::Internal(cause) => tracing::error!(%cause, "request failed"),
            Error::Unavailable(cause) => tracing::warn!(%cause, "database unavailable"),
            _ => {}
        }
        let mut response = self.status().into_response();
        let wait = match &self {
            Error::RateLimited { wait } => Some(whole_seconds(*wait)),
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

/// Rounded up: who comes back then is not too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn in_words(wait: Duration) -> String {
    let (count, unit) = match whole_seconds(wait) {
        seconds if seconds < 60 => (seconds.max(1), "second"),
        seconds if seconds < 3600 => (seconds.div_ceil(60), "minute"),
        seconds => (seconds.div_ceil(3600), "hour"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A failure nobody has written a page for yet: one of ours, or one of axum's or tower's.
pub fn is_bare_failure(response: &Response) -> bool {
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let is_told = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"text/html") || kind.starts_with(PROBLEM.as_bytes())
    });
    failed && !is_told
}

/// The sentence for a failure, in words for the person who meets it.
pub fn describe(response: &Response) -> Cow<'static, str> {
    match response.extensions().get::<Arc<Error>>() {
        Some(error) => error.to_string().into(),
        None => match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => "This address cannot be used that way.".into(),
            StatusCode::PAYLOAD_TOO_LARGE => Error::TooLarge.to_string().into(),
            StatusCode::REQUEST_TIMEOUT => "The form took too long to arrive.".into(),
            StatusCode::URI_TOO_LONG => "This address is longer than any of this site.".into(),
            status => status.canonical_reason().unwrap_or("Something went wrong.").into(),
        },
    }
}
