//! What can go wrong, once, for every face.
//!
//! Handlers return [`Error`] and do not care who is asking: [`as_page`], the last layer, turns it
//! into a page for people or a message for htmx.

use std::{borrow::Cow, sync::Arc, time::Duration};

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    htmx::wants_fragment,
    page::{self, Shell},
    request_log::RequestId,
};
use crate::{config::Site, metrics::metrics, users::Viewer};

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
    LogInFirst,
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
    TooOften { wait: Duration },
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
            Error::LogInFirst | Error::BadToken | Error::WrongPassword => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) | Error::CrossSite { .. } => StatusCode::FORBIDDEN,
            Error::NotFound => StatusCode::NOT_FOUND,
            Error::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Error::UnsupportedType | Error::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::Invalid(_) | Error::Fields(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Taken(_) | Error::Conflict(_) => StatusCode::CONFLICT,
            Error::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Busy | Error::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(err: sqlx::Error) -> Error {
        if matches!(err, sqlx::Error::PoolTimedOut) {
            metrics().no_connection_in_time();
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
                Some(code) if means_away(code) => Error::Unavailable(err.into()),
                _ => Error::Internal(err.into()),
            },
            _ => Error::Internal(err.into()),
        }
    }
}

/// SQLSTATE codes of a database that cannot serve now but will (Postgres' manual, appendix A):
/// connection failures, refused log-ins, a database not made yet, conflicts that outlived their
/// retries, no resources, full disk, time-outs, shutdown and recovery, a standby, a schema that is not migrated yet.
fn means_away(code: &str) -> bool {
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
            Error::TooOften { wait } => Some(whole_seconds(*wait)),
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

/// Carried by a response: where on the page the visitor was, for the way back.
#[derive(Clone)]
pub struct Anchor(pub String);

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    shell: Shell,
    heading: &'a str,
    message: &'a str,
    /// Given with our own faults, so that the operator can find the cause in the log.
    reference: Option<String>,
    offers_log_in: bool,
    /// Where the log-in form leads.
    next: String,
}

#[derive(Template)]
#[template(path = "_error.html")]
struct ErrorPart<'a> {
    message: &'a str,
}

/// The last layer of the pages: every bare failure becomes something a person can read.
///
/// With htmx the message goes to the page's message area and the page stays as it is; who must log
/// in first is led to the log-in page.
pub async fn as_page(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let is_fragment = wants_fragment(request.headers());
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut came_from = page::came_from(request.headers(), &site).unwrap_or_else(|| "/".to_owned());
    let mut shell = Shell::bare(&site, request.uri());
    let reference = request.extensions().get::<RequestId>().cloned();

    let mut response = next.run(request).await;
    if !is_bare_failure(&response) {
        return response;
    }
    shell.viewer = response.extensions().get::<Viewer>().cloned();
    if let Some(Anchor(anchor)) = response.extensions().get() {
        came_from.push_str(anchor);
    }
    let status = response.status();
    let message = describe(&response);
    if is_fragment {
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED
            && let Ok(login) = HeaderValue::from_str(&page::login_url(&came_from))
        {
            headers.insert("hx-redirect", login);
        }
        headers.insert("hx-retarget", HeaderValue::from_static("#flash"));
        headers.insert("hx-reswap", HeaderValue::from_static("innerHTML"));
        return with_html(response, ErrorPart { message: &message }.render());
    }
    if status == StatusCode::UNAUTHORIZED && only_reads {
        let (head, _) = page::see_other(&page::login_url(&shell.here)).into_parts();
        *response.status_mut() = head.status;
        response.headers_mut().extend(head.headers);
        return response;
    }
    let page = ErrorPage {
        shell,
        heading: heading(&response),
        message: &message,
        reference: (status == StatusCode::INTERNAL_SERVER_ERROR)
            .then(|| reference.map(|id| id.to_string()))
            .flatten(),
        offers_log_in: status == StatusCode::UNAUTHORIZED,
        next: came_from,
    };
    with_html(response, page.render())
}

pub async fn no_such_page() -> Error {
    Error::NotFound
}

/// axum adds the `Allow` header.
pub async fn no_such_method() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

/// A handler panicked: one 500, and the site lives on.
#[expect(clippy::needless_pass_by_value, reason = "tower asks for this shape")]
pub fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    let words = cause.downcast_ref::<String>().map(String::as_str);
    let words = words.or(cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Error::internal(format!("panic: {words}")).into_response()
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

fn heading(response: &Response) -> &'static str {
    let error = response.extensions().get::<Arc<Error>>();
    if error.is_some_and(|error| matches!(**error, Error::CrossSite { .. })) {
        return "Not from this address.";
    }
    match response.status() {
        StatusCode::BAD_REQUEST => "This request makes no sense.",
        StatusCode::REQUEST_TIMEOUT => "That took too long.",
        StatusCode::NOT_FOUND | StatusCode::URI_TOO_LONG => "This page is not here.",
        StatusCode::UNAUTHORIZED => "Log in to go on.",
        StatusCode::FORBIDDEN => "This is not yours to do.",
        StatusCode::METHOD_NOT_ALLOWED => "That is not how this works.",
        StatusCode::PAYLOAD_TOO_LARGE => "That is too much.",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "That is not a form of this site.",
        StatusCode::UNPROCESSABLE_ENTITY => "That does not fit.",
        StatusCode::TOO_MANY_REQUESTS => "Too many tries.",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "Back in a moment.",
        _ => "Something went wrong on our side.",
    }
}

/// A failure with a body of its own. Keeps the other headers: `Allow`, `Retry-After` and the like still
/// mean what they meant.
pub fn with_html(mut response: Response, html: askama::Result<String>) -> Response {
    let html = html.unwrap_or_else(|err| {
        tracing::error!(%err, "the error page itself failed");
        "Something went wrong.".to_owned()
    });
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    *response.body_mut() = html.into();
    response
}
