//! One address for each page: trailing slashes redirect.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Redirect, Response},
};

use crate::web::page::is_local_path;

/// `/new/` leads to `/new`, a form to the same with all that is in it.
pub async fn without_trailing_slash(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let shorter = path.trim_end_matches('/');
    // A program may lose its method, body or token in a redirect.
    if shorter.len() == path.len() || shorter.is_empty() || path.starts_with("/api/") {
        return next.run(request).await;
    }
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let shorter = format!("/{}{query}", shorter.trim_start_matches('/'));
    // A browser takes `/\elsewhere` for another site.
    if !is_local_path(&shorter) {
        return next.run(request).await;
    }
    Redirect::permanent(&shorter).into_response()
}
