//! The files a browser fetches beside a page. `build.rs` names them by their content and compresses
//! them, so they can be kept for ever and cost nothing to send.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::web::{Error, etag::is_held, extract::Path, middleware::headers::accepts};

pub struct Asset {
    pub path: &'static str,
    content_type: &'static str,
    etag: &'static str,
    plain: &'static [u8],
    /// In brotli and in gzip, where that makes it smaller.
    packed: Option<[&'static [u8]; 2]>,
}

/// All that pages and the manifest name.
static ASSETS: [&Asset; 7] = [&CSS, &JS, &ICON, &TOUCH_ICON, &ICON_192, &ICON_512, &MASKABLE_ICON];

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

pub async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Error> {
    let is_named = |asset: &&&Asset| asset.path.strip_prefix("/static/") == Some(name.as_str());
    let asset = ASSETS.iter().find(is_named).copied().ok_or(Error::NotFound)?;
    Ok(asset.answer(&headers, "public, max-age=31536000, immutable"))
}

pub async fn icon(headers: HeaderMap) -> Response {
    ICON.answer(&headers, "public, max-age=86400")
}

/// Here ask those that show no SVG, whatever a page says.
pub async fn old_icon(headers: HeaderMap) -> Response {
    OLD_ICON.answer(&headers, "public, max-age=86400")
}

impl Asset {
    pub fn content_type(&self) -> &'static str {
        self.content_type
    }

    fn answer(&self, headers: &HeaderMap, caching: &'static str) -> Response {
        let (encoding, body) = match self.packed {
            Some([brotli, _]) if accepts(headers, "br") => (Some("br"), brotli),
            Some([_, gzip]) if accepts(headers, "gzip") => (Some("gzip"), gzip),
            _ => (None, self.plain),
        };
        let mut response = if is_held(headers, self.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            body.into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        headers.insert(header::ETAG, HeaderValue::from_static(self.etag));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }
}
