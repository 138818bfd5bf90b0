//! Pages on their way out, and what all of them show around their content.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, Uri, header, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    config::Site,
    identity::{UserId, Viewer},
    web::{Error, flash::Flash},
};

/// A view struct on its way out as `text/html`.
pub struct Page<T>(pub T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            // A form gives back what was typed; U+0000 stands in no HTML (WHATWG, 13.2.3.5).
            Ok(html) if html.contains('\0') => Html(html.replace('\0', "\u{FFFD}")).into_response(),
            Ok(html) => Html(html).into_response(),
            Err(err) => Error::internal(err).into_response(),
        }
    }
}

/// What the layout shows around every page.
#[derive(Clone)]
pub struct PageContext {
    pub site: Arc<Site>,
    pub viewer: Option<Viewer>,
    pub flash: Option<Flash>,
    /// Path and query of this page: where a log-in leads back to.
    pub current_path: String,
    /// Where the page hears what changes while it is open.
    pub stream_url: Option<StreamUrl>,
}

/// The address of a stream of changes, for the page that is being made.
#[derive(Debug, Clone)]
pub struct StreamUrl(pub String);

impl PageContext {
    /// What the site is for, where a page has nothing of its own to say.
    pub const DESCRIPTION: &str =
        "Share links and short texts, vote for what you like, find things again.";

    /// The context of a page about which nothing is known but its address.
    pub fn bare(site: &Arc<Site>, uri: &Uri) -> PageContext {
        let current_path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        PageContext {
            site: site.clone(),
            viewer: None,
            flash: None,
            current_path,
            stream_url: None,
        }
    }

    pub fn viewer_id(&self) -> Option<UserId> {
        self.viewer.as_ref().map(|viewer| viewer.id)
    }

    /// The address of a page of this site, as others are to write it.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.site.base_url.origin())
    }

    /// The address that leads through the log-in page and back to `anchor` on this page.
    pub fn log_in_url(&self, anchor: &str) -> String {
        login_url(&format!("{}{anchor}", self.current_path))
    }
}

impl<S: Sync> FromRequestParts<S> for PageContext
where
    Arc<Site>: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<PageContext, Self::Rejection> {
        let mut context = PageContext::bare(&Arc::from_ref(state), &parts.uri);
        context.viewer = parts.extensions.get().cloned();
        context.flash = parts.extensions.get().copied();
        context.stream_url = parts.extensions.get().cloned();
        Ok(context)
    }
}

/// A place on this site to go on to: an absolute path of at most 512 bytes.
///
/// Nothing in it can lead a browser to another site: no second slash or backslash at the start, no
/// control character (browsers drop tabs and line ends from addresses), ASCII only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath(String);

impl LocalPath {
    pub fn parse(text: &str) -> Option<LocalPath> {
        (is_local_path(text) && text.len() <= 512).then(|| LocalPath(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a browser that is sent to `path` stays on this site.
pub fn is_local_path(path: &str) -> bool {
    let is_local = path.strip_prefix('/').is_some_and(|rest| !rest.starts_with('/'));
    is_local && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// 303: the answer to a form that did what it should.
pub fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// `/login` with the way back, where the log-in would lead there.
pub fn login_url(next: &str) -> String {
    with_next("/login", next)
}

/// The same for `/signup`.
pub fn signup_url(next: &str) -> String {
    with_next("/signup", next)
}

fn with_next(door: &str, next: &str) -> String {
    const UNSAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');
    match next {
        "/" | "/login" | "/signup" => door.to_owned(),
        next if LocalPath::parse(next).is_none() => door.to_owned(),
        next => format!("{door}?next={}", utf8_percent_encode(next, UNSAFE)),
    }
}

/// The page of this site on which the visitor acted: htmx says it itself, a form's `Referer` does.
pub fn referring_page(headers: &HeaderMap, site: &Site) -> Option<String> {
    let url = headers.get("hx-current-url").or_else(|| headers.get(header::REFERER))?;
    let url = url::Url::parse(url.to_str().ok()?).ok()?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_ours = url.origin().ascii_serialization() == site.base_url.origin()
        || host
            .is_some_and(|host| url[url::Position::BeforeHost..url::Position::AfterPort] == *host);
    if !is_ours {
        return None;
    }
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    LocalPath::parse(path).map(|path| path.as_str().to_owned())
}
