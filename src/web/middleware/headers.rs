//! Headers of every response, errors included: security and caching.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use crate::web::cache::CachePolicy;
use crate::{config::Site, identity::Viewer};

/// No page has an inline script or style, so neither a nonce nor a hash is needed.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'; object-src 'none'; manifest-src 'self'";

const FIXED: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// Sets the security headers.
pub async fn security(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    set_security_headers(response.headers_mut(), &site);
    response
}

pub fn set_security_headers(headers: &mut HeaderMap, site: &Site) {
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if site.base_url.is_secure() {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000; includeSubDomains"),
        );
    }
}

/// Writes `Cache-Control` from the handler's [`CachePolicy`]. A success without a policy is not stored;
/// an error is revalidated.
///
/// A page depends on the session and on whether htmx asks for a fragment, so caches must keep these
/// apart.
pub async fn cache_control(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let is_personal = response.extensions().get::<Viewer>().is_some();
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    let may_be_stored = is_error || response.extensions().get::<CachePolicy>().is_some();
    let value = match (may_be_stored, is_personal) {
        (false, _) => "no-store",
        (true, true) => "private, no-cache",
        (true, false) => "no-cache",
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Cookie, HX-Request-Type"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(value));
    response
}

/// `no-store` for a response that does not say otherwise.
pub async fn no_store_by_default(mut response: Response) -> Response {
    let value = HeaderValue::from_static("no-store");
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(value);
    response
}

/// Whether the client accepts the content coding `coding` (RFC 9110, 12.5.3). The wildcard `*` counts as
/// no: a client that wants a coding names it.
pub fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    items(headers, &header::ACCEPT_ENCODING).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
        is_named && parts.all(is_positive_weight)
    })
}

/// Whether a parameter is a weight above zero: `q=`, and 0 to 1 with three decimal places at most (RFC
/// 9110, 12.4.2). A weight that is not valid counts as zero, because a response that is not compressed is
/// never wrong. Spaces around `=` are not valid, but clear.
fn is_positive_weight(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else { return false };
    let (whole, decimals) = weight.trim().split_once('.').unwrap_or((weight.trim(), ""));
    let is_zero = decimals.bytes().all(|digit| digit == b'0');
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let is_positive = match whole {
        "0" => !is_zero,
        "1" => is_zero,
        _ => false,
    };
    name.trim().eq_ignore_ascii_case("q") && is_number && is_positive
}

/// The items of a header that is a comma-separated list.
pub fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
