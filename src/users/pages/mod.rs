//! The face of accounts and people, a file for each group of pages.

pub mod entering;
pub mod places;
pub mod recovery;
pub mod settings;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

use crate::{config::Site, users::sessions};

/// Has the browser forget the session.
fn forget_session(mut response: Response, site: &Site) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(&sessions::clearing_cookie(site)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// As [`forget_session`], and whatever else the browser stored of the site.
///
/// Not `"cookies"`: that clears those of every other site under the same registrable domain as well
/// (W3C Clear-Site-Data, 4.2.2), and the device would be a stranger to its owner.
fn forget_all(response: Response, site: &Site) -> Response {
    let mut response = forget_session(response, site);
    response.headers_mut().insert(
        HeaderName::from_static("clear-site-data"),
        HeaderValue::from_static("\"storage\""),
    );
    response
}
