//! Compression of what is sent.

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt as _;

use crate::{
    cpu,
    web::{
        Error,
        middleware::headers::{accepts, items},
    },
};

/// Less than this is not worth compressing, in bytes.
const WORTH_COMPRESSING: u64 = 32;

/// More than this takes the fastest level half a millisecond, in bytes.
const LONG: usize = 64 * 1024;

/// Compresses text with gzip, at the fastest level, for a client that accepts it. What has no length, such
/// as a stream, stays as it is.
///
/// Not brotli, which takes twice the time for what is sent once; the page cache and static files have it.
/// The whole body at once: a compressor for each client that reads slowly would take more memory than what
/// it compresses.
pub async fn compress(request: Request, next: Next) -> Response {
    let accepts_gzip = accepts(request.headers(), "gzip");
    let mut response = next.run(request).await;
    if !is_compressible(&response) {
        return response;
    }
    let headers = response.headers_mut();
    if !items(headers, &header::VARY).any(|name| name.eq_ignore_ascii_case("accept-encoding")) {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if !accepts_gzip {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let plain = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(err) => return Error::internal(err).into_response(),
    };
    let is_long = plain.len() > LONG;
    let packed = cpu::run_if(is_long, move || gzip(&plain, Compression::fast())).await;
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(head, Body::from(packed))
}

/// Whether the response is text of a known length that is not compressed yet.
fn is_compressible(response: &Response) -> bool {
    let headers = response.headers();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_text = kind.is_some_and(|kind| {
        kind.starts_with("text/") || ["json", "xml"].iter().any(|format| kind.contains(format))
    });
    let length = response.body().size_hint().exact();
    is_text
        && length.is_some_and(|length| length >= WORTH_COMPRESSING)
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// The bytes in gzip (RFC 1952).
pub fn gzip(plain: &[u8], level: Compression) -> Bytes {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), level);
    let packed = encoder.write_all(plain).and_then(|()| encoder.finish());
    packed.map(Bytes::from).unwrap_or_default()
}

/// The bytes in brotli (RFC 7932).
pub fn brotli(plain: &[u8]) -> Bytes {
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
