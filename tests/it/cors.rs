//! Which pages of other sites may call the API from a browser: none, but those that are listed.

use axum::http::{HeaderName, Method, header, request::Builder};
use serde_json::json;
use social_post::routes::router;

use crate::support::{Caller, Reply, TestSite, oracle};

const LISTED: [&str; 2] = ["https://good.test", "http://localhost:3000"];

/// Those that a careless comparison would take for one of them.
const UNLISTED: [&str; 22] = [
    "https://evil.test",
    "http://good.test",
    "https://good.test:443",
    "https://good.test:8443",
    "https://good.test/",
    "https://good.test.evil.test",
    "https://good.test@evil.test",
    "https://evilgood.test",
    "https://sub.good.test",
    "https://good.tes",
    "https://good.testx",
    "HTTPS://GOOD.TEST",
    "https://good.test https://evil.test",
    "https://good.test,https://evil.test",
    " https://good.test ",
    "https://localhost:3000",
    "http://localhost",
    "http://localhost:30000",
    "http://127.0.0.1:3000",
    "null",
    "*",
    "",
];

/// The same site, with listed origins.
async fn listing() -> TestSite {
    let mut site = TestSite::new().await;
    site.app.origins = LISTED.map(|origin| origin.parse().unwrap()).into();
    site.router = router(site.app.clone());
    site
}

fn preflight(by: &Caller, path: &str, origin: &str, method: &str) -> Builder {
    by.request(Method::OPTIONS, path)
        .header(header::ORIGIN, origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization, content-type")
        .header("access-control-request-private-network", "true")
}

fn of_cors(reply: &Reply) -> Vec<String> {
    let names = reply.headers.keys().map(HeaderName::as_str);
    names.filter(|name| name.starts_with("access-control-")).map(str::to_owned).collect()
}

fn varies(reply: &Reply) -> bool {
    let lines = reply.headers.get_all(header::VARY).iter();
    lines.into_iter().any(|line| line.to_str().unwrap().to_lowercase().contains("origin"))
}

/// The rest of the response is unchanged.
fn check(reply: Reply, asked: &str) {
    let mut reply = reply;
    for name in of_cors(&reply) {
        reply.headers.remove(name.as_str());
    }
    oracle::check(&reply, asked, &[]);
}

#[tokio::test]
async fn without_listed_origins_there_are_no_cors_headers_and_no_preflight() {
    let site = TestSite::new().await;
    site.member("ada").await;
    let post = site.post_by("ada", "A title").await;
    let ada = site.caller_of("ada").await;
    for path in ["/posts", &format!("/posts/{post}"), "/users/me", "/login", "/openapi.json"] {
        for origin in LISTED.into_iter().chain(UNLISTED).chain(["http://site.test"]) {
            for method in ["GET", "POST", "DELETE"] {
                // The oracle sees to it that there is no header of the kind.
                let reply = ada.send(preflight(&ada, path, origin, method), "").await;
                assert_eq!(reply.status, 405, "{path} {origin}");
            }
            let request = ada.request(Method::GET, path).header(header::ORIGIN, origin);
            let reply = ada.send(request, "").await;
            assert!(!varies(&reply), "{path}");
        }
    }
}

#[tokio::test]
async fn cors_allows_exactly_the_listed_origins_and_never_credentials() {
    let site = listing().await;
    site.member("ada").await;
    let post = site.post_by("ada", "A title").await;
    let ada = site.caller_of("ada").await;
    let paths = ["/posts", &format!("/posts/{post}"), "/users/me", "/posts/987654", "/nothing"];
    for path in paths {
        for (origin, is_listed) in LISTED
            .map(|origin| (origin, true))
            .into_iter()
            .chain(UNLISTED.map(|origin| (origin, false)))
        {
            let what = format!("{path} {origin:?}");
            let request = ada.request(Method::GET, path).header(header::ORIGIN, origin);
            let reply = ada.visitor.send(request, "").await;
            let allowed = if is_listed { origin } else { "" };
            assert_eq!(reply.header("access-control-allow-origin"), allowed, "{what}");
            assert!(varies(&reply), "{what}");
            let plain = ada.visitor.send(ada.request(Method::GET, path), "").await;
            assert_eq!((reply.status, &reply.body), (plain.status, &plain.body), "{what}");
            assert!(
                varies(&plain) && of_cors(&plain) == ["access-control-expose-headers"],
                "{what}"
            );
            assert_eq!(reply.header("access-control-allow-credentials"), "", "{what}");
            check(reply, &what);

            let reply = ada.visitor.send(preflight(&ada, path, origin, "PATCH"), "").await;
            assert_eq!(reply.header("access-control-allow-origin"), allowed, "{what}");
            assert!(varies(&reply), "{what}");
            assert_eq!(reply.header("access-control-allow-credentials"), "", "{what}");
            assert_eq!(reply.header("access-control-allow-private-network"), "", "{what}");
            let age: u64 = reply.header("access-control-max-age").parse().unwrap();
            assert!(age <= 600, "{age}");
            let methods = reply.header("access-control-allow-methods").to_owned();
            let mut methods: Vec<_> = methods.split(',').map(str::trim).collect();
            methods.sort_unstable();
            assert_eq!(methods, ["DELETE", "GET", "PATCH", "POST", "PUT"], "{what}");
            let headers = reply.header("access-control-allow-headers").to_lowercase();
            let mut headers: Vec<_> = headers.split(',').map(str::trim).collect();
            headers.sort_unstable();
            assert_eq!(headers, ["authorization", "content-type", "idempotency-key"], "{what}");
            check(reply, &what);
        }
    }

    // Also where something fails, so that a page can tell what.
    let nobody = site.caller();
    for (request, body, status) in [
        (nobody.document(Method::POST, "/posts"), "{}", 401),
        (ada.document(Method::POST, "/posts"), "{", 400),
        (ada.document(Method::POST, "/posts"), "{}", 422),
        (nobody.request(Method::PUT, "/posts"), "", 405),
        (nobody.request(Method::GET, "/users/me").header("authorization", "Bearer x"), "", 401),
    ] {
        let reply = nobody.visitor.send(request.header(header::ORIGIN, LISTED[0]), body).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("access-control-allow-origin"), LISTED[0], "{status}");
        check(reply, "a failure");
    }
    let request = ada.document(Method::POST, "/posts").header(header::ORIGIN, LISTED[1]);
    let reply = ada.visitor.send(request, json!({ "title": "x" }).to_string()).await;
    assert_eq!(reply.status, 201);
    let exposed = reply.header("access-control-expose-headers").to_lowercase();
    for name in ["location", "retry-after", "www-authenticate"] {
        assert!(exposed.contains(name), "{exposed}");
    }

    // Two origins are invalid, and pages never have CORS headers.
    let request = ada.request(Method::GET, "/posts");
    let twice =
        request.header(header::ORIGIN, LISTED[0]).header(header::ORIGIN, "https://evil.test");
    let reply = ada.visitor.send(twice, "").await;
    assert_ne!(reply.header("access-control-allow-origin"), "https://evil.test");
    for path in
        ["/", "/posts", "/login", "/static/nothing.css", "/healthz", "/api", "/api/v2/posts"]
    {
        for method in [Method::GET, Method::OPTIONS] {
            let request = site.visitor().request(method, path).header(header::ORIGIN, LISTED[0]);
            let reply = site.visitor().send(request, "").await;
            assert_eq!(of_cors(&reply), [""; 0], "{path}");
        }
    }
}
