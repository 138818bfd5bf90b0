//! How large answers may become, how they are compressed, and how many of them may wait to be read.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    http::{Method, StatusCode, header},
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use social_post::{
    identity::UserId,
    posts::{Draft, publish},
    web::middleware::unread,
};
use sqlx::types::time::OffsetDateTime;
use tower::ServiceExt as _;

use crate::support::{self, TestSite, Visitor};

/// A text that becomes as much HTML as any: 40,000 bytes become 320,000.
fn dear_text() -> String {
    "[a](b)".repeat(6666)
}

/// Posts of a new member with these texts, a second apart.
async fn publish_all(site: &TestSite, author: &str, texts: impl Iterator<Item = String>) {
    site.member(author).await;
    let id: i64 = sqlx::query_scalar("select id from users where username = $1")
        .bind(author)
        .fetch_one(&site.db)
        .await
        .unwrap();
    let mut at = OffsetDateTime::now_utc() - Duration::from_hours(1);
    for (number, text) in texts.enumerate() {
        let draft = Draft::parse(&format!("A dear title {number}"), "", &text).unwrap();
        publish::db::publish_at(&site.db, UserId(id), &draft, at).await.unwrap();
        at += Duration::from_secs(1);
    }
}

// --- Bytes ---

#[tokio::test]
async fn a_list_of_the_api_ends_at_half_a_megabyte_and_its_cursor_loses_no_post() {
    let site = TestSite::new().await;
    // Long ones, short ones, and one that is longer than the bound alone.
    let texts = (0..40).map(|number| match number % 10 {
        0..4 => dear_text(),
        4 => "\u{1F980}&\"\n".repeat(10_000),
        _ => format!("short {number}"),
    });
    publish_all(&site, "ada", texts).await;
    let stranger = site.caller();
    for list in [
        "sort=new",
        "sort=hot",
        "sort=top&author=ada",
        "search=dear&sort=new",
        "search=dear&sort=top",
    ] {
        for limit in [100, 7, 1] {
            let (mut seen, mut pages, mut after) = (BTreeSet::new(), 0, String::new());
            loop {
                let reply = stranger.get(&format!("/posts?{list}&limit={limit}{after}")).await;
                assert_eq!(reply.status, 200, "{list}");
                assert!(reply.body.len() < 1_500_000, "{list}: {} bytes", reply.body.len());
                let page = reply.json();
                let posts = page["posts"].as_array().unwrap();
                assert!((1..=limit).contains(&posts.len()), "{list}");
                for post in posts {
                    assert!(seen.insert(post["id"].as_i64().unwrap()), "{list}: twice");
                    assert!(post["body"].is_string() && post["body_html"].is_string());
                }
                pages += 1;
                match page["next"].as_str() {
                    Some(next) => after = format!("&after={next}"),
                    None => break,
                }
            }
            assert_eq!(seen.len(), 40, "{list}");
            assert!(pages >= 10, "{list}: 6 MB in {pages} pages");
        }
    }
}

#[tokio::test]
async fn a_feed_of_long_texts_is_bounded_and_has_an_excerpt_where_the_whole_is_too_much() {
    let site = TestSite::new().await;
    let texts = (0..30).map(|number| format!("number {number} {}", "\"word\" & ".repeat(4000)));
    publish_all(&site, "ada", texts).await;
    for path in ["/feed.atom", "/new/feed.atom", "/users/ada/feed.atom", "/search/feed.atom?q=dear"]
    {
        let feed = site.visitor().get(path).await;
        assert_eq!(
            (feed.status.as_u16(), feed.body.matches("<entry>").count()),
            (200, 30),
            "{path}"
        );
        assert!(feed.body.len() < 3_000_000, "{path}: {} bytes", feed.body.len());
        for number in 0..30 {
            feed.has(&format!("number {number} "));
        }
    }
}

/// Everything that anyone may read, on a site where every text is as long as may be.
#[tokio::test]
async fn every_answer_is_bounded_in_bytes_where_every_text_is_as_long_as_may_be() {
    let site = TestSite::new().await;
    publish_all(&site, "ada", (0..120).map(|_| dear_text())).await;
    let ada = site.caller_of("ada").await;
    for path in [
        "/",
        "/new",
        "/top",
        "/search?q=dear",
        "/posts/1",
        "/users",
        "/users/ada",
        "/feed.atom",
        "/search/feed.atom?q=dear",
        "/sitemap.xml",
        "/sitemap.xml?part=0",
        "/api/v1/posts?limit=100",
        "/api/v1/posts?limit=100&sort=top",
        "/api/v1/posts/1",
        "/api/v1/posts?limit=100&search=dear",
        "/api/v1/users?limit=100",
        "/api/v1/openapi.json",
        "/api/v1/docs",
    ] {
        let reply = site.visitor().get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.body.len() < 3_000_000, "{path}: {} bytes", reply.body.len());
    }
    // What is not bounded is sent while it is read.
    let reply = site
        .router
        .clone()
        .oneshot(ada.request(Method::GET, "/users/me/export").body(Body::empty()).unwrap());
    let mut body = reply.await.unwrap().into_body();
    assert_eq!(body.size_hint().exact(), None);
    let mut longest = 0;
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let part = frame.unwrap().into_data().unwrap();
        longest = longest.max(part.len());
        whole.extend_from_slice(&part);
    }
    assert!(longest <= 256 * 1024, "{longest} bytes at once");
    let document: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(document["posts"].as_array().unwrap().len(), 120);
}

/// The export as one statement would make it.
const EXPORT: &str = "select json_build_object( \
    'format', 'social-post-account-1', 'exported_at', now(), \
    'profile', json_build_object('username', u.username, 'email', u.email, \
        'email_confirmed_at', u.email_confirmed_at, 'created_at', u.created_at), \
    'posts', coalesce((select json_agg(json_build_object('id', p.id, 'title', p.title, 'url', p.url, \
        'body', p.body, 'score', r.score, 'created_at', p.created_at, 'edited_at', p.edited_at) \
        order by p.id) from posts p join post_ranks r on r.post_id = p.id where p.author_id = u.id), '[]'), \
    'votes', coalesce((select json_agg(json_build_object('post_id', v.post_id, 'title', p.title, \
        'created_at', v.created_at) order by v.created_at, v.post_id) \
        from votes v join posts p on p.id = v.post_id where v.user_id = u.id), '[]'))::text \
    from users u where u.username = $1";

#[tokio::test]
async fn an_account_export_in_parts_has_the_bytes_of_one_statement() {
    let site = TestSite::new().await;
    let texts = (0..1100).map(|number| if number % 100 == 0 { dear_text() } else { "x".into() });
    publish_all(&site, "ada", texts).await;
    site.member("bob").await;
    // Many votes at one time.
    let votes = "insert into votes (post_id, user_id, created_at) \
                 select p.id, u.id, date_trunc('minute', p.created_at) from posts p, users u";
    sqlx::query(votes).execute(&site.db).await.unwrap();
    for name in ["ada", "bob"] {
        let expected: String =
            sqlx::query_scalar(EXPORT).bind(name).fetch_one(&site.db).await.unwrap();
        let export = site.caller_of(name).await.get("/users/me/export").await.body;
        let time = |document: &str| {
            let document: Value = serde_json::from_str(document).unwrap();
            document["exported_at"].as_str().unwrap().to_owned()
        };
        assert!(export == expected.replace(&time(&expected), &time(&export)), "{name}");
    }
}

// --- Answers that nobody reads ---

#[tokio::test]
async fn unread_answers_of_one_network_are_bounded_and_do_not_keep_others_from_theirs() {
    let site = TestSite::new().await;
    publish_all(&site, "ada", (0..30).map(|_| dear_text())).await;
    let list = "/api/v1/posts?limit=100";
    let ask = async |by: &Visitor| {
        let request = by.request(Method::GET, list).body(Body::empty()).unwrap();
        site.router.clone().oneshot(request).await.unwrap()
    };
    let greedy = site.visitor().at_address("203.0.113.9");
    let mut unread = Vec::new();
    for _ in 0..60 {
        let response = ask(&greedy).await;
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert!(response.headers().contains_key(header::RETRY_AFTER));
        } else {
            assert_eq!(response.status(), StatusCode::OK);
            unread.push(response);
        }
    }
    let held = |unread: &[axum::response::Response]| {
        unread.iter().map(|response| response.body().size_hint().lower()).sum::<u64>()
    };
    let most = u64::try_from(unread::MOST).unwrap();
    assert!((5..40).contains(&unread.len()), "{} answers wait", unread.len());
    assert!(held(&unread) <= most / 3, "{} bytes wait", held(&unread));
    // A page of the site says it, and what is small is still answered.
    greedy.get("/posts/1").await.has("Back in a moment.");
    assert_eq!(greedy.get("/login").await.status, 200);

    // However many networks do the same, the next one gets its answer.
    for number in 0..40 {
        let other = site.visitor().at_address(&format!("198.51.100.{number}"));
        loop {
            let response = ask(&other).await;
            if response.status() != StatusCode::OK {
                break;
            }
            unread.push(response);
        }
        assert!(held(&unread) <= most, "{} bytes wait", held(&unread));
    }
    let next = site.visitor().at_address("192.0.2.1");
    assert_eq!(next.get("/").await.status, 200);

    // What is read, or given up, is free again.
    let read = unread.remove(0).into_body().collect().await.unwrap().to_bytes();
    assert!(read.len() > 300_000);
    drop(unread);
    for _ in 0..20 {
        assert_eq!(ask(&greedy).await.status(), StatusCode::OK);
    }
}

// --- Compression ---

/// What a client says it accepts, and whether that is gzip (RFC 9110, 12.4.2 and 12.5.3).
const ACCEPTED: &[(&str, bool)] = &[
    ("gzip", true),
    ("GZIP", true),
    ("gzip;q=1", true),
    ("gzip;q=1.000", true),
    ("gzip;q=0.001", true),
    ("gzip;Q=0.5", true),
    ("gzip ; q=0.5", true),
    ("gzip\t;\tq=0.5", true),
    ("gzip;q=0.", false),
    ("deflate, gzip;q=0.2", true),
    ("gzip, *;q=0", true),
    ("gzip;q=0", false),
    ("gzip;q=0.0", false),
    ("gzip;q=0.00", false),
    ("gzip;q=0.000", false),
    ("gzip;Q=0", false),
    ("gzip; q=0", false),
    ("gzip ;q=0", false),
    ("gzip ; q=0.000", false),
    ("gzip;q = 0", false),
    ("gzip;\tq=0", false),
    ("GZIP;Q=0.000", false),
    ("*;q=0", false),
    ("*;q=0.000", false),
    ("identity;q=0", false),
    ("", false),
    // Not weights.
    ("gzip;q=0.0000", false),
    ("gzip;q=00", false),
    ("gzip;q=-0", false),
    ("gzip;q=2", false),
    ("gzip;q=1.001", false),
    ("gzip;q=", false),
    ("gzip;q", false),
    ("gzip;q=a", false),
    ("gzip;q=\"0\"", false),
    ("gzip;q=0;q=1", false),
    ("x-gzip-not", false),
];

#[tokio::test]
async fn a_content_coding_with_a_weight_of_zero_is_not_used_in_any_spelling() {
    let site = TestSite::altered(|app| support::keep(app, Duration::from_hours(1))).await;
    let ada = site.member("ada").await;
    site.post_by("ada", "A post").await;
    let stranger = site.visitor();
    let style = stranger.get("/").await.body;
    let style = style.split("href=\"/static/").nth(1).unwrap().split('"').next().unwrap();
    let style = format!("/static/{style}");
    // From the page cache, or made for one client, or a file.
    let pages = ["/", "/login", "/feed.atom", "/api/v1/openapi.json", "/nowhere", &style];
    for (by, paths, is_member) in
        [(&stranger, &pages[..], false), (&ada, &["/", "/settings"], true)]
    {
        for path in paths {
            for coding in ["gzip", "br"] {
                for (accepts, is_accepted) in ACCEPTED {
                    let accepts =
                        accepts.replace("gzip", coding).replace("GZIP", &coding.to_uppercase());
                    let request = by.request(Method::GET, path).header("accept-encoding", &accepts);
                    let request = request.body(Body::empty()).unwrap();
                    let response = site.router.clone().oneshot(request).await.unwrap();
                    let found = response.headers().get(header::CONTENT_ENCODING);
                    // What is sent once is never in brotli.
                    let has_brotli = !is_member && ["/", "/feed.atom", &style].contains(path);
                    let is_expected = *is_accepted && (coding == "gzip" || has_brotli);
                    assert_eq!(found.is_some(), is_expected, "{path} {accepts}: {found:?}");
                    let vary = response.headers().get_all(header::VARY).iter();
                    let vary: Vec<_> =
                        vary.map(|value| value.to_str().unwrap().to_lowercase()).collect();
                    assert_eq!(
                        vary.join(",").matches("accept-encoding").count(),
                        1,
                        "{path} {vary:?}"
                    );
                }
            }
        }
    }
}
