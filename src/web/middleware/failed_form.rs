//! Shows a form again when its request fails for a reason that is not in the form.

use askama::Template;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tower::ServiceExt as _;

use crate::{
    identity::Viewer,
    web::{
        Error, Page,
        error::{describe, is_bare_failure},
        error_page::Anchor,
        form::{Failure, with_failure},
        htmx::wants_fragment,
        middleware::{headers::no_store_by_default, known_routes::POST_BODY},
        request_id::RequestId,
    },
};

/// Shows a form again, with everything that was typed, when its request fails for a reason that is
/// not in the form.
///
/// `pages` has the route of each such form, with a handler that makes the page out of the same
/// request and the [`Failure`] in its extensions. The middleware is outside of everything that can
/// fail like this: the session, the timeout and the limit on concurrent requests.
pub async fn preserve_form_on_error(
    State(pages): State<Router>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST || wants_fragment(request.headers()) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, POST_BODY).await else {
        return Error::TooLarge.into_response();
    };
    // Without the extensions: the pages' routes have parameters of their own.
    let mut again = Request::new(Body::from(bytes.clone()));
    *again.method_mut() = head.method.clone();
    *again.uri_mut() = head.uri.clone();
    *again.headers_mut() = head.headers.clone();
    let id = head.extensions.get::<RequestId>().cloned();

    let response = next.run(Request::from_parts(head, Body::from(bytes))).await;

    let Some(failure) = Failure::from_response(&response, id.as_ref()) else { return response };
    // A viewer who has to log in may have been deleted in this moment.
    if !matches!(failure, Failure::LoggedOut)
        && let Some(viewer) = response.extensions().get::<Viewer>()
    {
        again.extensions_mut().insert(viewer.clone());
    }
    again.extensions_mut().insert(failure);
    match pages.oneshot(again).await {
        Ok(page) if page.status().is_success() => {
            with_failure(no_store_by_default(page).await, response)
        }
        _ => response,
    }
}

/// A small form inside a page.
pub struct InlineForm {
    /// The `id` of its element.
    pub id: String,
    /// Where on the page it is, as `#…`.
    pub anchor: String,
    /// What to say where it could not do its work.
    pub failed: &'static str,
}

/// With htmx, shows beside the form that it could not do its work, and leaves it as it is. A visitor
/// who has to log in first returns to the form's place on the page.
pub async fn inline_error(form: InlineForm, request: Request, next: Next) -> Response {
    let is_fragment = wants_fragment(request.headers());
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        response.extensions_mut().insert(Anchor(form.anchor));
        return response;
    }
    if !is_fragment || !is_bare_failure(&response) {
        return response;
    }
    let target = HeaderValue::try_from(format!("#{}", form.id)).ok();
    let Some(target) = target.filter(|target| target.to_str().is_ok()) else { return response };
    let message = match response.status() {
        StatusCode::TOO_MANY_REQUESTS => describe(&response),
        _ => form.failed.into(),
    };
    let mut part = Page(InlineError { message: &message }).into_response();
    part.headers_mut().insert("hx-retarget", target);
    part.headers_mut().insert("hx-reswap", HeaderValue::from_static("beforeend"));
    with_failure(part, response)
}

#[derive(Template)]
#[template(path = "_inline_error.html")]
struct InlineError<'a> {
    message: &'a str,
}
