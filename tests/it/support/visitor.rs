//! One browser: it keeps cookies and sends what browsers send.

use std::{collections::BTreeMap, net::SocketAddr, sync::Mutex};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header, request::Builder},
};
use http_body_util::BodyExt as _;
use social_post::server::Peer;
use tower::ServiceExt as _;

/// The proxy through which every visitor comes.
const PROXY: Peer =
    Peer(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711));

pub struct Visitor {
    router: Router,
    origin: String,
    cookies: Mutex<BTreeMap<String, String>>,
    /// As the proxy sees it; none where the visitor sits beside the site.
    address: Option<String>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    /// A header's value, or "" without one.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn location(&self) -> &str {
        self.header("location")
    }

    pub fn cookies(&self) -> Vec<&str> {
        self.headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    /// What the page says is wrong with `field`.
    pub fn problem(&self, field: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("id=\"{field}-error\">"))?;
        let (_, rest) = rest.split_once("</svg>")?;
        rest.split_once("</p>").map(|(problem, _)| problem)
    }

    /// What the form on the page carries along unseen.
    pub fn hidden(&self, field: &str) -> Option<&str> {
        let start = format!("<input type=\"hidden\" name=\"{field}\" value=\"");
        self.body.split_once(&start)?.1.split_once('"').map(|(value, _)| value)
    }

    /// The ids of the posts on the page, in order.
    pub fn posts(&self) -> Vec<i64> {
        let ids = self.body.split("<article class=\"post\" id=\"post-").skip(1);
        ids.map(|rest| rest.split_once('"').unwrap().0.parse().unwrap()).collect()
    }

    /// Where the list goes on.
    pub fn next(&self) -> Option<String> {
        let (_, rest) = self.body.split_once("rel=\"next\" href=\"")?;
        Some(rest.split_once('"')?.0.replace("&#38;", "&").replace("&amp;", "&"))
    }

    #[track_caller]
    pub fn has(&self, text: &str) -> &Reply {
        assert!(self.body.contains(text), "no {text:?} in {} {}", self.status, self.body);
        self
    }

    #[track_caller]
    pub fn lacks(&self, text: &str) -> &Reply {
        assert!(!self.body.contains(text), "{text:?} in {} {}", self.status, self.body);
        self
    }
}

impl Visitor {
    pub fn new(router: Router, origin: &str) -> Visitor {
        Visitor { router, origin: origin.to_owned(), cookies: Mutex::default(), address: None }
    }

    /// The same visitor at another address.
    pub fn at_address(self, address: &str) -> Visitor {
        Visitor { address: Some(address.to_owned()), ..self }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path), "").await
    }

    /// As htmx asks for a part of the page.
    pub async fn get_part(&self, path: &str) -> Reply {
        let request = self.request(Method::GET, path);
        self.send(request.header("hx-request", "true").header("hx-request-type", "partial"), "")
            .await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(self.form(path), encode(fields)).await
    }

    /// The same form, sent by htmx for a part of the page.
    pub async fn post_part(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let request =
            self.form(path).header("hx-request", "true").header("hx-request-type", "partial");
        self.send(request, encode(fields)).await
    }

    /// A form's request as a browser begins it.
    pub fn form(&self, path: &str) -> Builder {
        self.request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, &self.origin)
            .header("sec-fetch-site", "same-origin")
    }

    pub fn request(&self, method: Method, path: &str) -> Builder {
        let host = self.origin.split_once("://").unwrap().1;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        let cookies = self.cookie_header();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies);
        }
        if let Some(address) = &self.address {
            request = request.header("x-forwarded-for", address);
        }
        request.extension(PROXY)
    }

    pub async fn send(&self, request: Builder, body: impl Into<Body>) -> Reply {
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, mut body) = response.into_parts();
        let kind = head.headers.get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap());
        // A stream has no end; its beginning says enough.
        let bytes = if kind.starts_with("text/event-stream") {
            let first = body.frame().await.map(|frame| frame.unwrap().into_data().unwrap());
            first.unwrap_or_default()
        } else {
            body.collect().await.unwrap().to_bytes()
        };
        let body = if kind.starts_with("image/") {
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            String::from_utf8(bytes.into()).unwrap()
        };
        let reply = Reply { status: head.status, headers: head.headers, body };
        self.keep(&reply);
        reply
    }

    /// What the browser would send as `Cookie`.
    pub fn cookie_header(&self) -> String {
        let cookies = self.cookies.lock().unwrap();
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    /// As when the cookie's time is over.
    pub fn forget(&self, name: &str) {
        self.cookies.lock().unwrap().remove(name);
    }

    fn keep(&self, reply: &Reply) {
        let mut cookies = self.cookies.lock().unwrap();
        for line in reply.cookies() {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

pub fn encode(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}
