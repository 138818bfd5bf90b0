//! Failures as people read them: a page, or a message for htmx.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    config::Site,
    identity::Viewer,
    web::{
        error::{Error, describe, is_bare_failure},
        htmx::wants_fragment,
        page::{self, PageContext},
        request_id::RequestId,
    },
};

/// Carried by a response: where on the page the visitor was, for the way back.
#[derive(Clone)]
pub struct Anchor(pub String);

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    context: PageContext,
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
pub async fn render_error_page(
    State(site): State<Arc<Site>>,
    request: Request,
    next: Next,
) -> Response {
    let is_fragment = wants_fragment(request.headers());
    let only_reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut referring_page =
        page::referring_page(request.headers(), &site).unwrap_or_else(|| "/".to_owned());
    let mut context = PageContext::bare(&site, request.uri());
    let reference = request.extensions().get::<RequestId>().cloned();

    let mut response = next.run(request).await;
    if !is_bare_failure(&response) {
        return response;
    }
    context.viewer = response.extensions().get::<Viewer>().cloned();
    if let Some(Anchor(anchor)) = response.extensions().get() {
        referring_page.push_str(anchor);
    }
    let status = response.status();
    let message = describe(&response);
    if is_fragment {
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED
            && let Ok(login) = HeaderValue::from_str(&page::login_url(&referring_page))
        {
            headers.insert("hx-redirect", login);
        }
        headers.insert("hx-retarget", HeaderValue::from_static("#flash"));
        headers.insert("hx-reswap", HeaderValue::from_static("innerHTML"));
        return with_html(response, ErrorPart { message: &message }.render());
    }
    if status == StatusCode::UNAUTHORIZED && only_reads {
        let (head, _) = page::see_other(&page::login_url(&context.current_path)).into_parts();
        *response.status_mut() = head.status;
        response.headers_mut().extend(head.headers);
        return response;
    }
    let page = ErrorPage {
        context,
        heading: heading(&response),
        message: &message,
        reference: (status == StatusCode::INTERNAL_SERVER_ERROR)
            .then(|| reference.map(|id| id.to_string()))
            .flatten(),
        offers_log_in: status == StatusCode::UNAUTHORIZED,
        next: referring_page,
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
