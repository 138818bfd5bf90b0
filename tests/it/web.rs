//! What every page has in common: headers, caching, what it costs, and how it fails.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use sqlx::postgres::PgConnectOptions;
use tower::ServiceExt as _;

use crate::{
    statements::{self, heard},
    support::{
        self, BROKEN_TITLES, PASSWORD, Reply, TestSite, Visitor, empty_database, encode, oracle,
        wire::{exchange, listen},
    },
};

/// Every page there is to read, with one post and one person.
const PAGES: [&str; 9] = [
    "/",
    "/new",
    "/top",
    "/top?t=week",
    "/search",
    "/search?q=post",
    "/posts/1",
    "/users",
    "/users/ada",
];
const FORMS: [&str; 5] = ["/posts/new", "/posts/1/edit", "/posts/1/delete", "/signup", "/login"];

// --- Headers ---

#[tokio::test]
async fn a_get_and_a_head_differ_in_nothing_but_the_body() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    site.post_by("ada", "A post").await;
    let address = listen(&site).await;
    let icon = link(&ada.get("/").await.body, "/static/");
    let more = [
        "/favicon.svg",
        "/favicon.ico",
        "/feed.atom",
        "/new/feed.atom",
        "/users/ada/feed.atom",
        "/users/bob/feed.atom",
        "/search/feed.atom?q=post",
        "/sitemap.xml",
        "/sitemap.xml?part=0",
        "/robots.txt",
        "/manifest.webmanifest",
        "/opensearch.xml",
        "/.well-known/security.txt",
        "/.well-known/change-password",
        "/healthz",
        "/readyz",
        "/nowhere",
        "/new/",
        "/posts/0",
        "/?after=x",
        &icon,
    ];

    for path in PAGES.iter().chain(&FORMS).chain(&more) {
        for cookie in ["", &ada.cookie_header()] {
            for coding in ["identity", "gzip", "br"] {
                let mut seen = Vec::new();
                for method in ["GET", "HEAD"] {
                    let request = format!(
                        "{method} {path} HTTP/1.1\r\nHost: site.test\r\nCookie: {cookie}\r\n\
                         Accept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
                    );
                    let reply = exchange(address, request).await.unwrap();
                    oracle::check_headers(&reply, path);
                    let mut headers = reply.headers;
                    for changing in ["x-request-id", "date", "transfer-encoding"] {
                        headers.remove(changing);
                    }
                    // The key in a new form is another each time, and so is the compressed length.
                    if headers.contains_key(header::CONTENT_ENCODING) {
                        headers.remove(header::CONTENT_LENGTH);
                    }
                    seen.push((reply.status, headers));
                }
                assert_eq!(seen[0], seen[1], "{path} {coding}");
            }
        }
    }
}

#[tokio::test]
async fn hsts_is_sent_over_https_only() {
    for (base_url, policy) in
        [("http://site.test", ""), ("https://site.test", "max-age=63072000; includeSubDomains")]
    {
        let site = TestSite::at(base_url).await;
        for path in ["/", "/nowhere", "/posts/new", "/healthz", "/favicon.svg"] {
            let reply = site.visitor().get(path).await;
            assert_eq!(reply.header("strict-transport-security"), policy, "{path}");
        }
    }
}

#[tokio::test]
async fn a_trailing_slash_redirects_to_the_canonical_path() {
    let site = TestSite::new().await;
    site.member("ada").await;
    let stranger = site.visitor();
    for (path, place) in [
        ("/new/", "/new"),
        ("/top/?t=week&after=x", "/top?t=week&after=x"),
        ("/users/ada//", "/users/ada"),
        ("//new/", "/new"),
        ("/nowhere/", "/nowhere"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let reply = stranger.send(stranger.request(method, path), "").await;
            assert_eq!((reply.status.as_u16(), reply.location()), (308, place), "{path}");
        }
    }
    assert_eq!(stranger.get("/").await.status, 200);
    // 308 sends a form on with all that is in it.
    let reply = stranger.post("/login/", &[("login", "ada"), ("password", PASSWORD)]).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (308, "/login"));
}

#[tokio::test]
async fn a_page_is_compressed_with_the_best_coding_that_the_client_accepts() {
    let site = TestSite::altered(|app| support::keep(app, Duration::from_hours(1))).await;
    let ada = site.member("ada").await;
    for n in 0..30 {
        site.post_by("ada", &format!("Post number {n}")).await;
    }
    let whole = site.visitor().get("/").await.body.len();
    for (accepts, coding, at_most) in [
        ("gzip, deflate, br, zstd", "br", whole / 6),
        ("br", "br", whole / 6),
        ("gzip", "gzip", whole / 5),
        ("gzip, br;q=0", "gzip", whole / 5),
        ("identity", "", whole),
    ] {
        let (status, headers, body) = file(&site, "/", &[("accept-encoding", accepts)]).await;
        let found = headers.get(header::CONTENT_ENCODING).map_or("", |v| v.to_str().unwrap());
        assert_eq!((status.as_u16(), found), (200, coding), "{accepts}");
        assert!(body.len() <= at_most, "{accepts}: {} of {whole}", body.len());
    }
    // A page for one viewer only is compressed fast rather than well.
    let request =
        ada.request(Method::GET, "/").header("accept-encoding", "gzip, deflate, br, zstd");
    let reply = site.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(reply.headers()[header::CONTENT_ENCODING], "gzip");
}

#[tokio::test]
async fn cache_control_lets_no_shared_cache_serve_one_viewers_page_to_another() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    ada.get("/").await;
    site.post_by("ada", "A post").await;

    let policies = |reply: &Reply| {
        let vary = reply.headers.get_all("vary").iter().map(|value| value.to_str().unwrap());
        let vary = vary.collect::<Vec<_>>().join(", ").to_lowercase();
        for name in ["cookie", "hx-request-type", "accept-encoding"] {
            let is_moot = reply.body.is_empty() && name == "accept-encoding";
            assert!(vary.contains(name) || is_moot, "{} {vary}", reply.status);
        }
        reply.header("cache-control").to_owned()
    };
    for path in PAGES {
        assert_eq!(policies(&site.visitor().get(path).await), "no-cache", "{path}");
        assert_eq!(policies(&site.visitor().get_part(path).await), "no-cache", "{path}");
        assert_eq!(policies(&ada.get(path).await), "private, no-cache", "{path}");
    }
    for path in FORMS {
        assert_eq!(policies(&site.visitor().get(path).await), "no-store", "{path}");
        assert_eq!(policies(&ada.get(path).await), "no-store", "{path}");
    }
    for path in ["/nowhere", "/posts/999", "/?after=x", "/search?q=%00"] {
        assert_eq!(policies(&ada.get(path).await), "private, no-cache", "{path}");
    }
}

#[tokio::test]
async fn reading_sets_no_cookie_and_writes_no_session() {
    let site = TestSite::new().await;
    site.post_by("ada", "A post").await;
    for path in PAGES.iter().chain(&FORMS).chain(&["/nowhere", "/healthz", "/favicon.ico"]) {
        let reply = site.visitor().get(path).await;
        assert_eq!(reply.cookies(), [""; 0], "{path}");
        let invented = site.visitor();
        invented.set_cookie("sid", "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(invented.get(path).await.cookies(), [""; 0], "{path} with an invented cookie");
    }
    assert_eq!(site.count("select count(*) from tower_sessions.session").await, 0);
}

// --- Files ---

async fn file(
    site: &TestSite,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = site.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn a_static_file_is_named_by_its_content_and_cached_for_ever() {
    let site = TestSite::new().await;
    let page = site.visitor().get("/").await.body;
    let (head, scripts) = page.split_once("<script").unwrap();
    let (style, script) = (link(head, "/static/"), link(scripts, "/static/"));

    for (path, kind) in [
        (style.as_str(), "text/css; charset=utf-8"),
        (&script, "text/javascript; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml; charset=utf-8"),
    ] {
        let (status, plain, body) = file(&site, path, &[]).await;
        assert_eq!((status, plain[header::CONTENT_TYPE].to_str().unwrap()), (StatusCode::OK, kind));
        let policy = plain[header::CACHE_CONTROL].to_str().unwrap();
        assert_eq!(policy.ends_with("immutable"), path.starts_with("/static/"), "{path} {policy}");
        assert!(!plain.contains_key(header::CONTENT_ENCODING));

        for (accepts, coding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("br")),
            ("br;q=0, GZIP", Some("gzip")),
            ("gzip;q=0.0, br;q=0", None),
            ("identity", None),
        ] {
            let (status, headers, sent) = file(&site, path, &[("accept-encoding", accepts)]).await;
            let found =
                headers.get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap());
            assert_eq!((status, found), (StatusCode::OK, coding), "{path} {accepts}");
            assert_eq!(sent.len() < body.len(), coding.is_some(), "{path} {accepts}");
            assert_eq!(sent.starts_with(&[0x1f, 0x8b]), coding == Some("gzip"), "{path} {accepts}");
            let vary = headers[header::VARY].to_str().unwrap().to_lowercase();
            assert!(vary.contains("accept-encoding"), "{path} {accepts}");
        }

        let etag = plain[header::ETAG].to_str().unwrap();
        for (known, status) in [
            (etag.to_owned(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"other\", {etag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
        ] {
            let (found, headers, sent) = file(&site, path, &[("if-none-match", &known)]).await;
            assert_eq!(found, status, "{path} {known}");
            assert_eq!(sent.is_empty(), status == 304, "{path} {known}");
            assert_eq!(headers[header::ETAG], etag);
        }
    }
    assert_eq!(file(&site, "/static/app.000000000000.css", &[]).await.0, StatusCode::NOT_FOUND);
}

/// The first address on the page that begins like this.
fn link(page: &str, start: &str) -> String {
    let rest = &page[page.find(&format!("\"{start}")).unwrap() + 1..];
    rest.split('"').next().unwrap().to_owned()
}

// --- What a page costs ---

#[tokio::test]
async fn no_page_runs_more_than_three_queries_and_a_feed_two() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let post = site.post_by("ada", "A post").await;
    statements::listen();

    let mut costs = BTreeMap::new();
    for (who, by) in [("nobody", &site.visitor()), ("ada", &ada)] {
        for path in PAGES.iter().chain(&FORMS) {
            heard();
            assert!(by.get(path).await.status.as_u16() < 400, "{path}");
            costs.insert(format!("{path} for {who}"), heard());
        }
    }
    let fields = [("title", "A title"), ("url", ""), ("body", "")];
    for (path, fields) in [
        ("/posts", &fields[..]),
        ("/posts/preview", &fields[..]),
        ("/posts/1/edit", &fields[..]),
        ("/posts/1/edit", &[("title", "")]),
        ("/posts/1/vote", &[("value", "1")]),
        ("/posts/1/delete", &[]),
    ] {
        heard();
        ada.post(path, fields).await;
        costs.insert(format!("{path} {fields:?}"), heard());
    }

    assert_eq!(post, 1);
    assert!(costs.values().any(|ran| ran.len() > 1), "nothing is heard");
    // A request without a session cookie does not query the sessions.
    assert_eq!(costs["/ for nobody"].len(), 1, "{costs:#?}");
    assert_eq!(costs["/login for nobody"].len(), 0, "{costs:#?}");
    // The viewer, and the posts with the viewer's votes.
    assert_eq!(costs["/ for ada"].len(), 2, "{costs:#?}");
    let dear: Vec<_> = costs.iter().filter(|(_, ran)| ran.len() > 3).collect();
    assert!(dear.is_empty(), "{dear:#?}");
}

// --- Failing ---

#[tokio::test]
async fn an_internal_error_is_a_page_with_a_reference_and_nothing_else() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let post = site.post_by("ada", "A post").await;
    sqlx::raw_sql(BROKEN_TITLES).execute(&site.db).await.unwrap();

    for (by, path) in [(&ada, "/"), (&ada, "/posts/1"), (&site.visitor(), "/posts/1")] {
        let page = by.get(path).await;
        assert_eq!(page.status, 500, "{path}");
        oracle::check_any(&page, path, &[PASSWORD, "division"]);
        page.has("<!doctype html>").has("href=\"/\"").has(page.header("x-request-id"));
        assert_eq!(page.header("retry-after"), "");
        let part = by.get_part(path).await;
        assert_eq!((part.status.as_u16(), part.header("hx-retarget")), (500, "#flash"));
        oracle::check_any(&part, path, &[PASSWORD, "division"]);
        part.has("role=\"alert\"").lacks("<!doctype");
    }
    let vote = ada.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
    assert_eq!(vote.status, 500);
    oracle::check_any(&vote, "a vote", &[PASSWORD, "division"]);

    let page = ada.post("/posts", &[("title", "Kept title"), ("body", "Kept body")]).await;
    assert_eq!(page.status, 500);
    page.has("Kept title").has("Kept body");
    assert_eq!(ada.get("/new").await.status, 500);
    assert_eq!(ada.get("/login").await.status, 303, "what needs no post goes on");
}

type Begin<'a> = &'a dyn Fn(&Visitor, &str) -> axum::http::request::Builder;

/// Each kind of error, as a page with a link onwards and as a message beside the form or button.
#[tokio::test]
async fn every_error_is_a_page_of_the_site_in_plain_words() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let bob = site.member("bob").await;
    site.post_by("ada", "A post").await;
    let long = "a".repeat(4097);
    let huge = format!("title={}", "a".repeat(520 * 1024));
    let form = |by: &Visitor, path: &str| by.form(path);
    let plain = |by: &Visitor, path: &str| by.form(path).header("content-encoding", "br");
    let foreign = |by: &Visitor, path: &str| {
        let request = by.request(Method::POST, path).header("sec-fetch-site", "cross-site");
        request.header("content-type", "application/x-www-form-urlencoded")
    };
    let get = |by: &Visitor, path: &str| by.request(Method::GET, path);
    let cases: [(u16, Begin, &Visitor, &str, &str); 12] = [
        (400, &get, &ada, "/?after=x", ""),
        (400, &form, &ada, "/posts/1/vote", "value=%FF"),
        (401, &form, &site.visitor(), "/posts/1/vote", "value=1"),
        (403, &get, &bob, "/posts/1/edit", ""),
        (403, &foreign, &ada, "/posts", "title=x"),
        (404, &get, &ada, "/<nowhere>", ""),
        (404, &get, &site.visitor(), "/posts/999", ""),
        (405, &get, &ada, "/logout", ""),
        (413, &form, &ada, "/posts/1/vote", &huge),
        (414, &get, &ada, &format!("/{long}"), ""),
        (415, &plain, &ada, "/posts/1/vote", "value=1"),
        (422, &form, &ada, "/posts/1/vote", "value=2"),
    ];
    for (status, begin, by, path, body) in cases {
        let path = path.replace('<', "%3C").replace('>', "%3E");
        let reply = by.send(begin(by, &path), body.to_owned()).await;
        let what = format!("{status} of {path:.60}");
        oracle::check(&reply, &what, &[PASSWORD]);
        assert_eq!(reply.status, status, "{what}");
        let words =
            reply.body.split_once("role=\"alert\"").unwrap().1.split_once("</p>").unwrap().0;
        assert!(words.ends_with('.') && words.len() > 10, "{what}: {words}");
        reply.has("<!doctype html>").has("<title>").has("href=\"/\"").has("</html>");

        let part =
            begin(by, &path).header("hx-request", "true").header("hx-request-type", "partial");
        let part = by.send(part, body.to_owned()).await;
        oracle::check(&part, &what, &[PASSWORD]);
        assert_eq!(part.status, status, "{what}, as a part");
        part.has("role=\"alert\"").lacks("<!doctype").lacks("<html");
        assert!(part.header("hx-retarget").starts_with('#'), "{what}, as a part");
    }
}

/// A site whose database cannot be reached.
fn cut_off() -> TestSite {
    let nowhere = PgConnectOptions::new().host("127.0.0.1").port(1).username("x").database("x");
    TestSite::over(nowhere, "http://site.test")
}

#[tokio::test]
async fn without_the_database_every_page_is_a_503_with_retry_after() {
    let site = Arc::new(cut_off());
    let mut asked = tokio::task::JoinSet::new();
    // No more at once than have a place, or some would be told that the site is busy.
    let at_once = Arc::new(tokio::sync::Semaphore::new(16));
    for path in PAGES.iter().chain(&FORMS) {
        for is_member in [false, true] {
            for is_part in [false, true] {
                let (site, at_once) = (site.clone(), at_once.clone());
                asked.spawn(async move {
                    let _turn = at_once.acquire().await.unwrap();
                    let by = returning(&site, is_member);
                    let reply = if is_part { by.get_part(path).await } else { by.get(path).await };
                    (*path, is_member, is_part, reply)
                });
            }
        }
    }
    for (path, is_member, is_part, reply) in asked.join_all().await {
        let what = format!("{path} member: {is_member}, part: {is_part}");
        oracle::check(&reply, &what, &[PASSWORD]);
        assert_eq!(reply.cookies(), [""; 0], "{what}: nobody is logged out by an outage");
        let needs_login = path.starts_with("/posts/") && path != "/posts/1";
        let status = match path {
            "/signup" | "/login" | "/search" => 200,
            _ if needs_login && !is_member => {
                if is_part {
                    401
                } else {
                    303
                }
            }
            _ => 503,
        };
        assert_eq!(reply.status, status, "{what}");
        if status == 503 {
            reply.has("reach its database right now");
            assert_eq!(reply.body.contains("<!doctype html>"), !is_part, "{what}");
        }
    }

    let stranger = site.visitor();
    assert_eq!(stranger.get("/healthz").await.status, 200);
    assert_eq!(stranger.get("/favicon.svg").await.status, 200);
    let ready = stranger.get("/readyz").await;
    oracle::check(&ready, "/readyz", &[]);
    assert_eq!(ready.status, 503);
}

fn returning(site: &TestSite, is_member: bool) -> Visitor {
    let visitor = site.visitor();
    if is_member {
        visitor.set_cookie("sid", "AAAAAAAAAAAAAAAAAAAAAA");
    }
    visitor
}

#[tokio::test]
async fn without_the_database_a_form_keeps_all_that_was_typed_but_passwords() {
    let site = Arc::new(cut_off());
    let post = [("title", "Kept title"), ("url", "https://kept.test/"), ("body", "Kept body")];
    let account = [("username", "keptname"), ("email", "kept@example.org"), ("password", PASSWORD)];
    let login = [("login", "keptname"), ("password", PASSWORD), ("next", "/kept")];
    let mut asked = tokio::task::JoinSet::new();
    for (path, fields) in [
        ("/posts", post),
        ("/posts/7/edit", post),
        ("/posts/preview", post),
        ("/signup", account),
        ("/login", login),
    ] {
        for is_member in [true, false] {
            let site = site.clone();
            asked.spawn(async move {
                let reply = returning(&site, is_member).post(path, &fields).await;
                let part = returning(&site, is_member).post_part(path, &fields).await;
                (path, fields, is_member, reply, part)
            });
        }
    }
    for (path, fields, is_member, reply, part) in asked.join_all().await {
        let is_known_to_nobody = path.starts_with("/posts") && !is_member;
        let status = if is_known_to_nobody { 401 } else { 503 };
        assert_eq!(
            (reply.status, part.status),
            (StatusCode::from_u16(status).unwrap(), StatusCode::from_u16(status).unwrap()),
            "{path}"
        );
        for reply in [&reply, &part] {
            oracle::check(reply, path, &[PASSWORD]);
            assert_eq!(reply.cookies(), [""; 0]);
        }
        for (name, value) in fields {
            if name != "password" {
                reply.has(&format!("name=\"{name}\""));
                reply.has(value);
            }
        }
        let action = if path == "/posts/preview" { "/posts" } else { path };
        reply.has(&format!("action=\"{action}\""));
    }

    let member = returning(&site, true);
    let vote = member.post_part("/posts/7/vote", &[("value", "1")]).await;
    assert_eq!((vote.status.as_u16(), vote.header("hx-retarget")), (503, "#vote-7"));
    oracle::check(&vote, "a vote", &[]);
    let out = member.send(member.form("/logout"), encode(&[])).await;
    assert_eq!(out.status, 503, "nobody is told that they are logged out while they are not");
}

#[tokio::test]
async fn readiness_needs_the_schema_version_of_this_program() {
    let ready = async |site: &TestSite| {
        let reply = site.visitor().get("/readyz").await;
        oracle::check(&reply, "/readyz", &[]);
        assert_eq!(site.visitor().get("/healthz").await.status, 200);
        reply.status.as_u16()
    };
    assert_eq!(ready(&TestSite::new().await).await, 200);
    let empty = empty_database().await;
    assert_eq!(ready(&TestSite::over(empty.options(), "http://site.test")).await, 503);
}
