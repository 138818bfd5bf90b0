//! One sentence for the next page, after a form has done its work and redirected.
//!
//! It travels in a cookie that holds one known word, so it needs no session and nobody can put
//! words into the site's mouth.

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
    (Flash::EmailChanged, "email-changed", "Your address is changed."),
    (
        Flash::LinkSent,
        "link-sent",
        "A link is on its way to that address. Follow it within 30 minutes to make the address yours.",
    ),
    (Flash::EmailConfirmed, "email-confirmed", "The address is confirmed."),
    (
        Flash::ResetSent,
        "reset-sent",
        "If an account has that address, a link to a new password is on its way there.",
    ),
    (Flash::PasswordReset, "password-reset", "Your password is changed. Log in with it."),
    (Flash::SessionEnded, "session-ended", "That device is logged out."),
    (Flash::OthersEnded, "others-ended", "You are logged out everywhere else."),
    (Flash::AccountDeleted, "account-deleted", "Your account is deleted, with all that was yours."),
];

impl Flash {
    pub fn message(self) -> &'static str {
        ALL.iter().find(|(flash, ..)| *flash == self).map_or("", |(_, _, message)| message)
    }

    fn word(self) -> &'static str {
        ALL.iter().find(|(flash, ..)| *flash == self).map_or("", |(_, word, _)| word)
    }

    fn parse(word: &str) -> Option<Flash> {
        ALL.iter().find(|(_, known, _)| *known == word).map(|(flash, ..)| *flash)
    }

    /// Has the next page say it.
    pub fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// Reads the sentence for this page, drops it once a whole page has shown it, and sets the one
/// that a handler left for the next.
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
        Some(flash) => Some(cookies::build(&site, "flash", flash.word(), 60)),
        None => (waiting.is_some() && shows && response.status().is_success())
            .then(|| cookies::build(&site, "flash", "", 0)),
    };
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn waiting(headers: &HeaderMap, name: &str) -> Option<Flash> {
    Flash::parse(cookies::read(headers, name)?)
}
