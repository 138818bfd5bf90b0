//! The page cache: pages that are the same for everyone without a session, in the encodings in which
//! they are sent.
//!
//! Such a page is rendered once, however many clients request it at the same time, and kept until
//! something on it changes, a second at most: a change that another program writes into the
//! database is visible after that.
//!
//! The last page is kept for longer, for an outage: while no new one can be made, people read it with a
//! line that says from when it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use askama::Template;
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use flate2::Compression;
use http_body_util::BodyExt as _;
use time::OffsetDateTime;
use tokio::sync::{OnceCell, SetOnce};

use crate::{
    config::{AccessLog, Site},
    cpu,
    metrics::metrics,
    web::{
        cache::{CachePolicy, Entry, Key, Lookup, SingleFlightCache, Topic, Versions},
        cookies,
        error::{Error, describe},
        etag, filters,
        htmx::wants_fragment,
        middleware::{
            admission::ForEveryone,
            compression::{brotli, gzip},
            headers::accepts,
            known_routes::{KnownRoutes, RouteTraits},
            request_log,
        },
        request_id::{REQUEST_ID, RequestId},
    },
};

/// What all pages together may take, in bytes.
const MAX_BYTES: u64 = 24 * 1024 * 1024;

/// How old a page may be that is shown because no newer one can be made.
const MAX_AGE: Duration = Duration::from_mins(10);

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Where the layout has the messages for the viewer; empty on a page that is the same for everyone.
const MESSAGES: &str = "<div id=\"flash\"></div>";

/// A clone is the same cache.
#[derive(Clone)]
pub struct PageCache(SingleFlightCache<Slot>);

/// The page at one address.
struct Slot {
    made: SetOnce<Made>,
    /// The last page that could be made.
    last: Option<Arc<EncodedPage>>,
    /// In an outage, the copy that was shown until now. Then nobody waits for a new page.
    copy: Option<Arc<EncodedPage>>,
}

impl Slot {
    fn after(before: Option<&Entry<Slot>>) -> Slot {
        let before = before.map(|entry| &entry.value);
        let made = before.and_then(|slot| slot.made.get());
        let (last, copy) = match made {
            Some(Made::Page(page)) => (Some(page.clone()), None),
            Some(Made::Copy(copy)) => (None, Some(copy.clone())),
            Some(Made::NotShared) | None => (None, None),
        };
        let last = last.or_else(|| before.and_then(|slot| slot.last.clone()));
        Slot { made: SetOnce::new(), last, copy }
    }
}

/// What came of making a page.
enum Made {
    Page(Arc<EncodedPage>),
    /// No page could be made: the one before, with the line that says so.
    Copy(Arc<EncodedPage>),
    /// The response was not the same for everyone.
    NotShared,
}

/// A page in the encodings in which it is sent.
struct EncodedPage {
    topic: Topic,
    /// The version of the cache entry that it was made in.
    version: u64,
    made: Instant,
    made_at: OffsetDateTime,
    is_copy: bool,
    headers: HeaderMap,
    plain: Bytes,
    brotli: OnceCell<Bytes>,
    gzip: OnceCell<Bytes>,
}

impl PageCache {
    pub fn new(versions: &Versions) -> PageCache {
        PageCache(SingleFlightCache::new(versions, MAX_BYTES))
    }
}

/// What the middleware knows: the cache, the routes, and what is logged.
#[derive(Clone)]
pub struct Shared {
    pub cache: PageCache,
    pub routes: Arc<KnownRoutes>,
    pub site: Arc<Site>,
    pub log: AccessLog,
}

/// Answers from the cache where the response is the same for everyone, and fills it where it is not
/// cached yet. The outermost layer: a cached page costs nothing further in.
///
/// The routes say which addresses may be cached, the handler's [`CachePolicy`] what a page shows.
pub async fn page_cache(
    State(shared): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let Shared { cache, routes, site, log } = shared;
    let id = RequestId::from_request(&request, &site);
    request.extensions_mut().insert(id.clone());
    let route = routes.find(request.method(), request.uri());
    let traits = route.map_or(RouteTraits::UNKNOWN, |route| route.traits);
    request.extensions_mut().insert(traits);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let route = route.filter(|_| is_read).and_then(|route| Some((route, route.cached.as_ref()?)));
    let Some((route, counters)) = route else { return next.run(request).await };
    let conditions = Conditions::from_request(&request, id.clone());
    if cookies::may_be_personal(request.headers()) {
        return cache.personal_page(conditions, request, next).await;
    }
    match cache.page(request, next).await {
        Answer::Own(response) => response,
        Answer::Made(page) => page.respond(conditions).await,
        Answer::Kept(page) => {
            let response = page.respond(conditions).await;
            let (status, took) = (response.status(), started.elapsed());
            metrics().page_cache_hit();
            counters.completed(status, took);
            request_log::completed_at_once(log, &id, route, status, took);
            response
        }
    }
}

enum Answer {
    /// A page of the cache.
    Kept(Arc<EncodedPage>),
    /// A page that was made for this request, which is logged and counted already.
    Made(Arc<EncodedPage>),
    /// A response that is this client's only.
    Own(Response),
}

impl PageCache {
    /// The page at the request's address, from the cache or made for it.
    ///
    /// It is made in a task of its own, from a request without a body: no client can delay a page that
    /// others wait for, and a client that leaves does not take it away.
    async fn page(&self, request: Request, next: Next) -> Answer {
        let at = lookup(&request);
        let mut is_new = false;
        let entry = self.0.entry(at, |before| {
            is_new = true;
            Slot::after(before)
        });
        let Some(entry) = entry else { return Answer::Own(next.run(request).await) };
        if let Some(Made::Page(page) | Made::Copy(page)) = entry.value.made.get() {
            return Answer::Kept(page.clone());
        }
        let copy = entry.value.copy.clone().filter(|copy| self.may_be_shown(copy));
        if is_new {
            let (pages, key, entry) = (self.clone(), at.own(), entry.clone());
            let request = for_everyone(&request);
            let task = tokio::spawn(pages.fill(key, entry, request, next.clone()));
            if copy.is_none()
                && let Ok(Some(own)) = task.await
            {
                return Answer::Own(own);
            }
        }
        if let Some(copy) = copy {
            return Answer::Kept(copy);
        }
        match entry.value.made.wait().await {
            Made::Page(page) | Made::Copy(page) if is_new => Answer::Made(page.clone()),
            Made::Page(page) | Made::Copy(page) => Answer::Kept(page.clone()),
            Made::NotShared => Answer::Own(next.run(request).await),
        }
    }

    /// Makes the page of an entry. Returns the response where it is not for everyone.
    async fn fill(
        self,
        key: Key,
        entry: Arc<Entry<Slot>>,
        request: Request,
        next: Next,
    ) -> Option<Response> {
        let unset = SetOnDrop(entry.clone());
        let response = next.run(request).await;
        let (made, own) = match EncodedPage::from_response(response, entry.version).await {
            Ok(page) => (Made::Page(Arc::new(page)), None),
            Err(response) => {
                let last = entry.value.last.as_ref().filter(|last| self.may_be_shown(last));
                match last.filter(|_| response.status() == StatusCode::SERVICE_UNAVAILABLE) {
                    Some(last) => {
                        let copy = last.copy(&describe(&response), false);
                        (Made::Copy(Arc::new(copy)), None)
                    }
                    None => (Made::NotShared, Some(response)),
                }
            }
        };
        match &made {
            Made::Page(page) | Made::Copy(page) => {
                entry.set_topic(page.topic);
                // The compressed encodings together are about half as long.
                self.0.put(key, entry.clone(), 2048 + page.plain.len() * 3 / 2);
            }
            Made::NotShared => self.0.remove(&key, &entry),
        }
        let _ = entry.value.made.set(made);
        drop(unset);
        own
    }

    /// The page of a client with a session. Where the database is away, the page that everyone gets.
    async fn personal_page(
        &self,
        conditions: Conditions,
        request: Request,
        next: Next,
    ) -> Response {
        let (address, is_fragment) = (request.uri().clone(), wants_fragment(request.headers()));
        let response = next.run(request).await;
        let error = response.extensions().get::<Arc<Error>>();
        if !error.is_some_and(|error| matches!(**error, Error::Unavailable(_))) {
            return response;
        }
        let entry = self.0.last(Lookup { address: address_of(&address), is_fragment });
        let last = entry.as_ref().and_then(|entry| match entry.value.made.get() {
            Some(Made::Page(page)) => Some(page),
            _ => entry.value.last.as_ref(),
        });
        match last.filter(|last| self.may_be_shown(last)) {
            Some(last) => last.copy(&describe(&response), true).respond(conditions).await,
            None => response,
        }
    }

    fn may_be_shown(&self, page: &EncodedPage) -> bool {
        page.made.elapsed() < MAX_AGE && self.0.may_be_shown(page.version)
    }
}

/// Ends the wait for a page whose making ended without one, such as by a panic.
struct SetOnDrop(Arc<Entry<Slot>>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        let _ = self.0.value.made.set(Made::NotShared);
    }
}

#[derive(Template)]
#[template(path = "_outage.html")]
struct Outage<'a> {
    /// Why there is no newer page.
    message: &'a str,
    made_at: &'a OffsetDateTime,
    has_session: bool,
}
fn lookup(request: &Request) -> Lookup<'_> {
    Lookup { address: address_of(request.uri()), is_fragment: wants_fragment(request.headers()) }
}

fn address_of(uri: &Uri) -> &str {
    uri.path_and_query().map_or(uri.path(), |address| address.as_str())
}

/// The request for the page itself: the whole page, not compressed, unconditional, and without a body.
fn for_everyone(request: &Request) -> Request {
    let mut shared = Request::new(Body::empty());
    *shared.uri_mut() = request.uri().clone();
    *shared.headers_mut() = request.headers().clone();
    *shared.extensions_mut() = request.extensions().clone();
    shared.extensions_mut().insert(ForEveryone);
    for name in [
        header::ACCEPT_ENCODING,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ] {
        shared.headers_mut().remove(name);
    }
    shared
}

/// In which encoding, and with which condition, a client requests a page.
struct Conditions {
    id: RequestId,
    is_head: bool,
    accepts_brotli: bool,
    accepts_gzip: bool,
    /// `If-None-Match`.
    if_none_match: Option<HeaderValue>,
}

impl Conditions {
    fn from_request(request: &Request, id: RequestId) -> Conditions {
        let headers = request.headers();
        let accepts_brotli = accepts(headers, "br");
        Conditions {
            id,
            is_head: request.method() == Method::HEAD,
            accepts_brotli,
            accepts_gzip: !accepts_brotli && accepts(headers, "gzip"),
            if_none_match: headers.get(header::IF_NONE_MATCH).cloned(),
        }
    }
}

impl EncodedPage {
    /// Takes a response that is the same for everyone, as its handler's policy says; returns any
    /// other as it is.
    async fn from_response(response: Response, version: u64) -> Result<EncodedPage, Response> {
        let policy = response.extensions().get::<CachePolicy>().copied();
        let (mut head, body) = response.into_parts();
        let topic = match policy {
            Some(CachePolicy::Shared(topic)) => Some(topic),
            _ => None,
        };
        let is_for_all = head.status == StatusCode::OK
            && head.headers.get(header::CACHE_CONTROL).is_some_and(|value| value == "no-cache")
            && !head.headers.contains_key(header::SET_COOKIE)
            && !head.headers.contains_key(header::CONTENT_ENCODING);
        let Some(topic) = topic.filter(|_| is_for_all) else {
            return Err(Response::from_parts(head, body));
        };
        let Ok(body) = body.collect().await else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let plain = body.to_bytes();
        for name in ["x-request-id", "content-length"] {
            head.headers.remove(name);
        }
        let mut vary = head.headers.get_all(header::VARY).iter();
        if !vary
            .any(|vary| vary.to_str().unwrap_or_default().eq_ignore_ascii_case("accept-encoding"))
        {
            head.headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        Ok(EncodedPage {
            topic,
            version,
            made: Instant::now(),
            made_at: OffsetDateTime::now_utc(),
            is_copy: false,
            headers: head.headers,
            plain,
            brotli: OnceCell::new(),
            gzip: OnceCell::new(),
        })
    }

    /// The page for an outage: with a line that says why it is not renewed and from when it is. A
    /// feed has that in its headers only.
    fn copy(&self, message: &str, has_session: bool) -> EncodedPage {
        let outage = Outage { message, made_at: &self.made_at, has_session }.render();
        let line = MESSAGES.replace("><", &format!(">{}<", outage.unwrap_or_default()));
        let mut headers = self.headers.clone();
        headers.remove(header::ETAG);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CACHE_STATUS, HeaderValue::from_static("social-post; hit; detail=outage"));
        EncodedPage {
            is_copy: true,
            headers,
            plain: match std::str::from_utf8(&self.plain) {
                Ok(page) => page.replacen(MESSAGES, &line, 1).into(),
                Err(_) => self.plain.clone(),
            },
            brotli: OnceCell::new(),
            gzip: OnceCell::new(),
            ..*self
        }
    }

    async fn respond(&self, conditions: Conditions) -> Response {
        let mut headers = self.headers.clone();
        headers.insert(REQUEST_ID, conditions.id.into_value());
        if self.is_copy {
            headers.insert(header::AGE, self.made.elapsed().as_secs().into());
        }
        let etag = headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
        if let (Some(held), Some(etag)) = (&conditions.if_none_match, etag)
            && etag::is_among(held, etag)
        {
            headers.remove(header::CONTENT_TYPE);
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            *response.headers_mut() = headers;
            return response;
        }
        let (encoding, body) = if conditions.accepts_brotli {
            (Some("br"), self.compressed(&self.brotli, brotli).await)
        } else if conditions.accepts_gzip {
            (
                Some("gzip"),
                self.compressed(&self.gzip, |plain| gzip(plain, Compression::new(6))).await,
            )
        } else {
            (None, &self.plain)
        };
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let mut response = if conditions.is_head {
            headers.insert(header::CONTENT_LENGTH, body.len().into());
            Response::default()
        } else {
            Response::new(Body::from(body.clone()))
        };
        *response.headers_mut() = headers;
        response
    }

    /// The page in one encoding, compressed by the first request for it.
    async fn compressed<'a>(
        &self,
        kept: &'a OnceCell<Bytes>,
        compress: impl FnOnce(&[u8]) -> Bytes + Send + 'static,
    ) -> &'a Bytes {
        let plain = self.plain.clone();
        kept.get_or_init(|| cpu::run(move || compress(&plain))).await
    }
}
