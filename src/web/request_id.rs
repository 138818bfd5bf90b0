//! The id of a request: in the log, on the 500 page and in `X-Request-Id`.

use std::fmt;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
};

use crate::{config::Site, web::client};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request. Also a request extension, once the request log has set it.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the request has in its extensions or from a trusted proxy, or a new one.
    pub fn from_request(request: &Request, site: &Site) -> RequestId {
        if let Some(id) = request.extensions().get::<RequestId>() {
            return id.clone();
        }
        let is_from_proxy = client::is_from_proxy(request, site);
        let given = is_from_proxy.then(|| RequestId::from_headers(request.headers())).flatten();
        given.unwrap_or_else(RequestId::new)
    }

    pub fn into_value(self) -> HeaderValue {
        self.0
    }

    /// The id that a proxy has set, so that its log and ours have the same one.
    fn from_headers(headers: &HeaderMap) -> Option<RequestId> {
        let mut ids = headers.get_all(REQUEST_ID).iter();
        let (Some(id), None) = (ids.next(), ids.next()) else { return None };
        let is_plain = id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        (is_plain && (8..=64).contains(&id.len())).then(|| RequestId(id.clone()))
    }

    fn new() -> RequestId {
        let id = uuid::Uuid::new_v4().to_string();
        RequestId(HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("unknown")))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}
