//! The project's `nginx.conf`, run by the nginx that is installed, in front of two real processes.

mod framing;
mod limits;
mod nginx;
mod passing;
mod processes;
mod upstream;

use std::time::Duration;

use axum::http::{Method, Request, request::Builder};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;

use crate::{
    program::Program,
    proxy::nginx::Nginx,
    support::{Database, Reply, TestSite, database, oracle},
};

const NAME: &str = "social.test";
const ORIGIN: &str = "https://social.test";
/// Long enough for a slow machine; what takes longer never comes.
const PATIENCE: Duration = Duration::from_mins(1);

fn request(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(format!("{ORIGIN}{path}")).header("host", NAME)
}

/// There the address alone says which host.
fn as_http2(request: Builder, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = request.body(Full::new(body.into())).unwrap();
    request.headers_mut().remove("host");
    request
}

fn form(path: &str, cookies: &str) -> Builder {
    request(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", ORIGIN)
        .header("cookie", cookies)
}

async fn whole(answer: hyper::Response<hyper::body::Incoming>) -> Reply {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Reply { status: head.status, headers: head.headers, body }
}

/// The rules for every response, from nginx or from the site: each security header once, with the site's own
/// value.
#[track_caller]
fn check(reply: &Reply, asked: &str, is_encrypted: bool) {
    let mut headers = reply.headers.clone();
    assert_eq!(headers.remove("server").unwrap(), "nginx", "{asked}: no version");
    // Over plain HTTP a redirect leads to another origin.
    headers.remove("location").filter(|_| !is_encrypted);
    let bare = Reply { status: reply.status, headers, body: String::new() };
    oracle::check_headers(&bare, asked);
    let strict: Vec<_> = reply.headers.get_all("strict-transport-security").iter().collect();
    let expected: &[&str] =
        if is_encrypted { &["max-age=63072000; includeSubDomains"] } else { &[] };
    assert_eq!(strict, expected, "{asked}");
    for name in ["x-request-id", "cache-control"] {
        assert_eq!(reply.headers.get_all(name).iter().count(), 1, "{asked}: {name}");
    }
    let is_late = matches!(reply.status.as_u16(), 429 | 503 | 504);
    assert!(!is_late || !reply.header("retry-after").is_empty(), "{asked}: no Retry-After");
}

/// A refusal of nginx's own, as a page or, below `/api/`, as a problem document.
#[track_caller]
fn check_refusal(reply: &Reply, asked: &str, status: u16) {
    assert_eq!(reply.status, status, "{asked}: {}", reply.body);
    if asked.contains(" /api/") {
        assert_eq!(reply.header("content-type"), "application/problem+json", "{asked}");
        assert_eq!(reply.json()["status"], status, "{asked}");
        assert!(reply.json()["detail"].as_str().unwrap().ends_with('.'), "{asked}");
    } else {
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8", "{asked}");
        reply.has("<h1>").has("href=\"/\"").has(reply.header("x-request-id")).lacks("<!--");
    }
}

/// The site behind nginx.
struct Chain {
    nginx: Nginx,
    processes: [Program; 2],
    site: TestSite,
    database: Database,
}

impl Chain {
    async fn new() -> Chain {
        Chain::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Chain {
        let database = database().await;
        let processes = [
            process(&database, "127.0.0.1:0", settings).await,
            process(&database, "127.0.0.1:0", settings).await,
        ];
        let nginx = Nginx::before([processes[0].address, processes[1].address]).await;
        let site = TestSite::over(database.options(), ORIGIN);
        Chain { nginx, processes, site, database }
    }
}

async fn process(database: &Database, listen: &str, settings: &[(&str, &str)]) -> Program {
    let mut all = vec![
        ("LISTEN_ADDR", listen),
        ("BASE_URL", ORIGIN),
        ("JWT_SECRET", "a secret of the tests, 32 bytes or more"),
    ];
    all.extend(settings);
    Program::start_with(&database.url, &all).await
}
