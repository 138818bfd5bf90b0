//! The page cache: pages that are the same for everyone without a session, in the encodings in which
//! they are sent.
//!
//! Such a page is rendered once, however many clients request it at the same time, and kept until
//! something on it changes, a second at most: a change that another program writes into the
//! database is visible after that.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use flate2::Compression;
use http_body_util::BodyExt as _;
use tokio::sync::OnceCell;

use crate::{
    config::Site,
    cpu,
    metrics::metrics,
    web::{
        cache::{CachePolicy, Lookup, SingleFlightCache, Topic, Versions},
        etag,
        htmx::wants_fragment,
        middleware::{
            compression::{brotli, gzip},
            headers::accepts,
        },
        request_id::{REQUEST_ID, RequestId},
    },
};

/// What all pages together may take, in bytes.
const MAX_BYTES: u64 = 24 * 1024 * 1024;

/// A clone is the same cache. `None` in it: the response was not the same for everyone.
#[derive(Clone)]
pub struct PageCache(SingleFlightCache<Option<Arc<EncodedPage>>>);

/// A page in the encodings in which it is sent.
struct EncodedPage {
    topic: Topic,
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

/// What the middleware knows: the cache, and the patterns of the routes whose pages may be in it.
#[derive(Clone)]
pub struct Shared {
    pub cache: PageCache,
    pub routes: Arc<matchit::Router<()>>,
    pub site: Arc<Site>,
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
    let Shared { cache: PageCache(pages), routes, site } = shared;
    let id = RequestId::from_request(&request, &site);
    request.extensions_mut().insert(id.clone());
    let path = request.uri().path();
    let may_be_cached = is_anonymous(&request) && routes.at(path).is_ok();
    let at = Lookup {
        address: request.uri().path_and_query().map_or(path, |address| address.as_str()),
        is_fragment: wants_fragment(request.headers()),
    };
    let Some(entry) = may_be_cached.then(|| pages.entry(at)).flatten() else {
        return next.run(request).await;
    };
    if let Some(Some(page)) = entry.value.get() {
        metrics().page_cache_hit();
        return page.respond(Conditions::from_request(&request, id)).await;
    }
    let key = at.own();
    let conditions = Conditions::from_request(&request, id);
    let mut waiting = Some((request, next));
    let mut own = None;
    let page = entry.value.get_or_init(|| async {
        let (request, next) = waiting.take()?;
        match EncodedPage::from_response(next.run(unconditional(request)).await).await {
            Ok(page) => {
                entry.set_topic(page.topic);
                Some(Arc::new(page))
            }
            Err(response) => {
                own = Some(response);
                None
            }
        }
    });
    let page = page.await.clone();
    if let Some(page) = page {
        if waiting.is_none() {
            // The compressed encodings together are about half as long.
            pages.put(key, entry, 2048 + page.plain.len() * 3 / 2);
        }
        return page.respond(conditions).await;
    }
    pages.remove(&key, &entry);
    match (own, waiting) {
        (Some(response), _) => response,
        // Another request filled the entry, and its response was for that client only.
        (None, Some((request, next))) => next.run(request).await,
        (None, None) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Without a session, without a flash message to be shown, and not just after a write (`replica`).
fn is_anonymous(request: &Request) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut cookies = request.headers().get_all(header::COOKIE).iter();
    let is_personal = |cookies: &HeaderValue| {
        // Any prefix and any spelling of the name: the exact name is checked further in.
        let holds = |name: &[u8]| cookies.as_bytes().windows(name.len()).any(|part| part == name);
        holds(b"sid") || holds(b"flash") || holds(b"wrote")
    };
    is_read && !cookies.any(is_personal)
}

/// The request for the page itself: with its body, not compressed, and unconditional.
fn unconditional(mut request: Request) -> Request {
    *request.method_mut() = Method::GET;
    for name in [header::ACCEPT_ENCODING, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        request.headers_mut().remove(name);
    }
    request
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
    async fn from_response(response: Response) -> Result<EncodedPage, Response> {
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
        let (brotli, gzip) = (OnceCell::new(), OnceCell::new());
        Ok(EncodedPage { topic, headers: head.headers, plain, brotli, gzip })
    }

    async fn respond(&self, conditions: Conditions) -> Response {
        let mut headers = self.headers.clone();
        headers.insert(REQUEST_ID, conditions.id.into_value());
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
