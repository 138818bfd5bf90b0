//! Errors as people read them: a page, or a message for htmx.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
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

/// A response extension: the fragment (`#post-1`) of the place on the page to return to.
#[derive(Clone)]
pub struct Anchor(pub String);

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    context: PageContext,
    heading: &'a str,
    message: &'a str,
    /// The request's id for a fault of the program, so that the operator finds the cause in the log.
    reference: Option<String>,
    offers_log_in: bool,
    /// Where the log-in form leads to.
    next: String,
}

#[derive(Template)]
#[template(path = "_error.html")]
struct ErrorPart<'a> {
    message: &'a str,
}

/// The outermost layer of the pages: gives every error response without a body its page.
///
/// With htmx the message goes to the page's message area and the page stays as it is. A visitor who has
/// to log in first is sent to the log-in page.
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
        retarget(headers);
        return with_html(response, fragment(&message));
    }
    if status == StatusCode::UNAUTHORIZED && only_reads {
        let (head, _) = page::see_other(&page::login_url(&context.current_path)).into_parts();
        *response.status_mut() = head.status;
        response.headers_mut().extend(head.headers);
        return response;
    }
    let page = ErrorPage {
        context,
        heading: heading(&response, only_reads),
        message: &message,
        reference: (status == StatusCode::INTERNAL_SERVER_ERROR)
            .then(|| reference.map(|id| id.to_string()))
            .flatten(),
        offers_log_in: status == StatusCode::UNAUTHORIZED,
        next: referring_page,
    };
    with_html(response, page.render())
}

/// The message of an error, for htmx.
pub fn fragment(message: &str) -> askama::Result<String> {
    ErrorPart { message }.render()
}

/// Makes htmx show the response in the page's message area and leave the page as it is.
pub fn retarget(headers: &mut HeaderMap) {
    headers.insert("hx-retarget", HeaderValue::from_static("#flash"));
    headers.insert("hx-reswap", HeaderValue::from_static("innerHTML"));
}

/// The fallback for paths that no route has.
pub async fn no_such_page() -> Error {
    Error::NotFound
}

/// The fallback for methods that a path does not have. axum adds the `Allow` header.
pub async fn no_such_method() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

/// A 500 for a handler that panicked. The other requests go on.
#[expect(clippy::needless_pass_by_value, reason = "tower asks for this shape")]
pub fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    let message = cause.downcast_ref::<String>().map(String::as_str);
    let message = message.or(cause.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Error::internal(format!("panic: {message}")).into_response()
}

fn heading(response: &Response, only_reads: bool) -> &'static str {
    let error = response.extensions().get::<Arc<Error>>();
    if error.is_some_and(|error| matches!(**error, Error::CrossSite { .. })) {
        return "This form came from another address.";
    }
    match response.status() {
        StatusCode::BAD_REQUEST if only_reads => "We couldn't understand that address.",
        StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            "The form couldn't be read."
        }
        StatusCode::REQUEST_TIMEOUT => "That took too long.",
        StatusCode::NOT_FOUND | StatusCode::URI_TOO_LONG => "Page not found.",
        StatusCode::UNAUTHORIZED => "Log in to continue.",
        StatusCode::FORBIDDEN => "You can't do that.",
        StatusCode::METHOD_NOT_ALLOWED => "That page can't be opened directly.",
        StatusCode::PAYLOAD_TOO_LARGE => "Too long.",
        StatusCode::UNPROCESSABLE_ENTITY => "Some fields need fixing.",
        StatusCode::TOO_MANY_REQUESTS => "Slow down.",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "Back in a moment.",
        _ => "Something went wrong on our side.",
    }
}

/// The response with this page as its body. Its other headers, such as `Allow` and `Retry-After`, still
/// apply and stay.
pub fn with_html(mut response: Response, html: askama::Result<String>) -> Response {
    let html = html.unwrap_or_else(|err| {
        tracing::error!(%err, "cannot render the error page");
        "Something went wrong.".to_owned()
    });
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    *response.body_mut() = html.into();
    response
}
