//! What the layers outside the router know of the route of a request. The manifest
//! (`routes::ROUTES`) says it.

use axum::{
    extract::Request,
    http::{Method, Uri},
};

use crate::{
    metrics::RouteCounters,
    web::middleware::{admission::Load, body::SMALL_BODY},
};

/// One method of a route.
#[derive(Debug, Clone)]
pub struct KnownRoute {
    pub method: Method,
    pub path: &'static str,
    pub limits: RouteLimits,
    /// Counts its responses from the page cache; `None` where its pages may not be in it.
    pub cached: Option<RouteCounters>,
}

/// What a request of the route may take. An extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct RouteLimits {
    pub load: Load,
    /// The largest body, in bytes.
    pub body: usize,
    /// Whether its form is shown again with what was typed when the request fails.
    pub keeps_form: bool,
}

impl RouteLimits {
    /// The limits of an address that no route has.
    pub const UNKNOWN: RouteLimits =
        RouteLimits { load: Load::Normal, body: SMALL_BODY, keeps_form: false };

    /// The limits of this request's route.
    pub fn of(request: &Request) -> RouteLimits {
        request.extensions().get().copied().unwrap_or(RouteLimits::UNKNOWN)
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
        let mut router = matchit::Router::new();
        for (path, routes) in by_path {
            router.insert(path, routes)?;
        }
        Ok(KnownRoutes(router))
    }

    /// The route that answers this method at this address. `GET` answers `HEAD`.
    pub fn find(&self, method: &Method, uri: &Uri) -> Option<&KnownRoute> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let found = self.0.at(uri.path()).ok()?;
        found.value.iter().find(|route| route.method == *method)
    }
}
