//! Rate limits, which pages and API share.

use serde_json::{Value, json};
use social_post::{identity::UserId, web::throttle::RateLimit};

use crate::support::{Reply, TestSite};

/// One budget for each act, however it is done.
#[tokio::test]
async fn posts_votes_and_searches_share_their_rate_limits_with_the_pages() {
    let site = TestSite::throttled().await;
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    let program = site.caller_of("ada").await;
    let post = site.post_by("bob", "Owl").await;
    let own = site.post_by("ada", "Owl").await;
    let too_often = |reply: &Reply| {
        assert_eq!(reply.status, 429, "{}", reply.body);
        let wait: u64 = reply.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    };
    let adas = site.count("select id from users where username = 'ada'").await;
    for act in [RateLimit::Write, RateLimit::Vote, RateLimit::Search, RateLimit::Preview] {
        while site.app.throttle.check(act, UserId(adas)).is_ok() {}
    }

    // What is used up for the pages is used up for the API.
    too_often(&ada.post("/posts", &[("title", "x")]).await);
    for reply in [
        program.post("/posts", &json!({ "title": "x" })).await,
        program.put(&format!("/posts/{own}"), &json!({ "title": "x" })).await,
        program.patch(&format!("/posts/{own}"), &json!({ "title": "x" })).await,
        program.post("/posts/preview", &json!({ "body": "x" })).await,
        program.put(&format!("/posts/{post}/vote"), &Value::Null).await,
        program.delete(&format!("/posts/{post}/vote")).await,
        program.get("/posts?search=owl").await,
    ] {
        too_often(&reply);
    }
    assert_eq!(program.get("/posts").await.status, 200, "to read costs nothing");
    assert_eq!(program.post("/posts", &json!({ "title": "" })).await.status, 422, "nor a mistake");
    assert_eq!(bob.post("/posts", &[("title", "Bob's")]).await.status, 303);

    let others = site.caller_of("bob").await;
    let mut published = 1;
    let reply = loop {
        let reply = others.post("/posts", &json!({ "title": "x" })).await;
        if reply.status != 201 {
            break reply;
        }
        published += 1;
        assert!(published < 30);
    };
    too_often(&reply);
    assert!(published >= 9, "only {published}");
    // Who is nobody is counted by where they are.
    let here = site.caller().at_address("198.51.100.1");
    let mut searched = 0;
    while here.get("/posts?search=owl").await.status == 200 {
        searched += 1;
        assert!(searched < 60);
    }
    assert!(searched >= 30, "only {searched}");
    let browser = site.visitor().at_address("198.51.100.1");
    let mut more = 0;
    while browser.get("/search?q=owl").await.status == 200 {
        more += 1;
        assert!(more < 5, "pages have a budget of their own");
    }
    assert_eq!(site.caller().at_address("198.51.100.2").get("/posts?search=owl").await.status, 200);
}
