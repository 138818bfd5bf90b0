//! Forms that are shown again because something went wrong, all in the same way: the problem of
//! each field under it, a notice above, and the fields as they were typed.
//!
//! What a handler finds wrong is a [`FormErrors`]. What fails around the handler (an ended session,
//! a timeout, no database) is caught by [`preserve_form_on_error`], and for a small form inside a
//! page, such as a vote button, by [`inline_error`].

use std::mem;

use askama::Template;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use tower::ServiceExt as _;

use crate::{
    identity::Viewer,
    web::{
        Error, Page,
        error::{Field, describe, is_bare_failure},
        error_page::Anchor,
        htmx::wants_fragment,
        middleware::{body::POST_BODY, headers::no_store_by_default},
        request_id::RequestId,
    },
};

/// A form without fields: a button that does something.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFields {}

/// What is wrong with a form, for the page that shows it again, and the status and headers of that
/// response. The default is a form with nothing wrong, and 200.
///
/// `N` is what the notice above the form is made of.
#[derive(Debug)]
pub struct FormErrors<N = String> {
    fields: Vec<Field>,
    pub notice: Option<N>,
    status: StatusCode,
    headers: HeaderMap,
}

impl<N> Default for FormErrors<N> {
    fn default() -> FormErrors<N> {
        FormErrors {
            fields: Vec::new(),
            notice: None,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
        }
    }
}

impl<N> FormErrors<N> {
    /// 422 with the problems of fields, in the order of the form.
    pub fn invalid(fields: Vec<Field>) -> FormErrors<N> {
        FormErrors { fields, status: StatusCode::UNPROCESSABLE_ENTITY, ..FormErrors::default() }
    }

    /// The form is valid, and `notice` says why it is shown again.
    pub fn with_notice(status: StatusCode, notice: N) -> FormErrors<N> {
        FormErrors { notice: Some(notice), status, ..FormErrors::default() }
    }

    /// The page with the form, under the status and headers of what went wrong.
    pub fn show<T: Template>(mut self, page: impl FnOnce(FormErrors<N>) -> T) -> Response {
        let (status, headers) = (self.status, mem::take(&mut self.headers));
        (status, headers, Page(page(self))).into_response()
    }
}

impl FormErrors {
    /// The form again where the error is about its fields or passes: an error of a field, a rate
    /// limit, an overload, an absent database. Returns all other errors as `Err`.
    pub fn from_error(error: Error) -> Result<FormErrors, Error> {
        match error {
            Error::Fields(fields) | Error::Taken(fields) => Ok(FormErrors::invalid(fields)),
            error => {
                let (notice, error) = retryable(error)?;
                let (head, _) = error.into_response().into_parts();
                let errors = FormErrors::with_notice(head.status, notice);
                Ok(FormErrors { headers: head.headers, ..errors })
            }
        }
    }
}

/// For templates.
impl<N> FormErrors<N> {
    /// What is wrong with a field.
    pub fn get(&self, field: &str) -> Option<&str> {
        let found = self.fields.iter().find(|found| found.field == field)?;
        Some(&found.message)
    }

    /// Whether it is the first field with a problem, which gets the focus.
    pub fn is_first(&self, field: &str) -> bool {
        self.fields.first().is_some_and(|first| first.field == field)
    }

    /// Whether any field has a problem.
    pub fn is_invalid(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Whether there is nothing wrong at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.notice.is_none()
    }
}

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
        Error::Unavailable(_) | Error::Busy | Error::RateLimited { .. } => {
            Ok((error.to_string(), error))
        }
        error => Err(error),
    }
}

/// Why a request failed although its form was fine.
#[derive(Debug, Clone)]
pub enum Failure {
    /// There is no session, or not any more.
    LoggedOut,
    /// The sentence to show: it came too often, the database is away or hangs, the site is busy or
    /// broken.
    Failed(String),
}

impl Failure {
    fn from_response(response: &Response, request: Option<&RequestId>) -> Option<Failure> {
        if !is_bare_failure(response) {
            return None;
        }
        match (response.status(), request) {
            (StatusCode::UNAUTHORIZED, _) => Some(Failure::LoggedOut),
            (StatusCode::INTERNAL_SERVER_ERROR, Some(id)) => {
                Some(Failure::Failed(format!("{} (Reference: {id}.)", describe(response))))
            }
            (
                StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::TOO_MANY_REQUESTS,
                _,
            ) => Some(Failure::Failed(describe(response).into_owned())),
            _ => None,
        }
    }
}

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

/// The page in place of the failure: with its status, its extensions, and its headers where the page
/// has none of its own.
fn with_failure(mut page: Response, failure: Response) -> Response {
    let (head, _) = failure.into_parts();
    *page.status_mut() = head.status;
    page.extensions_mut().extend(head.extensions);
    let own = page.headers().clone();
    for (name, value) in &head.headers {
        if !own.contains_key(name) {
            page.headers_mut().append(name, value.clone());
        }
    }
    page
}
