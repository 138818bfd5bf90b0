//! CSRF protection: refuses requests that another site made a browser send, by the origin that the
//! browser states. It needs no token in the pages, so every page can be cached and shared.
//!
//! The rules are those of OWASP's CSRF cheat sheet and of Go 1.25's `CrossOriginProtection`, with one
//! difference: a request with neither header is allowed only without a session.
//!
//! Where there is no session to protect, a page of another site could still make its visitors' browsers
//! use up the rate limits of their networks. So the API refuses such requests too, and so do pages that
//! cost a rate limit, unless a person follows a link to them.

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
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

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

/// Middleware of the API's routes that need no token: refuses a request that a page of another site makes a browser send, unless
/// its origin is listed in `CORS_ALLOWED_ORIGINS`. A request with a token is its owner's own: no page
/// can send one without being allowed to by CORS.
pub async fn refuse_foreign_pages(
    State((site, listed)): State<(Arc<Site>, Arc<[HeaderValue]>)>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let is_foreign = match one(headers, &header::ORIGIN) {
        One::Value(origin)
            if origin == site.base_url.origin().as_bytes()
                || listed.iter().any(|listed| listed.as_bytes() == origin) =>
        {
            false
        }
        _ if request.method().is_safe() => is_embedded(headers),
        One::Absent => is_of_another_site(headers),
        One::Value(_) | One::Several => true,
    };
    if is_foreign && !headers.contains_key(header::AUTHORIZATION) {
        return Error::Forbidden(
            "Pages of other sites may not call this API. CORS_ALLOWED_ORIGINS lists those that may."
                .into(),
        )
        .into_response();
    }
    next.run(request).await
}

/// Middleware: refuses a page or stream that a page of another site embeds, fetches or prefetches.
/// Following a link is allowed.
pub async fn refuse_embedding(request: Request, next: Next) -> Response {
    if is_embedded(request.headers()) {
        return Error::Forbidden(
            "Another site tried to load this page within its own. Open it in a tab of its own."
                .into(),
        )
        .into_response();
    }
    next.run(request).await
}

/// Whether the browser says that another site's page made it send the request, and that no person
/// followed a link.
fn is_embedded(headers: &HeaderMap) -> bool {
    let is_part = !matches!(one(headers, &SEC_FETCH_DEST), One::Absent | One::Value(b"document"));
    is_of_another_site(headers) && (is_part || headers.contains_key(SEC_PURPOSE))
}

/// Whether the browser says that the request comes from a page of another site. "same-site" is another
/// host of the same domain.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    matches!(one(headers, &SEC_FETCH_SITE), One::Value(b"cross-site" | b"same-site") | One::Several)
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
