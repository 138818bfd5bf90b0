//! Errors as programs read them: problem documents (RFC 9457).

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::error::{Error, Field, PROBLEM, describe, is_bare_failure};

/// What went wrong (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    /// The status as text.
    #[schema(example = "Unprocessable Entity")]
    title: &'static str,
    #[schema(example = 422, minimum = 400, maximum = 599)]
    status: u16,
    /// One sentence for a person.
    #[schema(example = "Some fields are not valid.")]
    detail: String,
    /// The fields that are not valid, if that is the problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Field>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: String) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error");
        Problem {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail,
            errors: Vec::new(),
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The outermost layer of the API: gives every error response without a body a problem document. Its
/// headers, such as `Allow` and `Retry-After`, stay.
pub async fn render_problem(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if !is_bare_failure(&response) {
        return response;
    }
    let status = response.status();
    let error = response.extensions().get::<Arc<Error>>().cloned();
    let errors = match error.as_deref() {
        Some(Error::Fields(fields) | Error::Taken(fields)) => fields.clone(),
        _ => Vec::new(),
    };
    let problem = Problem { errors, ..Problem::new(status, describe(&response).into_owned()) };
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        challenge(headers, error.as_deref());
    }
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = problem.to_json().into();
    response
}

/// Sets `WWW-Authenticate`, with `error` only if the request had a token (RFC 6750, 3).
fn challenge(headers: &mut HeaderMap, error: Option<&Error>) {
    let challenge = match error {
        Some(Error::BadToken) => "Bearer realm=\"social-post\", error=\"invalid_token\"",
        _ => "Bearer realm=\"social-post\"",
    };
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
}
