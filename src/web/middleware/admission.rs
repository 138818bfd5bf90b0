//! Admission control: how many requests may work at once, how long others may wait for a place, and a
//! ready-made refusal for the rest.
//!
//! Beyond its capacity a server that takes in everything serves nobody in time: the work is spread over
//! more requests than can finish, and each refusal made deep inside costs as much as an answer. So a
//! request is refused at the door, before its log line, its body and its page, as soon as it would have
//! to wait longer than [`LONGEST_QUEUE`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use askama::Template;
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::future::{Either, Ready, ready};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use tower::{Layer, Service};

use crate::{
    config::Site,
    metrics::metrics,
    web::{
        Error, Result, cookies,
        error::PROBLEM,
        error_page,
        htmx::wants_fragment,
        middleware::{
            headers,
            known_routes::{KnownRoutes, Load, RouteTraits},
        },
        problem::Problem,
        request_id::{REQUEST_ID, RequestId},
    },
};

/// A request is refused at once if the queue is longer than this, by the time that requests took
/// lately.
const LONGEST_QUEUE: Duration = Duration::from_millis(150);
/// A request that is still waiting after this is refused too: the requests before it took longer than
/// those before them.
const LONGEST_WAIT: Duration = Duration::from_millis(900);

/// Between two lines in the log about refused requests, in milliseconds.
const LOG_INTERVAL: u64 = 10_000;

/// A request extension: the page is made for the page cache, for everyone.
#[derive(Debug, Clone, Copy)]
pub struct ForEveryone;

/// The places for requests that work at the same time. A clone shares them.
#[derive(Clone)]
pub struct Admission(Arc<Inner>);

struct Inner {
    normal: Arc<Lane>,
    /// For filling the page cache, so that a crowd of members does not keep the pages that everyone
    /// reads from being renewed.
    for_everyone: Arc<Lane>,
    slow: Arc<Lane>,
    /// Refused requests that the log does not mention yet.
    refused: AtomicU64,
    /// When the log last did, in milliseconds since `started`.
    logged: AtomicU64,
    started: Instant,
}

impl Default for Admission {
    fn default() -> Admission {
        Admission(Arc::new(Inner {
            // More than the connections to the database, so that these are never idle.
            normal: Lane::new(16, LONGEST_WAIT),
            for_everyone: Lane::new(8, LONGEST_WAIT),
            slow: Lane::new(128, Duration::ZERO),
            refused: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            started: Instant::now(),
        }))
    }
}

impl Admission {
    /// A place for the request, after a wait if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] if there is none in time, or [`Error::Unavailable`] if the requests before it
    /// failed for want of the database.
    pub fn admit(&self, request: &Request) -> impl Future<Output = Result<Option<Place>>> + use<> {
        let (admission, lane) = (self.clone(), self.lane(request).cloned());
        async move {
            let Some(lane) = lane else { return Ok(None) };
            if let Some(place) = Lane::enter(&lane).await {
                return Ok(Some(place));
            }
            admission.count_refused();
            Err(if lane.is_outage.load(Relaxed) {
                Error::Unavailable("the requests before it wait for the database".into())
            } else {
                Error::Busy
            })
        }
    }

    /// `None` for a request that needs no place.
    fn lane(&self, request: &Request) -> Option<&Arc<Lane>> {
        match RouteTraits::of(request).load {
            Load::Light => None,
            Load::Slow => Some(&self.0.slow),
            Load::Normal if request.extensions().get::<ForEveryone>().is_some() => {
                Some(&self.0.for_everyone)
            }
            Load::Normal => Some(&self.0.normal),
        }
    }

    /// Counts a refused request. The log says so once in a while, and not for each.
    fn count_refused(&self) {
        let Inner { refused, logged, started, .. } = &*self.0;
        metrics().refused("overload");
        refused.fetch_add(1, Relaxed);
        let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let last = logged.load(Relaxed);
        let is_due = last == 0 || now - last >= LOG_INTERVAL;
        if is_due && logged.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            let refused = refused.swap(0, Relaxed);
            tracing::warn!(refused, "refusing requests: more arrive than can be answered in time");
        }
    }
}

/// A number of places, and the queue before them.
struct Lane {
    size: usize,
    longest_wait: Duration,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How long a place is held, in nanoseconds: a moving average over about eight requests.
    held: AtomicU64,
    opened: Instant,
    /// When a place was last taken or given back, in milliseconds since `opened`.
    moved: AtomicU64,
    /// Whether the request that gave back its place last had failed for want of the database.
    is_outage: AtomicBool,
}

impl Lane {
    fn new(size: usize, longest_wait: Duration) -> Arc<Lane> {
        Arc::new(Lane {
            size,
            longest_wait,
            places: Arc::new(Semaphore::new(size)),
            waiting: AtomicUsize::new(0),
            held: AtomicU64::new(0),
            opened: Instant::now(),
            moved: AtomicU64::new(0),
            is_outage: AtomicBool::new(false),
        })
    }

    /// Whether another request would have to wait for too long.
    fn is_full(&self) -> bool {
        if self.places.available_permits() > 0 {
            return false;
        }
        let turns = (self.waiting.load(Relaxed) + 1) as u64;
        let wait = Duration::from_nanos(self.held.load(Relaxed) * turns / self.size as u64);
        // Where nothing moves, how long places were held before says nothing.
        let rest = Duration::from_millis(self.now().saturating_sub(self.moved.load(Relaxed)));
        self.longest_wait.is_zero() || wait.max(rest) > LONGEST_QUEUE
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn enter(lane: &Arc<Lane>) -> Option<Place> {
        let permit = match lane.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if lane.is_full() => return None,
            Err(_) => {
                let _waiting = Waiting::new(&lane.waiting);
                timeout(lane.longest_wait, lane.places.clone().acquire_owned()).await.ok()?.ok()?
            }
        };
        lane.moved.store(lane.now(), Relaxed);
        Some(Place { lane: lane.clone(), entered: Instant::now(), _permit: permit })
    }
}

/// Counts a request as waiting until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A place, held until it is dropped.
pub struct Place {
    lane: Arc<Lane>,
    entered: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Gives the place back after this response.
    pub fn leave(self, response: &Response) {
        let error = response.extensions().get::<Arc<Error>>();
        let is_outage = error.is_some_and(|error| matches!(**error, Error::Unavailable(_)));
        self.lane.is_outage.store(is_outage, Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let took = u64::try_from(self.entered.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let held = self.lane.held.load(Relaxed);
        self.lane.held.store(held - held / 8 + took / 8, Relaxed);
        self.lane.moved.store(self.lane.now(), Relaxed);
    }
}

/// The responses to refused requests, made once.
pub struct Refusals {
    busy: Refusal,
    outage: Refusal,
}

/// One refusal, for each kind of client.
struct Refusal {
    error: Arc<Error>,
    page: Made,
    fragment: Made,
    problem: Made,
}

struct Made {
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Template)]
#[template(path = "busy.html")]
struct BusyPage<'a> {
    site: &'a Site,
    message: &'a str,
}

impl Refusals {
    pub fn new(site: &Site) -> Refusals {
        let outage = Error::Unavailable("refused at the door".into());
        Refusals { busy: Refusal::new(site, Error::Busy), outage: Refusal::new(site, outage) }
    }
}

impl Refusal {
    fn new(site: &Site, error: Error) -> Refusal {
        let message = error.to_string();
        let html = "text/html; charset=utf-8";
        let page = BusyPage { site, message: &message }.render().unwrap_or_default();
        let fragment = error_page::fragment(&message).unwrap_or_default();
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, message).to_json();
        let mut ready = Refusal {
            error: Arc::new(error),
            page: Made::new(site, html, page.into()),
            fragment: Made::new(site, html, fragment.into()),
            problem: Made::new(site, PROBLEM, problem.into()),
        };
        error_page::retarget(&mut ready.fragment.headers);
        ready
    }

    fn respond(&self, request: &Request, traits: RouteTraits, id: RequestId) -> Response {
        let Made { headers, body } = if traits.is_api {
            &self.problem
        } else if wants_fragment(request.headers()) {
            &self.fragment
        } else {
            &self.page
        };
        let mut response = Response::new(Body::from(body.clone()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        *response.headers_mut() = headers.clone();
        response.extensions_mut().insert(self.error.clone());
        response.headers_mut().insert(REQUEST_ID, id.into_value());
        response
    }
}

impl Made {
    fn new(site: &Site, kind: &'static str, body: Bytes) -> Made {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers::set_security_headers(&mut headers, site);
        Made { headers, body }
    }
}

/// Layer: refuses a request at the door if it would have to wait for too long. The outermost layer, and
/// written out rather than as a function, because under overload most requests end here.
///
/// What the page cache may have goes on, and so does a form with text worth keeping: it is refused
/// further in, where it comes back with what was typed.
#[derive(Clone)]
pub struct Door(Arc<Inside>);

struct Inside {
    admission: Admission,
    refusals: Refusals,
    routes: Arc<KnownRoutes>,
    site: Arc<Site>,
}

impl Door {
    pub fn new(admission: Admission, routes: Arc<KnownRoutes>, site: Arc<Site>) -> Door {
        Door(Arc::new(Inside { admission, refusals: Refusals::new(&site), routes, site }))
    }

    fn refusal(&self, request: &Request) -> Option<Response> {
        let Inside { admission, refusals, routes, site } = &*self.0;
        let Inner { normal, slow, .. } = &*admission.0;
        let is_calm = !normal.is_full() && !slow.is_full();
        if is_calm {
            return None;
        }
        let route = routes.find(request.method(), request.uri());
        let traits = route.map_or(RouteTraits::UNKNOWN, |route| route.traits);
        let lane = match traits.load {
            Load::Light => return None,
            Load::Normal => normal,
            Load::Slow => slow,
        };
        let may_be_cached = request.method().is_safe()
            && route.is_some_and(|route| route.cached.is_some())
            && !cookies::may_be_personal(request.headers());
        if !lane.is_full() || traits.keeps_form || may_be_cached {
            return None;
        }
        admission.count_refused();
        let is_outage = lane.is_outage.load(Relaxed);
        let refusal = if is_outage { &refusals.outage } else { &refusals.busy };
        Some(refusal.respond(request, traits, RequestId::from_request(request, site)))
    }
}

impl<S> Layer<S> for Door {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { door: self.clone(), inner }
    }
}

/// A service behind a [`Door`].
#[derive(Clone)]
pub struct Guarded<S> {
    door: Door,
    inner: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.door.refusal(&request) {
            Some(refusal) => Either::Left(ready(Ok(refusal))),
            None => Either::Right(self.inner.call(request)),
        }
    }
}
