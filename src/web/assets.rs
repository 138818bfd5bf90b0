//! The files a browser fetches beside a page. `build.rs` names them by their content and compresses
//! them, so they can be kept for ever and cost nothing to send.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};

use super::{
    Error,
    extract::Path,
    headers::{accepts, is_known},
};

pub struct Asset {
    pub path: &'static str,
    content_type: &'static str,
    etag: &'static str,
    plain: &'static [u8],
    brotli: &'static [u8],
    gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

pub async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Error> {
    let is_named = |asset: &&&Asset| asset.path.strip_prefix("/static/") == Some(name.as_str());
    let asset = [&CSS, &JS, &ICON].iter().find(is_named).copied().ok_or(Error::NotFound)?;
    Ok(asset.answer(&headers, "public, max-age=31536000, immutable"))
}

pub async fn icon(headers: HeaderMap) -> Response {
    ICON.answer(&headers, "public, max-age=86400")
}

/// Browsers ask here unasked; all that do can show SVG or do without.
pub async fn old_icon() -> Redirect {
    Redirect::permanent("/favicon.svg")
}

impl Asset {
    fn answer(&self, headers: &HeaderMap, caching: &'static str) -> Response {
        let (encoding, body) = if accepts(headers, "br") {
            (Some("br"), self.brotli)
        } else if accepts(headers, "gzip") {
            (Some("gzip"), self.gzip)
        } else {
            (None, self.plain)
        };
        let etag = HeaderValue::from_static(self.etag);
        let known = headers.get(header::IF_NONE_MATCH);
        let mut response = if known.is_some_and(|known| is_known(known, &etag)) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            body.into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        headers.insert(header::ETAG, etag);
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }
}
