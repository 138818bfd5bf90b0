//! CSRF protection: refuses requests that another site made a browser send, by the origin that the
//! browser states. It needs no token in the pages, so every page can be cached and shared.
//!
//! The rules are those of OWASP's CSRF cheat sheet and of Go 1.25's `CrossOriginProtection`, with one
//! difference: a request with neither header is allowed only without a session.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    config::Site,
    text,
    web::{Error, cookies},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub async fn same_origin_only(
    State(site): State<Arc<Site>>,
    request: Request,
    next: Next,
) -> Response {
    if request.method().is_safe() || is_same_origin(request.headers(), &site) {
        return next.run(request).await;
    }
    let base_url = site.base_url.origin();
    // Not the path, which may contain a secret; the line "request completed" has the route.
    tracing::warn!(
        base_url,
        origin = for_log(request.headers().get(header::ORIGIN)),
        host = for_log(request.headers().get(header::HOST)),
        sec_fetch_site = for_log(request.headers().get(SEC_FETCH_SITE)),
        "refused a form: its origin is not BASE_URL"
    );
    Error::CrossSite { ours: base_url.to_owned() }.into_response()
}

/// What a client sent as a header, so that an operator sees which address it used.
fn for_log(value: Option<&HeaderValue>) -> Option<String> {
    value.map(|value| text::for_log(value.as_bytes()))
}

/// Whether the browser says that the request comes from a page of this site.
fn is_same_origin(headers: &HeaderMap, site: &Site) -> bool {
    let origin = one(headers, &header::ORIGIN);
    let is_ours = |origin: &[u8]| origin == site.base_url.origin().as_bytes();
    match (one(headers, &SEC_FETCH_SITE), origin) {
        // "none" is a user's own action, such as a reload; no browser sends it for another site's form.
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
