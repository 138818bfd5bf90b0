//! Static files: style, script and icons. `build.rs` puts a hash of the content into each name and
//! compresses the files, so browsers may cache them for ever and nothing is compressed per request.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::web::{Error, etag::is_held, extract::Path, middleware::headers::accepts};

/// A static file, embedded in the program.
pub struct Asset {
    /// Its URL path, with the hash.
    pub path: &'static str,
    content_type: &'static str,
    etag: &'static str,
    plain: &'static [u8],
    /// Compressed with brotli and with gzip, where that makes it smaller.
    compressed: Option<[&'static [u8]; 2]>,
}

/// The files that pages and the manifest refer to.
static ASSETS: [&Asset; 7] = [&CSS, &JS, &ICON, &TOUCH_ICON, &ICON_192, &ICON_512, &MASKABLE_ICON];

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// `/static/{name}`. The name changes with the content, so the response may be cached for ever.
pub async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Error> {
    let is_named = |asset: &&&Asset| asset.path.strip_prefix("/static/") == Some(name.as_str());
    let asset = ASSETS.iter().find(is_named).copied().ok_or(Error::NotFound)?;
    Ok(asset.response(&headers, "public, max-age=31536000, immutable"))
}

/// `/favicon.svg`, under a name that stays the same: cached for a day.
pub async fn icon(headers: HeaderMap) -> Response {
    ICON.response(&headers, "public, max-age=86400")
}

/// `/favicon.ico`, which browsers without SVG icons request without being told to.
pub async fn old_icon(headers: HeaderMap) -> Response {
    OLD_ICON.response(&headers, "public, max-age=86400")
}

impl Asset {
    pub fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// 304 if the client holds this version, else the content in the best coding that it accepts.
    fn response(&self, headers: &HeaderMap, cache_control: &'static str) -> Response {
        let (encoding, body) = match self.compressed {
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
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
        headers.insert(header::ETAG, HeaderValue::from_static(self.etag));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    }
}
