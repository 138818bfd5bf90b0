//! The rate limits; the limiter itself is in `web::throttle`.

use crate::support::{Reply, TestSite, Visitor};

/// Sends until the rate limit is reached, and returns how many were accepted before. A slow machine accepts
/// some more, because the limit refills gradually.
async fn until_too_often<F: Future<Output = Reply>>(send: impl Fn(usize) -> F) -> (usize, Reply) {
    for sent in 0..500 {
        let reply = send(sent).await;
        if reply.status == 429 {
            let wait: u64 = reply.header("retry-after").parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait} s");
            reply.has("doing that too fast. Try again in");
            return (sent, reply);
        }
        assert!(reply.status.as_u16() < 400, "{} {}", reply.status, reply.body);
    }
    panic!("never too often");
}

#[tokio::test]
async fn the_rate_limit_on_posts_keeps_what_was_typed() {
    let site = TestSite::throttled().await;
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    let first = ada.post("/posts", &[("title", "First")]).await.location().to_owned();
    let publish = async |n: usize| {
        let title = format!("Title {n}");
        let fields = [("title", title.as_str()), ("body", "Hours <of> work")];
        ada.post("/posts", &fields).await
    };
    let (taken, told) = until_too_often(publish).await;
    assert!(taken >= 9, "only {taken}");
    told.has("Hours &#60;of&#62; work").has("Press Publish to try again");
    assert_eq!(told.header("cache-control"), "no-store");
    assert!(told.hidden("key").is_some());
    let posts = i64::try_from(taken + 1).unwrap();
    assert_eq!(site.count("select count(*) from posts").await, posts);

    let edit = format!("{first}/edit");
    let change = async |n: usize| {
        let title = format!("Edit {n}");
        ada.post(&edit, &[("title", &title), ("body", "More <work>"), ("version", "0")]).await
    };
    let (taken, told) = until_too_often(change).await;
    assert!(taken < 5, "edits and posts share a budget");
    told.has("More &#60;work&#62;").has("Press Save to try again");
    assert_eq!(told.hidden("version"), Some("0"));
    assert_eq!(ada.post("/posts", &[("title", "")]).await.status, 422, "a mistake costs nothing");
    assert_eq!(ada.post("/posts/preview", &[("title", "T")]).await.status, 200);
    assert_eq!(bob.post("/posts", &[("title", "Bob's")]).await.status, 303);
}

#[tokio::test]
async fn previews_have_their_own_rate_limit() {
    let site = TestSite::throttled().await;
    let ada = site.member("ada").await;
    let typed = [("title", "T"), ("body", "Hours of work")];
    let (taken, told) = until_too_often(|_| ada.post("/posts/preview", &typed)).await;
    assert!(taken >= 30, "only {taken}");
    told.has("Hours of work");
    let (_, part) = until_too_often(|_| ada.post_part("/posts/preview", &typed)).await;
    assert_eq!(part.header("hx-retarget"), "#flash");
    assert_eq!(ada.post("/posts", &typed).await.status, 303);
}

#[tokio::test]
async fn the_rate_limit_on_votes_is_shown_beside_the_button() {
    let site = TestSite::throttled().await;
    let post = site.post_by("ada", "Hello").await;
    let (bob, cy) = (site.member("bob").await, site.member("cy").await);
    let url = format!("/posts/{post}/vote");
    let (taken, told) = until_too_often(|_| bob.post_part(&url, &[("value", "1")])).await;
    assert!(taken >= 120, "only {taken}");
    told.has("vote-note").lacks("<!doctype");
    assert_eq!(told.header("hx-retarget"), format!("#vote-{post}"));
    let (_, page) = until_too_often(|_| bob.post(&url, &[("value", "0")])).await;
    page.has("<!doctype html>");
    assert_eq!(cy.post(&url, &[("value", "1")]).await.status, 303);
    assert_eq!(site.wrong_scores().await, []);
}

#[tokio::test]
async fn the_rate_limit_on_searches_keeps_the_words() {
    let site = TestSite::throttled().await;
    site.post_by("ada", "Owl").await;
    let from = |address: &str| site.visitor().at_address(address);
    let search = async |by: &Visitor| by.get("/search?q=owl+%3Cb%3E&sort=new").await;
    let here = from("198.51.100.1");
    let (taken, told) = until_too_often(|_| search(&here)).await;
    assert!(taken >= 30, "only {taken}");
    told.has("value=\"owl &#60;b&#62;\"").has("name=\"sort\" value=\"new\"").lacks("Nothing found");
    told.lacks("aria-invalid").has("role=\"alert\"");
    let (_, part) = until_too_often(|_| here.get_part("/search?q=owl")).await;
    assert_eq!(part.header("hx-retarget"), "#flash");
    assert_eq!(here.get("/search").await.status, 200, "the empty page costs nothing");
    assert_eq!(here.get("/").await.status, 200);

    assert_eq!(search(&from("198.51.100.2")).await.status, 200, "another client");
    assert_eq!(search(&site.visitor()).await.status, 200);
    let invented = from("203.0.113.7, 198.51.100.1");
    until_too_often(|n| {
        assert!(n < 5, "what stands left of the last stranger counts for nothing");
        search(&invented)
    })
    .await;
    let bob = site.member("bob").await.at_address("198.51.100.1");
    assert_eq!(search(&bob).await.status, 200, "who is logged in has a budget wherever they are");
    until_too_often(|_| search(&bob)).await;
    let elsewhere = bob.at_address("198.51.100.3");
    until_too_often(|n| {
        assert!(n < 5, "and the same one everywhere");
        search(&elsewhere)
    })
    .await;
}
