//! What htmx 4 says of a request.

use axum::http::HeaderMap;

/// Whether it asks for a part of a page; it says `full` where it wants the whole one.
pub fn wants_fragment(headers: &HeaderMap) -> bool {
    headers.get("hx-request-type").is_some_and(|kind| kind == "partial")
}
