//! Only our cookies, with exactly our names, reach the session library.
//!
//! The cookie crate beneath it percent-decodes names and trims Unicode space, so `%5F_Host-sid` would
//! pass for `__Host-sid`: a cookie that a neighbouring host may set would replace one that it may not.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use tower_sessions::session::Id;

use crate::{config::Site, web::cookies::read};

/// Leaves of all cookies only ours, each at most once; a name that comes twice counts as absent.
/// A session's value that cannot be one is dropped as well.
pub async fn filter_cookies(
    State(site): State<Arc<Site>>,
    mut request: Request,
    next: Next,
) -> Response {
    let kept: Vec<String> = ["sid", "flash", "device", "wrote"]
        .iter()
        .filter_map(|name| {
            let name = site.cookie_name(name);
            let value = read(request.headers(), &name)?;
            let can_be = !name.ends_with("sid") || value.parse::<Id>().is_ok();
            can_be.then(|| format!("{name}={value}"))
        })
        .collect();
    let headers = request.headers_mut();
    headers.remove(header::COOKIE);
    if let Ok(cookies) = HeaderValue::from_str(&kept.join("; "))
        && !kept.is_empty()
    {
        headers.insert(header::COOKIE, cookies);
    }
    next.run(request).await
}
