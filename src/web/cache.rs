//! The pages that everybody sees alike, kept for a moment in the forms in which they are sent.
//!
//! Whoever asks without a session gets the same page as anybody else. It is rendered once, however
//! many ask at once, and kept with its compressed forms until something on it changes, and for a
//! second at most: what another program writes into the database is seen after that.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt as _;
use quick_cache::{Equivalent, Weighter, sync};
use tokio::sync::OnceCell;

use super::{
    etag,
    headers::accepts,
    htmx::wants_fragment,
    request_log::{REQUEST_ID, RequestId},
};

use crate::{config::Site, metrics::metrics};

/// Kept no longer than this, whatever is told of changes.
pub const LIFETIME: Duration = Duration::from_secs(1);
/// What all pages together may take, in bytes.
const ROOM: u64 = 24 * 1024 * 1024;
/// Posts share this many marks of change; two that share one only cost a page now and then.
const MARKS: usize = 1024;

/// The kept pages. A clone is the same cache.
#[derive(Clone)]
pub struct PageCache(Arc<Inner>);

struct Inner {
    lifetime: Duration,
    pages: sync::Cache<Key, Place, Weight>,
    making: Mutex<()>,
    /// Count the changes: to anything that a list shows, and to posts.
    lists: AtomicU64,
    posts: Box<[AtomicU64]>,
}

#[derive(Clone)]
struct Place {
    slot: Arc<Slot>,
    /// In bytes. The cache counts on it that this never changes.
    weight: u64,
}

/// A page that is kept, or being made for all who wait for it.
struct Slot {
    begun: Instant,
    /// The count of changes when it was begun.
    changes: u64,
    /// None in it: this answer is not for everybody.
    page: OnceCell<Option<Arc<Kept>>>,
}

struct Kept {
    headers: HeaderMap,
    plain: Bytes,
    brotli: OnceLock<Bytes>,
    gzip: OnceLock<Bytes>,
}

impl PageCache {
    /// Keeps pages for `lifetime` at most; with none at all, it keeps nothing.
    pub fn new(lifetime: Duration) -> PageCache {
        PageCache(Arc::new(Inner {
            lifetime,
            pages: sync::Cache::with_weighter(1000, ROOM, Weight),
            making: Mutex::new(()),
            lists: AtomicU64::new(0),
            posts: std::iter::repeat_with(|| AtomicU64::new(0)).take(MARKS).collect(),
        }))
    }

    /// Something has changed that lists show.
    pub fn forget_lists(&self) {
        self.0.lists.fetch_add(1, SeqCst);
    }

    /// A post has changed, or who voted for it, and so has every list it is in.
    pub fn forget_post(&self, id: i64) {
        self.forget_lists();
        self.0.posts[mark(id)].fetch_add(1, SeqCst);
    }

    pub fn forget_all(&self) {
        self.forget_lists();
        for post in &self.0.posts {
            post.fetch_add(1, SeqCst);
        }
    }

    /// The page at `key` that is fresh or being made, or a place to make it in.
    fn slot(&self, key: Lookup, topic: Topic) -> Arc<Slot> {
        let changes = match topic {
            Topic::Lists => self.0.lists.load(SeqCst),
            Topic::Post(id) => self.0.posts[mark(id)].load(SeqCst),
        };
        let fresh = || {
            let Place { slot, .. } = self.0.pages.get(&key)?;
            let is_fresh = slot.changes == changes && slot.begun.elapsed() < self.0.lifetime;
            is_fresh.then_some(slot)
        };
        if let Some(slot) = fresh() {
            return slot;
        }
        // Of many who come at once, one makes the place and the others find it.
        let _alone = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        fresh().unwrap_or_else(|| {
            let slot = Arc::new(Slot { begun: Instant::now(), changes, page: OnceCell::new() });
            self.put(key.own(), slot.clone());
            slot
        })
    }

    fn put(&self, key: Key, slot: Arc<Slot>) {
        let page = slot.page.get().and_then(Option::as_ref);
        // With its other forms, which are about half as long together.
        let page = page.map_or(0, |page| 2048 + page.plain.len() * 3 / 2);
        let weight = (256 + key.address.len() + page) as u64;
        self.0.pages.insert(key, Place { slot, weight });
    }
}

fn mark(post: i64) -> usize {
    usize::try_from(post.rem_euclid(MARKS as i64)).unwrap_or_default()
}

/// What a page shows, and so what changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Lists,
    Post(i64),
}

impl Topic {
    /// None for pages that are not the same for everybody, such as forms.
    fn of(path: &str) -> Option<Topic> {
        let mut parts = path.strip_prefix('/')?.split('/');
        match (parts.next()?, parts.next(), parts.next()) {
            ("" | "new" | "top" | "search" | "users", None, None) | ("users", Some(_), None) => {
                Some(Topic::Lists)
            }
            ("posts", Some(id), None) => Some(Topic::Post(id.parse().ok()?)),
            (_, Some("feed.atom"), None)
            | ("feed.atom", None, None)
            | ("users", _, Some("feed.atom")) => Some(Topic::Lists),
            _ => None,
        }
    }
}

/// Answers from what is kept where the answer is the same for everybody, and keeps it where it is
/// not kept yet. The outermost layer: a page that is kept costs nothing further in.
pub async fn answer(
    State((cache, site)): State<(PageCache, Arc<Site>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(&request, &site);
    request.extensions_mut().insert(id.clone());
    let path = request.uri().path();
    let topic = Topic::of(path).filter(|_| is_anybody(&request) && !cache.0.lifetime.is_zero());
    let Some(topic) = topic else { return next.run(request).await };

    let key = Lookup {
        address: request.uri().path_and_query().map_or(path, |address| address.as_str()),
        is_fragment: wants_fragment(request.headers()),
    };
    let slot = cache.slot(key, topic);
    if let Some(Some(kept)) = slot.page.get() {
        metrics().page_kept();
        return kept.answer(Asked::of(&request, id));
    }
    let key = key.own();
    let asked = Asked::of(&request, id);
    let mut waiting = Some((request, next));
    let mut own = None;
    let page = slot.page.get_or_init(|| async {
        let (request, next) = waiting.take()?;
        match Kept::of(next.run(whole(request)).await).await {
            Ok(kept) => Some(Arc::new(kept)),
            Err(response) => {
                own = Some(response);
                None
            }
        }
    });
    let page = page.await.clone();
    if let Some(kept) = page {
        if waiting.is_none() {
            // Once more, now that its size is known.
            cache.put(key, slot);
        }
        return kept.answer(asked);
    }
    cache.0.pages.remove_if(&key, |place| Arc::ptr_eq(&place.slot, &slot));
    match (own, waiting) {
        (Some(response), _) => response,
        // Waited in vain for an answer that was only another's.
        (None, Some((request, next))) => next.run(request).await,
        (None, None) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Without a session, without a message that waits to be shown, and not just after writing (`reader`).
fn is_anybody(request: &Request) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut cookies = request.headers().get_all(header::COOKIE).iter();
    let says_who = |cookies: &HeaderValue| {
        // Whatever is in front of the name, and however it is spelled exactly: that is read further in.
        let holds = |name: &[u8]| cookies.as_bytes().windows(name.len()).any(|part| part == name);
        holds(b"sid") || holds(b"flash") || holds(b"wrote")
    };
    is_read && !cookies.any(says_who)
}

/// The request for the page itself: with its body, in no packing, whether it is known or not.
fn whole(mut request: Request) -> Request {
    *request.method_mut() = Method::GET;
    for name in [header::ACCEPT_ENCODING, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        request.headers_mut().remove(name);
    }
    request
}

/// How somebody wants to have a page.
struct Asked {
    id: RequestId,
    is_head: bool,
    is_brotli_fine: bool,
    is_gzip_fine: bool,
    /// What they have already.
    held: Option<HeaderValue>,
}

impl Asked {
    fn of(request: &Request, id: RequestId) -> Asked {
        let headers = request.headers();
        let is_brotli_fine = accepts(headers, "br");
        Asked {
            id,
            is_head: request.method() == Method::HEAD,
            is_brotli_fine,
            is_gzip_fine: !is_brotli_fine && accepts(headers, "gzip"),
            held: headers.get(header::IF_NONE_MATCH).cloned(),
        }
    }
}

impl Kept {
    /// Keeps what may be shown to everybody: a page that says `no-cache`, which others answer with
    /// `private` or `no-store` instead.
    async fn of(response: Response) -> Result<Kept, Response> {
        let (mut head, body) = response.into_parts();
        let policy = head.headers.get(header::CACHE_CONTROL);
        let is_for_all = head.status == StatusCode::OK
            && policy.is_some_and(|policy| policy == "no-cache")
            && !head.headers.contains_key(header::SET_COOKIE)
            && !head.headers.contains_key(header::CONTENT_ENCODING);
        if !is_for_all {
            return Err(Response::from_parts(head, body));
        }
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
        let (brotli, gzip) = (OnceLock::new(), OnceLock::new());
        Ok(Kept { headers: head.headers, plain, brotli, gzip })
    }

    fn answer(&self, asked: Asked) -> Response {
        let mut headers = self.headers.clone();
        headers.insert(REQUEST_ID, asked.id.into_value());
        let etag = headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
        if let (Some(held), Some(etag)) = (&asked.held, etag)
            && etag::is_among(held, etag)
        {
            headers.remove(header::CONTENT_TYPE);
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            *response.headers_mut() = headers;
            return response;
        }
        let (encoding, body) = if asked.is_brotli_fine {
            (Some("br"), self.brotli.get_or_init(|| brotli(&self.plain)))
        } else if asked.is_gzip_fine {
            (Some("gzip"), self.gzip.get_or_init(|| gzip(&self.plain)))
        } else {
            (None, &self.plain)
        };
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let mut response = if asked.is_head {
            headers.insert(header::CONTENT_LENGTH, body.len().into());
            Response::default()
        } else {
            Response::new(Body::from(body.clone()))
        };
        *response.headers_mut() = headers;
        response
    }
}

fn brotli(plain: &[u8]) -> Bytes {
    let mut packed = Vec::with_capacity(plain.len() / 2);
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: 5,
        size_hint: plain.len(),
        ..Default::default()
    };
    match brotli::BrotliCompress(&mut &*plain, &mut packed, &parameters) {
        Ok(_) => packed.into(),
        Err(_) => Bytes::new(),
    }
}

fn gzip(plain: &[u8]) -> Bytes {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::new(6));
    let packed = encoder.write_all(plain).and_then(|()| encoder.finish());
    packed.map(Bytes::from).unwrap_or_default()
}

/// An address and whether a part of its page is wanted, as somebody asks for it.
#[derive(Clone, Copy)]
struct Lookup<'a> {
    address: &'a str,
    is_fragment: bool,
}

#[derive(PartialEq, Eq)]
struct Key {
    address: Box<str>,
    is_fragment: bool,
}

impl Lookup<'_> {
    fn own(self) -> Key {
        Key { address: self.address.into(), is_fragment: self.is_fragment }
    }
}

impl Hash for Lookup<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.address, self.is_fragment).hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&*self.address, self.is_fragment).hash(state);
    }
}

impl Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.address == &*key.address && self.is_fragment == key.is_fragment
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Place> for Weight {
    fn weight(&self, _: &Key, place: &Place) -> u64 {
        place.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_same_for_everybody_has_a_topic() {
        for path in ["/", "/new", "/top", "/search", "/users", "/users/ada", "/feed.atom"] {
            assert_eq!(Topic::of(path), Some(Topic::Lists), "{path}");
        }
        assert_eq!(Topic::of("/posts/7"), Some(Topic::Post(7)));
        for path in ["/posts/new", "/posts/7/edit", "/login", "/settings", "/api/v1/posts", "/live"]
        {
            assert_eq!(Topic::of(path), None, "{path}");
        }
    }
}
