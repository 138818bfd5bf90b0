//! Flash messages: one sentence on the page after a form's redirect.
//!
//! The cookie holds one of a fixed set of keys, so it needs no session, and nobody can make the site
//! show other text.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};

use crate::{
    config::Site,
    web::{cookies, htmx::wants_fragment},
};

/// A flash message. A response carries it as an extension to [`flash_layer`], and a request on to the
/// page that shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flash {
    Welcome,
    LoggedIn,
    Published,
    Edited,
    Deleted,
    PasswordChanged,
    EmailChanged,
    LinkSent,
    EmailConfirmed,
    ResetSent,
    PasswordReset,
    SessionEnded,
    OthersEnded,
    AccountDeleted,
}

/// Each message with its key in the cookie and its text.
const ALL: [(Flash, &str, &str); 14] = [
    (Flash::Welcome, "welcome", "Welcome! Your account is ready."),
    (Flash::LoggedIn, "logged-in", "You are logged in."),
    (Flash::Published, "published", "Your post is live."),
    (Flash::Edited, "edited", "Your changes are saved."),
    (Flash::Deleted, "deleted", "Your post is deleted."),
    (
        Flash::PasswordChanged,
        "password-changed",
        "Your password is changed. You are logged out everywhere else.",
    ),
    (Flash::EmailChanged, "email-changed", "Your e-mail address is changed."),
    (
        Flash::LinkSent,
        "link-sent",
        "We sent a link to that address. Open it within 30 minutes to confirm.",
    ),
    (Flash::EmailConfirmed, "email-confirmed", "Your e-mail address is confirmed."),
    (
        Flash::ResetSent,
        "reset-sent",
        "If an account has that address, we sent it a link to set a new password.",
    ),
    (Flash::PasswordReset, "password-reset", "Your password is changed. Log in with it."),
    (Flash::SessionEnded, "session-ended", "That device is logged out."),
    (Flash::OthersEnded, "others-ended", "You are logged out everywhere else."),
    (
        Flash::AccountDeleted,
        "account-deleted",
        "Your account is deleted, with your posts and votes.",
    ),
];

impl Flash {
    pub fn message(self) -> &'static str {
        ALL.iter().find(|(flash, ..)| *flash == self).map_or("", |(_, _, message)| message)
    }

    /// Its key in the cookie.
    fn key(self) -> &'static str {
        ALL.iter().find(|(flash, ..)| *flash == self).map_or("", |(_, key, _)| key)
    }

    fn parse(key: &str) -> Option<Flash> {
        ALL.iter().find(|(_, known, _)| *known == key).map(|(flash, ..)| *flash)
    }

    /// The response, which makes the next page show this message.
    pub fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// Passes the cookie's message on to the page, deletes the cookie once a whole page has shown it, and
/// sets the cookie for the message that a handler leaves for the next page.
pub async fn flash_layer(
    State(site): State<Arc<Site>>,
    mut request: Request,
    next: Next,
) -> Response {
    let name = site.cookie_name("flash");
    let waiting = waiting(request.headers(), &name);
    let shows = request.method() == Method::GET && !wants_fragment(request.headers());
    if let (Some(flash), true) = (waiting, shows) {
        request.extensions_mut().insert(flash);
    }
    let mut response = next.run(request).await;
    let cookie = match response.extensions().get::<Flash>() {
        Some(flash) => Some(cookies::build(&site, "flash", flash.key(), 60)),
        None => (waiting.is_some() && shows && response.status().is_success())
            .then(|| cookies::build(&site, "flash", "", 0)),
    };
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The message that waits for a page to show it.
fn waiting(headers: &HeaderMap, name: &str) -> Option<Flash> {
    Flash::parse(cookies::read(headers, name)?)
}
