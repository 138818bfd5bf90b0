//! What `src/routes/mod.rs` says, read as the text it is.

use std::collections::BTreeSet;

/// Paths as they are spelled there, each with a method it answers; HEAD goes with GET.
pub type Routes = BTreeSet<(String, String)>;

pub fn pages() -> Routes {
    // Before it stand those of another address, for whoever watches the site.
    listed(halves().0.split_once("\npub fn router(").expect("the pages' routes").1)
}

/// Without the `/api/v1` before them.
pub fn api() -> Routes {
    listed(halves().1)
}

fn halves() -> (&'static str, &'static str) {
    include_str!("../../../src/routes/mod.rs").split_once("\nfn api(").expect("the API's routes")
}

fn listed(text: &str) -> Routes {
    let mut routes = Routes::new();
    for route in text.split(".route(").skip(1) {
        let (_, rest) = route.split_once('"').unwrap();
        let (path, rest) = rest.split_once('"').unwrap();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if rest.contains(&format!("{}(", method.to_lowercase())) {
                routes.insert((path.to_owned(), method.to_owned()));
            }
        }
    }
    routes
}
