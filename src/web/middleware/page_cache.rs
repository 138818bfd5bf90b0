//! The pages that everybody sees alike, kept for a moment in the forms in which they are sent.
//!
//! Whoever asks without a session gets the same page as anybody else. It is rendered once, however
//! many ask at once, and kept with its compressed forms until something on it changes, and for a
//! second at most: what another program writes into the database is seen after that.

use std::sync::{Arc, OnceLock};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt as _;

use crate::{
    config::Site,
    metrics::metrics,
    web::{
        cache::{Lookup, SingleFlightCache, Topic, Versions},
        etag,
        htmx::wants_fragment,
        middleware::headers::accepts,
        request_id::{REQUEST_ID, RequestId},
    },
};

/// What all pages together may take, in bytes.
const MAX_BYTES: u64 = 24 * 1024 * 1024;

/// The kept pages. A clone is the same cache. None in it: this answer is not for everybody.
#[derive(Clone)]
pub struct PageCache(SingleFlightCache<Option<Arc<EncodedPage>>>);

/// A page in the forms in which it is sent.
struct EncodedPage {
    headers: HeaderMap,
    plain: Bytes,
    brotli: OnceLock<Bytes>,
    gzip: OnceLock<Bytes>,
}

impl PageCache {
    pub fn new(changes: &Versions) -> PageCache {
        PageCache(SingleFlightCache::new(changes, MAX_BYTES))
    }
}

/// None for pages that are not the same for everybody, such as forms.
fn topic(path: &str) -> Option<Topic> {
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

/// Answers from what is kept where the answer is the same for everybody, and keeps it where it is
/// not kept yet. The outermost layer: a page that is kept costs nothing further in.
pub async fn page_cache(
    State((PageCache(pages), site)): State<(PageCache, Arc<Site>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(&request, &site);
    request.extensions_mut().insert(id.clone());
    let path = request.uri().path();
    let at = Lookup {
        address: request.uri().path_and_query().map_or(path, |address| address.as_str()),
        is_fragment: wants_fragment(request.headers()),
    };
    let topic = topic(path).filter(|_| is_anonymous(&request));
    let Some(entry) = topic.and_then(|topic| pages.entry(at, topic)) else {
        return next.run(request).await;
    };
    if let Some(Some(kept)) = entry.thing.get() {
        metrics().page_kept();
        return kept.answer(Asked::of(&request, id));
    }
    let key = at.own();
    let asked = Asked::of(&request, id);
    let mut waiting = Some((request, next));
    let mut own = None;
    let page = entry.thing.get_or_init(|| async {
        let (request, next) = waiting.take()?;
        match EncodedPage::of(next.run(whole(request)).await).await {
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
            // Its other forms are about half as long together.
            pages.put(key, entry, 2048 + kept.plain.len() * 3 / 2);
        }
        return kept.answer(asked);
    }
    pages.remove(&key, &entry);
    match (own, waiting) {
        (Some(response), _) => response,
        // Waited in vain for an answer that was only another's.
        (None, Some((request, next))) => next.run(request).await,
        (None, None) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Without a session, without a message that waits to be shown, and not just after writing (`reader`).
fn is_anonymous(request: &Request) -> bool {
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

impl EncodedPage {
    /// Keeps what may be shown to everybody: a page that says `no-cache`, which others answer with
    /// `private` or `no-store` instead.
    async fn of(response: Response) -> Result<EncodedPage, Response> {
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
        Ok(EncodedPage { headers: head.headers, plain, brotli, gzip })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_same_for_everybody_has_a_topic() {
        for path in ["/", "/new", "/top", "/search", "/users", "/users/ada", "/feed.atom"] {
            assert_eq!(topic(path), Some(Topic::Lists), "{path}");
        }
        assert_eq!(topic("/posts/7"), Some(Topic::Post(7)));
        for path in ["/posts/new", "/posts/7/edit", "/login", "/settings", "/api/v1/posts", "/live"]
        {
            assert_eq!(topic(path), None, "{path}");
        }
    }
}
