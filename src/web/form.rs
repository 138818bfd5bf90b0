//! Forms that are shown again because something went wrong, all in the same way: the problem of
//! each field under it, a notice above, and the fields as they were typed.
//!
//! What a handler finds wrong is a [`FormErrors`]. What fails around the handler (an ended session,
//! a timeout, no database) is a [`Failure`], which `middleware::failed_form` catches.

use std::mem;

use askama::Template;
use axum::{
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use crate::web::{
    Error, Page,
    error::{Field, describe, is_bare_failure},
    request_id::RequestId,
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

    /// A page under another status, which says itself what is wrong.
    pub fn with_status(status: StatusCode) -> FormErrors<N> {
        FormErrors { status, ..FormErrors::default() }
    }

    /// 422 with the problem of one field.
    pub fn field(field: &'static str, problem: &impl ToString) -> FormErrors<N> {
        FormErrors::invalid(vec![Field::new(field, problem)])
    }

    /// The form is valid, and `notice` says why it is shown again.
    pub fn with_notice(status: StatusCode, notice: N) -> FormErrors<N> {
        FormErrors { notice: Some(notice), ..FormErrors::with_status(status) }
    }

    /// The page with the form, under the status and headers of what went wrong.
    pub fn show<T: Template>(mut self, page: impl FnOnce(FormErrors<N>) -> T) -> Response {
        let (status, headers) = (self.status, mem::take(&mut self.headers));
        (status, headers, Page(page(self))).into_response()
    }
}

impl FormErrors {
    /// The form again where the error is about its fields, or where it can be sent again unchanged: a
    /// rate limit, an overload, an absent database. Returns all other errors as `Err`.
    pub fn from_error(error: Error) -> Result<FormErrors, Error> {
        match error {
            Error::Fields(fields) | Error::Taken(fields) => Ok(FormErrors::invalid(fields)),
            Error::Unavailable(_)
            | Error::Busy
            | Error::RateLimited { .. }
            | Error::TooManyAttempts { .. } => {
                let notice = error.to_string();
                let (head, _) = error.into_response().into_parts();
                let errors = FormErrors::with_notice(head.status, notice);
                Ok(FormErrors { headers: head.headers, ..errors })
            }
            error => Err(error),
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

/// Why a request failed although its form was fine.
#[derive(Debug, Clone)]
pub enum Failure {
    /// There is no session, or not any more.
    LoggedOut,
    /// The sentence to show: a rate limit, a database that is away or hangs, a site that is busy or
    /// broken.
    Failed(String),
}

impl Failure {
    /// `None` where the response is no such failure, or has a page already.
    pub fn from_response(response: &Response, request: Option<&RequestId>) -> Option<Failure> {
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

/// The page in place of the failure: with its status, its extensions, and its headers where the page
/// has none of its own.
pub fn with_failure(mut page: Response, failure: Response) -> Response {
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
