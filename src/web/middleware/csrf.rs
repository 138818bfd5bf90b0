//! Keeps other sites from acting in a visitor's name, by what the browser says of where a request
//! comes from. No token, so no page has to carry one and every page can be shared.
//!
//! Rules: OWASP's CSRF cheat sheet and Go 1.25's `CrossOriginProtection`, but for one: a request
//! without either header is let in only while it carries no session.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    config::Site,
    web::{Error, cookies},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub async fn same_origin_only(
    State(site): State<Arc<Site>>,
    request: Request,
    next: Next,
) -> Response {
    let changes_nothing =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    if changes_nothing || is_own(request.headers(), &site) {
        return next.run(request).await;
    }
    let base_url = site.base_url.origin();
    // Not the path, which may hold a secret; the line that says "answered" has the route.
    tracing::warn!(
        base_url,
        origin = ?request.headers().get(header::ORIGIN),
        host = ?request.headers().get(header::HOST),
        sec_fetch_site = ?request.headers().get(SEC_FETCH_SITE),
        "refused a form: its origin is not BASE_URL"
    );
    Error::CrossSite { ours: base_url.to_owned() }.into_response()
}

fn is_own(headers: &HeaderMap, site: &Site) -> bool {
    let origin = one(headers, &header::ORIGIN);
    let is_ours = |origin: &[u8]| origin == site.base_url.origin().as_bytes();
    match (one(headers, &SEC_FETCH_SITE), origin) {
        // "none" is a person's own doing, such as a reload; no browser says it of a form elsewhere.
        (One::Value(b"same-origin"), _) | (One::Value(b"none"), One::Absent) => true,
        (One::Value(b"none") | One::Absent, One::Value(origin)) => is_ours(origin),
        (One::Absent, One::Absent) => cookies::read(headers, &site.cookie_name("sid")).is_none(),
        _ => false,
    }
}

enum One<'a> {
    Absent,
    Value(&'a [u8]),
    Several,
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> One<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => One::Absent,
        (Some(value), None) => One::Value(value.as_bytes()),
        (Some(_), Some(_)) => One::Several,
    }
}
