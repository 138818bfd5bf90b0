//! What people read while the database is away: the pages that were kept.

use std::time::{Duration, Instant};

use axum::http::header;
use tokio::time::sleep;

use crate::support::{Database, Reply, TestSite, Visitor, database, keep, oracle};

/// A site that keeps pages, as every real one does.
async fn keeping() -> (Database, TestSite) {
    let database = database().await;
    let mut site = TestSite::over(database.options(), "http://site.test");
    keep(&mut site.app, Duration::from_secs(1));
    site.router = social_post::routes::router(site.app.clone());
    (database, site)
}

const KEPT: [&str; 6] = ["/", "/new", "/users", "/posts/1", "/feed.atom", "/users/ada/feed.atom"];

fn is_copy(reply: &Reply) -> bool {
    reply.headers.contains_key("cache-status")
}

/// The page, once it is no copy any more.
async fn renewed(visitor: &Visitor, path: &str) -> Reply {
    let started = Instant::now();
    loop {
        let reply = visitor.get(path).await;
        if reply.status == 200 && !is_copy(&reply) {
            return reply;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{path} is not renewed");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_outage_of_the_database_kept_pages_and_feeds_are_served_with_a_line_of_when_they_are()
{
    let (database, site) = keeping().await;
    let post = site.post_by("ada", "A title to be read in an outage").await;
    assert_eq!(post, 1);
    let stranger = site.visitor();
    let mut before = Vec::new();
    for path in KEPT {
        let reply = stranger.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(!is_copy(&reply), "{path}");
        before.push(reply);
    }
    let part = stranger.get_part("/new").await;

    database.go_away().await;
    sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        for (path, before) in KEPT.into_iter().zip(&before) {
            let reply = stranger.get(path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
            assert!(is_copy(&reply), "{path}");
            assert_eq!(reply.header("cache-control"), "no-store", "{path}");
            assert_eq!(reply.headers.get(header::ETAG), None, "{path}: a copy is no version");
            let age: u64 = reply.header("age").parse().unwrap();
            assert!((1..600).contains(&age), "{path}: {age}");
            assert_eq!(reply.header("content-type"), before.header("content-type"));
            if reply.header("content-type").starts_with("application/atom") {
                assert_eq!(reply.body, before.body, "{path}");
            } else {
                reply.has("reach its database right now").has("This page is as it was on <time");
                reply.lacks("You have not been logged out");
                let (start, rest) = reply.body.split_once("<div class=\"flash bad\"").unwrap();
                let (_, end) = rest.split_once("</p></div>").unwrap();
                assert_eq!(format!("{start}{end}"), before.body, "{path}: nothing else differs");
            }
            oracle::check(&reply, path, &[]);
        }
    }
    assert_eq!(stranger.get_part("/new").await.body, part.body);
    // What nobody had read before the outage.
    let missing = stranger.get("/top").await;
    assert_eq!(missing.status, 503);
    oracle::check(&missing, "a page that was not kept", &[]);

    database.come_back().await;
    for (path, before) in KEPT.into_iter().zip(&before) {
        let reply = renewed(&stranger, path).await;
        reply.lacks("This page is as it was on");
        assert_eq!(reply.header("cache-control"), before.header("cache-control"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_outage_a_member_reads_the_kept_page_stays_logged_in_and_can_write_nothing() {
    let (database, site) = keeping().await;
    let member = site.member("ada").await;
    let post = site.post_by("ada", "A title").await;
    member.forget("wrote");
    member.forget("flash");
    site.visitor().get("/").await;
    member.get("/").await.has("Logged in as");
    let session = member.cookie("sid").unwrap();

    database.go_away().await;
    for _ in 0..2 {
        let page = member.get("/").await;
        assert_eq!(page.status, 200, "{}", page.body);
        page.has("A title").has("You have not been logged out.");
        assert!(is_copy(&page) && page.header("cache-control") == "no-store");
        assert!(page.cookies().iter().all(|cookie| !cookie.starts_with("sid=")), "{page:?}");
    }
    let vote = member.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
    assert_eq!(vote.status, 503);
    // A page of their own is not everyone's.
    assert_eq!(member.get("/settings").await.status, 503);

    database.come_back().await;
    assert_eq!(member.cookie("sid").unwrap(), session);
    renewed(&member, "/").await.has("Logged in as");
}

/// Deleted and edited text is gone, whatever happens afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_was_deleted_or_edited_before_an_outage_is_not_read_in_a_kept_page() {
    for is_deleted in [true, false] {
        let (database, site) = keeping().await;
        let member = site.member("ada").await;
        let fields = [("title", "Regretted words"), ("url", ""), ("body", "")];
        let made = member.post("/posts", &fields).await;
        let path = made.location().to_owned();
        let stranger = site.visitor();
        for path in ["/", "/new", path.as_str(), "/feed.atom"] {
            stranger.get(path).await.has("Regretted words");
        }
        let done = if is_deleted {
            member.post(&format!("{path}/delete"), &[]).await
        } else {
            let opened = member.get(&format!("{path}/edit")).await;
            let version = opened.hidden("version").unwrap();
            let edit = [("title", "Other words"), ("url", ""), ("body", ""), ("version", version)];
            member.post(&format!("{path}/edit"), &edit).await
        };
        assert_eq!(done.status, 303, "{}", done.body);
        database.go_away().await;
        for path in ["/", "/new", path.as_str(), "/feed.atom"] {
            let reply = stranger.get(path).await;
            assert_eq!(reply.status, 503, "{path}");
            reply.lacks("Regretted words");
        }
        assert_eq!(member.get("/").await.status, 503);
    }
}
