//! The manifest of routes, as sets of a path and a method; HEAD goes with GET.

use std::collections::BTreeSet;

use social_post::routes::{API, ROUTES, Route};

pub type Routes = BTreeSet<(String, String)>;

pub fn pages() -> Routes {
    ROUTES.iter().filter(|route| !route.is_api()).map(|route| pair(route, "")).collect()
}

/// Without the `/api/v1` before them.
pub fn api() -> Routes {
    ROUTES.iter().filter(|route| route.is_api()).map(|route| pair(route, API)).collect()
}

fn pair(route: &Route, prefix: &str) -> (String, String) {
    let path = route.path.strip_prefix(prefix).unwrap_or(route.path);
    (path.to_owned(), route.method.as_str().to_owned())
}
