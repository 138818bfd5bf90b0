//! The pages of accounts, a file for each group of pages.

pub mod log_in;
pub mod recovery;
pub mod sessions;
pub mod settings;
pub mod sign_up;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use serde::Deserialize;

use crate::{config::Site, users, web::page::LocalPath};

/// The page to return to after a log-in or a sign-up.
#[derive(Deserialize)]
pub struct NextQuery {
    #[serde(default)]
    next: String,
}

/// The path in `next`, or the front page if it is not a path of this site.
fn local_path_or_home(next: &str) -> String {
    LocalPath::parse(next).map_or_else(|| "/".to_owned(), |next| next.as_str().to_owned())
}

/// Makes the browser forget the session.
fn forget_session(mut response: Response, site: &Site) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(&users::sessions::clearing_cookie(site)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// As [`forget_session`], and clears the site's storage in the browser.
///
/// Not `"cookies"`: that also clears the cookies of all other sites under the same registrable domain
/// (W3C Clear-Site-Data, 4.2.2), and the device would no longer be known.
fn forget_all(response: Response, site: &Site) -> Response {
    let mut response = forget_session(response, site);
    response.headers_mut().insert(
        HeaderName::from_static("clear-site-data"),
        HeaderValue::from_static("\"storage\""),
    );
    response
}
