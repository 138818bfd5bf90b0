//! What the layers outside the router know of the route of a request. The manifest
//! (`routes::ROUTES`) says it.

use axum::{
    extract::Request,
    http::{Method, Uri},
};

use crate::metrics::RouteCounters;

/// The body limit of a form with a few short fields, in bytes.
pub const SMALL_BODY: usize = 8 * 1024;
/// The body limit of a post, in bytes: 40,000 characters of four bytes, each byte written as `%XX`, and
/// the other fields.
pub const POST_BODY: usize = 512 * 1024;

/// One method of a route.
#[derive(Debug, Clone)]
pub struct KnownRoute {
    pub method: Method,
    pub path: &'static str,
    pub traits: RouteTraits,
    /// Counts its responses from the page cache; `None` where its pages may not be in it.
    pub cached: Option<RouteCounters>,
}

/// What answering a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Nothing to speak of: it comes from memory, and is always admitted.
    Light,
    /// A few statements.
    Normal,
    /// It may take seconds without keeping the site busy, such as waiting for a turn to hash a password.
    Slow,
}

/// What the layers before the handler do differently for a route. An extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct RouteTraits {
    /// Whether a program asks, which gets errors as problem documents.
    pub is_api: bool,
    pub load: Load,
    /// The largest body, in bytes.
    pub body: usize,
    /// Whether its form is shown again with what was typed when the request fails.
    pub keeps_form: bool,
}

impl RouteTraits {
    /// Those of an address that no route has.
    pub const UNKNOWN: RouteTraits =
        RouteTraits { is_api: false, load: Load::Normal, body: SMALL_BODY, keeps_form: false };

    /// Those of this request's route.
    pub fn of(request: &Request) -> RouteTraits {
        request.extensions().get().copied().unwrap_or(RouteTraits::UNKNOWN)
    }
}

/// All routes, by their paths.
#[derive(Debug, Default)]
pub struct KnownRoutes(matchit::Router<Vec<KnownRoute>>);

impl KnownRoutes {
    /// # Errors
    ///
    /// Where two paths contradict each other.
    pub fn new(routes: Vec<KnownRoute>) -> Result<KnownRoutes, matchit::InsertError> {
        let mut by_path = std::collections::BTreeMap::<_, Vec<_>>::new();
        for route in routes {
            by_path.entry(route.path).or_default().push(route);
        }
        let mut paths = matchit::Router::new();
        for (path, routes) in by_path {
            paths.insert(path, routes)?;
        }
        Ok(KnownRoutes(paths))
    }

    /// The route that answers this method at this address. `GET` answers `HEAD`.
    pub fn find(&self, method: &Method, uri: &Uri) -> Option<&KnownRoute> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let found = self.0.at(uri.path()).ok()?;
        found.value.iter().find(|route| route.method == *method)
    }
}
