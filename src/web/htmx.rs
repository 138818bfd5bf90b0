//! The request headers of htmx 4.

use axum::http::HeaderMap;

/// Whether htmx asks for a part of a page (`partial`). For a whole page it sends `full`.
pub fn wants_fragment(headers: &HeaderMap) -> bool {
    headers.get("hx-request-type").is_some_and(|kind| kind == "partial")
}
