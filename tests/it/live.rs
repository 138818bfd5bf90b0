//! Pages that are kept for everybody, and what open pages hear.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, StatusCode, header},
};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::json;
use social_post::{
    live::{self, Live},
    routes::router,
    server::Shutdown,
    web::cache::Versions,
};
use sqlx::Executor as _;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::{
    statements,
    support::{self, PASSWORD, TestSite, Visitor, database, oracle},
};

/// Longer than any test.
const EVER: Duration = Duration::from_hours(1);

/// A site that keeps pages until it is told that something on them has changed.
async fn keeping() -> TestSite {
    TestSite::altered(keep).await
}

fn keep(app: &mut social_post::routes::App) {
    support::keep(app, EVER);
}

/// Reads a page twice, so that it is kept.
async fn read(site: &TestSite, path: &str) -> String {
    let reader = site.visitor();
    let first = reader.get(path).await;
    oracle::check(&first, path, &[]);
    assert_eq!(first.status, 200, "{path}");
    let second = reader.get(path).await;
    assert_eq!(first.body, second.body, "{path}");
    assert_eq!(first.header("etag"), second.header("etag"), "{path}");
    first.body
}

fn score(page: &str, post: i64) -> &str {
    let (_, rest) = page.split_once(&format!("id=\"score-{post}\">")).expect("the post's score");
    rest.split_once('<').unwrap().0
}

#[tokio::test]
async fn every_change_through_pages_or_api_invalidates_the_page_cache() {
    let site = keeping().await;
    let ada = site.member("ada").await;
    let bob = site.program("bob").await;
    assert!(read(&site, "/users").await.contains(">bob<"));
    assert!(read(&site, "/new").await.contains("Nothing here yet"));

    let by_form = ada.post("/posts", &[("title", "By form"), ("url", ""), ("body", "")]).await;
    assert_eq!(by_form.status, 303);
    let form = by_form.location().to_owned();
    let form_id: i64 = form.trim_start_matches("/posts/").parse().unwrap();
    assert!(read(&site, "/new").await.contains("By form"));
    let by_api = bob.post("/posts", &json!({ "title": "By program" })).await;
    let api_id = by_api.member("id").as_i64().unwrap();
    let api = format!("/posts/{api_id}");
    assert!(read(&site, "/new").await.contains("By program"));
    assert!(read(&site, "/users").await.contains("1 post"));

    for (path, expected) in [("/", "0"), (form.as_str(), "0")] {
        assert_eq!(score(&read(&site, path).await, form_id), expected, "{path}");
    }
    ada.post(&format!("{form}/vote"), &[("value", "1")]).await;
    for path in ["/", "/new", "/top", "/users/ada", &form, "/search?q=form"] {
        assert_eq!(score(&read(&site, path).await, form_id), "1", "{path}");
    }
    bob.put(&format!("{form}/vote"), &json!({})).await;
    for path in ["/", "/new", "/top", "/users/ada", &form, "/search?q=form"] {
        assert_eq!(score(&read(&site, path).await, form_id), "2", "{path}");
    }
    bob.delete(&format!("{form}/vote")).await;
    assert_eq!(score(&read(&site, &form).await, form_id), "1");

    let edit = [("title", "By form, changed"), ("url", ""), ("body", "")];
    ada.post(&format!("{form}/edit"), &edit).await;
    for path in ["/", &form, "/users/ada", "/search?q=form"] {
        assert!(read(&site, path).await.contains("By form, changed"), "{path}");
    }
    read(&site, &api).await;
    bob.patch(&api, &json!({ "title": "By program, changed" })).await;
    for path in ["/", &api, "/users/bob"] {
        assert!(read(&site, path).await.contains("By program, changed"), "{path}");
    }

    bob.delete(&api).await;
    assert_eq!(site.visitor().get(&api).await.status, 404);
    assert!(!read(&site, "/").await.contains("By program"));
    let leaving = [("current_password", PASSWORD)];
    assert_eq!(ada.post("/settings/delete-account", &leaving).await.status, 303);
    assert_eq!(site.visitor().get(&form).await.status, 404);
    assert_eq!(site.visitor().get("/users/ada").await.status, 404);
    assert!(read(&site, "/").await.contains("Nothing here yet"));
}

#[tokio::test]
async fn the_page_cache_serves_no_page_of_another_viewer_and_no_flash_message() {
    let site = keeping().await;
    let ada = site.member("ada").await;
    let post = site.post_by("ada", "A post").await;
    for path in ["/".to_owned(), "/new".to_owned(), format!("/posts/{post}"), "/users".to_owned()] {
        // Whoever comes first, the other's page is another.
        let welcome = ada.get(&path).await;
        let stranger = site.visitor().get(&path).await;
        let again = ada.get(&path).await;
        for page in [&welcome, &again] {
            page.has("Logged in as <b>ada</b>");
            assert_eq!(page.header("cache-control"), "private, no-cache", "{path}");
        }
        stranger.lacks("Logged in as").lacks("role=\"status\"><svg").has("Log in");
        assert_eq!(stranger.header("cache-control"), "no-cache", "{path}");
        assert!(stranger.header("vary").contains("Cookie"), "{path}: {}", stranger.header("vary"));
        if !path.starts_with("/posts/") {
            site.visitor().get_part(&path).await.lacks("<!doctype");
            site.visitor().get(&path).await.has("<!doctype");
        }
    }

    // A message that waits for its reader is shown to that reader, once.
    let bob = site.member("bob").await;
    bob.post("/logout", &[]).await;
    let waiting = site.visitor();
    waiting.set_cookie("flash", "deleted");
    waiting.get("/").await.has("Your post is deleted.");
    site.visitor().get("/").await.lacks("Your post is deleted.");
    // Who has just written, and logged out since, sees what is there and not what was kept.
    read(&site, "/new").await;
    site.post_by("ada", "Behind the cache").await;
    site.visitor().get("/new").await.lacks("Behind the cache");
    let writer = site.visitor();
    writer.set_cookie("wrote", "1");
    writer.get("/new").await.has("Behind the cache");
    // A cookie of another site on the same host changes nothing, one that is nearly ours is asked about.
    let other = site.visitor();
    other.set_cookie("theme", "dark");
    other.get("/").await.lacks("Logged in as");
    let forged = site.visitor();
    forged.set_cookie("sid", "AAAAAAAAAAAAAAAAAAAAAA");
    forged.get("/").await.lacks("Logged in as");
}

/// A page without its cursors, in which stands what other transactions were under way.
fn but_cursors(page: &support::Reply) -> String {
    let mut parts = page.body.split("after=");
    let mut rest = parts.next().unwrap().to_owned();
    rest.extend(parts.map(|part| &part[part.find('"').unwrap()..]));
    rest
}

#[tokio::test]
async fn a_cached_list_for_members_equals_the_list_read_for_each_viewer() {
    let site = keeping().await;
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    let mut posts = Vec::new();
    for n in 0..34 {
        posts.push(site.post_by("ada", &format!("Post <{n}>")).await);
    }
    for (voter, step) in [(&ada, 3), (&bob, 5)] {
        for post in posts.iter().step_by(step) {
            voter.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
        }
    }
    // The greeting.
    bob.get("/").await;
    let mut paths = vec!["/".to_owned(), "/new".to_owned(), "/top?t=all".to_owned()];
    for path in paths.clone() {
        paths.extend(ada.get(&path).await.next());
    }
    assert_eq!(paths.len(), 6);
    for path in &paths {
        let mut pages = Vec::new();
        for member in [&ada, &bob] {
            member.forget("wrote");
            let (shared, part) = (member.get(path).await, member.get_part(path).await);
            oracle::check(&shared, path, &[]);
            member.set_cookie("wrote", "1");
            assert_eq!(but_cursors(&shared), but_cursors(&member.get(path).await), "{path}");
            assert_eq!(but_cursors(&part), but_cursors(&member.get_part(path).await), "{path}");
            pages.push(shared.body);
        }
        assert_ne!(pages[0], pages[1], "{path}");
        assert!(!pages[1].contains(">ada</b>"), "{path}");
    }

    // One statement says who it is, and one what they voted for.
    bob.forget("wrote");
    statements::listen();
    statements::heard();
    bob.get("/").await;
    let heard = statements::heard();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[1].contains("select post_id"), "{heard:?}");
}

#[tokio::test]
async fn a_change_invalidates_the_cached_list_for_every_member() {
    let site = keeping().await;
    let (ada, bob, cyd) =
        (site.member("ada").await, site.member("bob").await, site.member("cyd").await);
    let program = site.program("dan").await;
    let post = site.post_by("ada", "A post").await;
    let vote = format!("/posts/{post}/vote");
    let is_pressed = |page: &support::Reply| page.body.contains("aria-pressed=\"true\"");
    let score = |page: &support::Reply| score(&page.body, post).to_owned();
    for (value, expected) in [("1", "1"), ("0", "0"), ("1", "1")] {
        cyd.get("/").await;
        bob.post(&vote, &[("value", value)]).await;
        assert!(bob.cookie("wrote").is_some(), "who wrote is marked");
        for is_marked in [true, false] {
            if !is_marked {
                bob.forget("wrote");
            }
            let page = bob.get("/").await;
            assert_eq!((is_pressed(&page), score(&page).as_str()), (value == "1", expected));
        }
        let page = cyd.get("/").await;
        assert_eq!((is_pressed(&page), score(&page).as_str()), (false, expected));
    }
    program.put(&vote, &json!({})).await;
    assert_eq!(score(&cyd.get("/").await), "2");
    let edit = [("title", "Changed"), ("url", ""), ("body", "")];
    ada.post(&format!("/posts/{post}/edit"), &edit).await;
    cyd.get("/").await.has("Changed");
    ada.post("/posts", &[("title", "Another"), ("url", ""), ("body", "")]).await;
    cyd.get("/new").await.has("Another").has("Changed");

    // What nobody here has heard of is seen by who has just written, and never by who only reads.
    site.post_by("ada", "Elsewhere").await;
    cyd.get("/new").await.lacks("Elsewhere");
    cyd.set_cookie("wrote", "1");
    cyd.get("/new").await.has("Elsewhere");
    ada.post(&format!("/posts/{post}/delete"), &[]).await;
    cyd.forget("wrote");
    cyd.get("/new").await.lacks("Changed").has("Elsewhere");
    assert_eq!(site.visitor().post("/login", &[]).await.cookies(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_cached_list_that_cannot_be_read_is_an_error_for_each_and_is_not_cached() {
    let site = keeping().await;
    let members = [site.member("ada").await, site.member("bob").await, site.member("cyd").await];
    site.post_by("ada", "A post").await;
    for member in &members {
        member.forget("wrote");
    }
    site.db.execute("alter table post_ranks rename to away").await.unwrap();
    let replies = join_all(members.iter().cycle().take(12).map(|member| member.get("/"))).await;
    for reply in &replies {
        oracle::check(reply, "/", &[]);
        assert!(reply.status.is_server_error(), "{}", reply.status);
    }
    site.db.execute("alter table away rename to post_ranks").await.unwrap();
    for member in &members {
        member.get("/").await.has("A post");
    }
}

#[tokio::test]
async fn a_conditional_get_of_a_cached_page_is_a_304() {
    let site = keeping().await;
    let ada = site.member("ada").await;
    let post = site.post_by("ada", "A post").await;
    for path in ["/".to_owned(), format!("/posts/{post}")] {
        let reader = site.visitor();
        let ask = |method: Method, known: &str, coding: &str| {
            let request = reader.request(method, &path).header(header::ACCEPT_ENCODING, coding);
            let request = request.header(header::IF_NONE_MATCH, known).body(Body::empty()).unwrap();
            let router = site.router.clone();
            async move {
                let (head, body) = router.oneshot(request).await.unwrap().into_parts();
                (head.status, head.headers, body.collect().await.unwrap().to_bytes())
            }
        };
        let (status, headers, plain) = ask(Method::GET, "\"x\"", "identity").await;
        assert_eq!(status, StatusCode::OK);
        let etag = headers[header::ETAG].to_str().unwrap().to_owned();
        for coding in ["identity", "gzip", "br", "br;q=0, gzip"] {
            let (status, headers, body) = ask(Method::GET, "", coding).await;
            let packed = headers.get(header::CONTENT_ENCODING).map_or("", |c| c.to_str().unwrap());
            assert_eq!((status, packed == "identity"), (StatusCode::OK, false), "{coding}");
            assert_eq!(packed, coding.rsplit(' ').next().unwrap().replace("identity", ""));
            assert!(packed.is_empty() && body == plain || body.len() < plain.len() / 2, "{coding}");
            let (status, head, body) = ask(Method::HEAD, "", coding).await;
            assert_eq!((status, body.len()), (StatusCode::OK, 0), "{coding}");
            assert_eq!(head.get(header::CONTENT_ENCODING), headers.get(header::CONTENT_ENCODING));
            let (status, headers, body) = ask(Method::GET, &format!("\"x\", {etag}"), coding).await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{path} {coding}");
            for name in ["etag", "vary", "cache-control", "content-security-policy"] {
                assert!(headers.contains_key(name), "{path} {coding}: {name}");
            }
        }
        ada.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
        assert_eq!(ask(Method::GET, &etag, "br").await.0, StatusCode::OK, "{path} has changed");
        ada.post(&format!("/posts/{post}/vote"), &[("value", "0")]).await;
    }
}

#[tokio::test]
async fn concurrent_requests_render_a_page_once_and_later_ones_hit_the_cache() {
    statements::listen();
    let site = keeping().await;
    site.post_by("ada", "A post").await;
    statements::heard();

    let asking = (0..64).map(|_| {
        let visitor = site.visitor();
        async move { visitor.get("/").await }
    });
    let replies = join_all(asking).await;
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == replies[0].body));
    let heard = statements::heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    for path in ["/", "/?after=", "/"] {
        site.visitor().get(path).await;
    }
    assert_eq!(statements::heard().len(), 1, "another address is another page");

    // An answer that is not for everybody makes nobody wait for nothing.
    let asking = (0..8).map(|_| {
        let visitor = site.visitor();
        async move { visitor.get("/posts/999").await.status }
    });
    let statuses = join_all(asking).await;
    assert_eq!(statuses, [StatusCode::NOT_FOUND; 8]);
}

/// Two processes at one database, which tell each other of changes.
async fn pair() -> [TestSite; 2] {
    let database = database().await;
    let sites = [(); 2].map(|()| {
        let mut site = TestSite::over(database.options(), "http://site.test");
        site.db = database.pool.clone();
        keep(&mut site.app);
        site.router = router(site.app.clone());
        let listening = social_post::database::pool::open_without_timeouts(database.options());
        tokio::spawn(live::run(site.app.live.clone(), site.app.db.clone(), listening));
        site
    });
    for site in &sites {
        // Each listens once its own stream can begin with what is there.
        eventually(async || site.count("select count(*) from pg_stat_activity where query ilike 'listen%' and datname = current_database()").await == 2).await;
    }
    sites
}

async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within twenty seconds");
}

#[tokio::test]
async fn a_change_in_one_process_invalidates_the_cache_of_another() {
    let [here, there] = pair().await;
    let ada = here.member("ada").await;
    eventually(async || read(&there, "/users").await.contains(">ada<")).await;
    let post = ada.post("/posts", &[("title", "Told"), ("url", ""), ("body", "")]).await;
    let path = post.location().to_owned();
    let id = path.trim_start_matches("/posts/").parse().unwrap();
    eventually(async || read(&there, "/").await.contains("Told")).await;

    assert_eq!(score(&read(&there, &path).await, id), "0");
    ada.post(&format!("{path}/vote"), &[("value", "1")]).await;
    eventually(async || score(&read(&there, &path).await, id) == "1").await;
    eventually(async || score(&read(&there, "/top").await, id) == "1").await;

    // The notification is lost with the connection: a process that listens again invalidates everything.
    there.count("select count(pg_terminate_backend(pid)) from pg_stat_activity where query ilike 'listen%' and datname = current_database() and usename = current_user").await;
    ada.post(&format!("{path}/vote"), &[("value", "0")]).await;
    eventually(async || score(&read(&there, &path).await, id) == "0").await;
}

/// An open page.
struct Listener(Body);

impl Listener {
    async fn open(site: &TestSite, path: &str, last: Option<&str>) -> Listener {
        let mut request = Request::builder().uri(path).header(header::HOST, "site.test");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = site.router.clone().oneshot(request).await.unwrap().into_parts();
        assert_eq!(head.status, StatusCode::OK, "{path}");
        assert_eq!(head.headers[header::CONTENT_TYPE], "text/event-stream; charset=utf-8");
        Listener(body)
    }

    /// What comes next; `None` at the end.
    async fn hear(&mut self) -> Option<String> {
        let frame = timeout(Duration::from_secs(20), self.0.frame()).await.expect("a word in time");
        let bytes: Bytes = frame?.unwrap().into_data().unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The words that come until one has `text`.
    async fn until(&mut self, text: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(text) {
            heard += &self.hear().await.unwrap_or_else(|| panic!("no {text:?} in {heard}"));
        }
        heard
    }
}

fn last_id(heard: &str) -> &str {
    heard.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().expect("an id")
}

#[tokio::test]
async fn an_event_stream_sends_votes_edits_and_new_posts_of_every_process() {
    let [here, there] = pair().await;
    let ada = here.member("ada").await;
    let first = ada.post("/posts", &[("title", "First"), ("url", ""), ("body", "")]).await;
    let first = first.location().trim_start_matches("/posts/").to_owned();
    let page = async || site_page(&there.visitor()).await;
    eventually(async || page().await.contains(&format!("hx-sse:connect=\"/live?after={first}\"")))
        .await;

    let address = format!("/live?after={first}");
    let mut open = Listener::open(&there, &address, None).await;
    let beginning = open.hear().await.unwrap();
    assert!(beginning.starts_with("retry: ") && !beginning.contains("new post"), "{beginning}");

    ada.post(&format!("/posts/{first}/vote"), &[("value", "1")]).await;
    let heard = open.until(&format!("hx-target=\"#score-{first}\" hx-swap=\"innerHTML\">1<")).await;
    assert!(!heard.contains("edited"), "{heard}");
    ada.post(&format!("/posts/{first}/edit"), &[("title", "First <b>"), ("url", ""), ("body", "")])
        .await;
    let heard = open.until(&format!("hx-target=\"#edited-{first}\"")).await;
    assert!(heard.lines().all(|line| line.is_empty() || line.contains(": ")), "{heard}");

    for (count, title) in [(1, "Second"), (2, "Third")] {
        ada.post("/posts", &[("title", title), ("url", ""), ("body", "")]).await;
        let expected = format!("Show {count} new post{}", if count == 1 { "" } else { "s" });
        open.until(&expected).await;
    }
    let last = last_id(&heard).to_owned();
    drop(open);

    // Away for a moment: what was missed comes at once, what was heard does not come again.
    ada.post(&format!("/posts/{first}/vote"), &[("value", "0")]).await;
    eventually(async || {
        let mut back = Listener::open(&there, &address, Some(&last)).await;
        let missed = back.hear().await.unwrap();
        missed.contains(&format!("#score-{first}\" hx-swap=\"innerHTML\">0<"))
            && missed.contains("Show 2 new posts")
    })
    .await;
    for id in ["", "x", "-1", "9999999999999999999999"] {
        let mut odd = Listener::open(&there, "/live", Some(id)).await;
        assert!(odd.hear().await.unwrap().starts_with("retry: "), "{id:?}");
    }
    assert_eq!(there.visitor().get("/live?after=x").await.status, 400);
}

async fn site_page(visitor: &Visitor) -> String {
    visitor.get("/").await.body
}

#[tokio::test]
async fn event_streams_are_limited_for_each_client_and_end_at_shutdown() {
    let stop = Shutdown::default();
    let site = TestSite::altered(|app| {
        app.live = Live::new(Versions::new(EVER), stop.clone(), true);
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut listener = Listener::open(&site, "/live", None).await;
        listener.hear().await.unwrap();
        open.push(listener);
    }
    let refused = site.visitor();
    let one_more = refused.send(Request::builder().uri("/live"), "").await;
    oracle::check(&one_more, "/live", &[]);
    assert_eq!(one_more.status, 503);
    assert_eq!(refused.at_address("192.0.2.9").get("/live").await.status, 200, "another client");

    open.truncate(40);
    for _ in 0..60 {
        open.push(Listener::open(&site, "/live", None).await);
    }
    stop.request();
    for mut listener in open {
        while listener.hear().await.is_some() {}
    }
}
