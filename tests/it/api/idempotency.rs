//! Idempotency keys.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Caller, Reply, TestSite};

async fn with_keys(by: &Caller, keys: &[&[u8]], post: &Value) -> Reply {
    let mut request = by.document(Method::POST, "/posts");
    for key in keys {
        request = request.header("idempotency-key", *key);
    }
    by.send(request, post.to_string()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_repeated_with_its_idempotency_key_publishes_once_and_gets_the_same_response() {
    let site = TestSite::new().await;
    let (ada, bob) = (site.program("ada").await, site.program("bob").await);
    let post = json!({ "title": "A title", "url": "https://a.test/", "body": "Text" });
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let ada = Caller { token: ada.token.clone(), ..site.caller() };
            let post = post.clone();
            tokio::spawn(async move { with_keys(&ada, &[b"one"], &post).await })
        })
        .collect();
    let mut answers = BTreeSet::new();
    for reply in tries {
        let reply = reply.await.unwrap();
        assert_eq!(reply.status, 201, "{}", reply.body);
        answers.insert((reply.location().to_owned(), reply.body));
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert_eq!(site.count("select count(*) from posts").await, 1);

    for other in [
        json!({ "title": "Another", "url": "https://a.test/", "body": "Text" }),
        json!({ "title": "A title", "body": "Text" }),
        json!({ "title": "A title", "url": "https://a.test/" }),
    ] {
        assert_eq!(with_keys(&ada, &[b"one"], &other).await.status, 409, "{other}");
    }
    // The same as it is kept is the same.
    let same = json!({ "title": " A title ", "url": "HTTPS://a.test", "body": "Text" });
    assert_eq!(with_keys(&ada, &[b"one"], &same).await.status, 201);
    assert_eq!(site.count("select count(*) from posts").await, 1);

    assert_eq!(with_keys(&bob, &[b"one"], &post).await.member("author"), "bob");
    let longest = b"x".repeat(255);
    for key in [&b"One"[..], b"two", b"!~\"',;", &longest] {
        assert_eq!(with_keys(&ada, &[key], &post).await.status, 201);
    }
    for _ in 0..2 {
        assert_eq!(with_keys(&ada, &[], &post).await.status, 201, "without a key each is another");
    }
    assert_eq!(site.count("select count(*) from posts").await, 8);

    let too_long = b"x".repeat(256);
    let odd: [&[&[u8]]; 9] = [
        &[b""],
        &[b" "],
        &[&too_long],
        &[b"a b"],
        &[b"a\tb"],
        &["\u{e9}".as_bytes()],
        &[b"\xFF"],
        &[b"one", b"one"],
        &[b"one", b"two"],
    ];
    for keys in odd {
        assert_eq!(with_keys(&ada, keys, &post).await.status, 400, "{keys:?}");
    }
    // A mistake uses no key up.
    assert_eq!(with_keys(&ada, &[b"three"], &json!({ "title": "" })).await.status, 422);
    assert_eq!(with_keys(&ada, &[b"three"], &post).await.status, 201);

    let id = with_keys(&ada, &[b"three"], &post).await.member("id");
    assert_eq!(ada.delete(&format!("/posts/{id}")).await.status, 204);
    let again = with_keys(&ada, &[b"three"], &post).await;
    assert_eq!(again.status, 201);
    assert_ne!(again.member("id"), id, "what was deleted is published anew");

    sqlx::query("update publish_keys set created_at = now() - interval '25 hours'")
        .execute(&site.db)
        .await
        .unwrap();
    while social_post::posts::publish::db::sweep_keys(&site.db).await.unwrap() > 0 {}
    let later = with_keys(&ada, &[b"one"], &json!({ "title": "Tomorrow" })).await;
    assert_eq!(later.status, 201, "a key is forgotten after a day");
}
