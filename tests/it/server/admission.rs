//! More requests than can be answered in time.

use axum::http::{Method, header};
use tokio::task::JoinSet;

use crate::support::{Database, TestSite, database, keep, oracle};

async fn site() -> (Database, TestSite) {
    let database = database().await;
    let mut site = TestSite::over(database.options(), "http://site.test");
    keep(&mut site.app, std::time::Duration::from_secs(1));
    site.router = social_post::routes::router(site.app.clone());
    (database, site)
}

/// While every place is taken, a refusal is made at the door, and what needs no place goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overload_is_refused_at_the_door_and_cached_pages_and_typed_text_are_not_lost() {
    let (_database, site) = site().await;
    let member = site.member("ada").await;
    site.post_by("ada", "A title").await;
    let stranger = site.visitor();
    stranger.get("/").await.has("A title");

    let mut held = Vec::new();
    let request = axum::extract::Request::default();
    while let Ok(place) = site.app.limits.admission.admit(&request).await {
        held.push(place);
    }
    let refused = member.get("/settings").await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "2"));
    refused.has("very busy").has("Try again").lacks("Log in");
    assert_eq!(refused.header("cache-control"), "no-store");
    oracle::check(&refused, "a refused page", &[]);

    let vote = member.post_part("/posts/1/vote", &[("value", "1")]).await;
    assert_eq!((vote.status.as_u16(), vote.header("hx-retarget")), (503, "#flash"));
    vote.has("very busy").lacks("<html");
    let listed = site.caller().get("/posts").await;
    assert_eq!(listed.status, 503);
    assert_eq!(listed.header("content-type"), "application/problem+json");
    let fields = [("title", "Kept words"), ("url", ""), ("body", "Kept text")];
    let form = member.post("/posts", &fields).await;
    assert_eq!(form.status, 503);
    form.has("Kept words").has("Kept text");

    assert_eq!(stranger.get("/").await.status, 200, "from memory");
    assert_eq!(stranger.get("/healthz").await.status, 200);
    assert_eq!(stranger.get("/favicon.svg").await.status, 200);

    drop(held);
    assert_eq!(member.get("/settings").await.status, 200);
}

/// With room for few, everyone gets an answer, and the accepted ones a right one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_burst_every_request_is_answered_by_a_page_or_a_refusal_that_says_when_to_come_back() {
    let (_database, site) = site().await;
    let member = site.member("ada").await;
    site.post_by("ada", "A title").await;
    member.forget("wrote");
    let mut asked = JoinSet::new();
    for _ in 0..1500 {
        let (visitor, cookies) = (site.visitor(), member.cookie_header());
        asked.spawn(async move {
            let request = visitor.request(Method::GET, "/").header(header::COOKIE, cookies);
            visitor.send(request, "").await
        });
    }
    let mut served = 0;
    for reply in asked.join_all().await {
        match reply.status.as_u16() {
            200 => {
                reply.has("A title").has("Logged in as");
                served += 1;
            }
            503 => assert_eq!(reply.header("retry-after"), "2"),
            other => panic!("{other}: {}", reply.body),
        }
    }
    assert!(served >= 16, "{served} of 1,500");
    assert_eq!(member.get("/").await.status, 200);
}
