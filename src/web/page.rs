//! HTML responses, what the layout shows around every page, and addresses on this site.

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

/// A response that renders a template as `text/html`.
pub struct Page<T>(pub T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            // A form shows again what was typed, and HTML cannot have U+0000 (WHATWG, 13.2.3.5).
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
    /// Path and query of this page, which a log-in returns to.
    pub current_path: String,
    /// The stream of changes that the open page connects to.
    pub stream_url: Option<StreamUrl>,
}

/// The URL of the event stream for a page that is being rendered. A request extension.
#[derive(Debug, Clone)]
pub struct StreamUrl(pub String);

impl PageContext {
    /// The description of pages that have none of their own.
    pub const DESCRIPTION: &str =
        "Share links and short texts, vote for what you like, find things again.";

    /// The context of a page without a viewer or a message.
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

    /// The id of the viewer; `None` without a session.
    pub fn viewer_id(&self) -> Option<UserId> {
        self.viewer.as_ref().map(|viewer| viewer.id)
    }

    /// The absolute URL of a path on this site.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.site.base_url.origin())
    }

    /// The URL of the log-in page, which leads back to `anchor` on this page.
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

/// A path on this site to redirect to: absolute, at most 512 bytes.
///
/// It cannot lead a browser to another site: no second slash or backslash at the start, no control
/// characters (browsers drop tabs and line ends from URLs), ASCII only.
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

/// Whether a browser that is redirected to `path` stays on this site.
pub fn is_local_path(path: &str) -> bool {
    let is_local = path.strip_prefix('/').is_some_and(|rest| !rest.starts_with('/'));
    is_local && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// 303 See Other: the response to a form that succeeded.
pub fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// `/login`, with `next` as the page to return to unless that is the default or not a [`LocalPath`].
pub fn login_url(next: &str) -> String {
    with_next("/login", next)
}

/// The same for `/signup`.
pub fn signup_url(next: &str) -> String {
    with_next("/signup", next)
}

fn with_next(path: &str, next: &str) -> String {
    const UNSAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');
    match next {
        "/" | "/login" | "/signup" => path.to_owned(),
        next if LocalPath::parse(next).is_none() => path.to_owned(),
        next => format!("{path}?next={}", utf8_percent_encode(next, UNSAFE)),
    }
}

/// The page of this site that the request was sent from, as htmx's own header or `Referer` names it.
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
