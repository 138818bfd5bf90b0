//! Posts and votes.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    api::{POST, is_moment, members, publish},
    support::{Caller, TestSite},
};

#[expect(clippy::too_many_lines, reason = "the life of one post")]
#[tokio::test]
async fn a_post_is_published_read_replaced_changed_and_deleted_by_its_author_alone() {
    let site = TestSite::new().await;
    let (ada, bob) = (site.program("ada").await, site.program("bob").await);
    let nobody = site.caller();
    let typed = json!({
        "title": "  A garden\u{a0}in a jar ", "url": "HTTPS://Example.org/garden", "body": "It has\r\n*moss*.",
    });
    let reply = ada.post("/posts", &typed).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let post = reply.json();
    let id = post["id"].as_i64().unwrap();
    assert_eq!(reply.location(), format!("/api/v1/posts/{id}"));
    assert_eq!(members(&post), POST.into());
    assert_eq!(post["url"], "https://example.org/garden");
    assert_eq!(post["body"], "It has\n*moss*.");
    assert!(post["body_html"].as_str().unwrap().contains("<em>moss</em>"), "{post}");
    assert_eq!((&post["author"], &post["score"]), (&json!("ada"), &json!(0)));
    assert_eq!((&post["voted"], &post["edited_at"]), (&json!(false), &Value::Null));
    assert!(is_moment(&post["created_at"]));
    site.visitor().get(&format!("/posts/{id}")).await.has("<em>moss</em>").has("in a jar");

    // As everyone sees it: the same, but that nobody has voted or not.
    let path = format!("/posts/{id}");
    let mut of_nobody = post.clone();
    of_nobody["voted"] = Value::Null;
    assert_eq!(nobody.get(&path).await.json(), of_nobody);
    assert_eq!(bob.get(&path).await.json(), post);
    assert_eq!(nobody.get("/posts").await.member("posts"), json!([of_nobody]));
    assert_eq!(nobody.get("/users/ada").await.member("post_count"), 1);

    let plain = json!({ "title": "Only a title" });
    for (caller, status) in [(&nobody, 401), (&bob, 403)] {
        assert_eq!(caller.put(&path, &plain).await.status, status);
        assert_eq!(caller.patch(&path, &plain).await.status, status);
        assert_eq!(caller.patch(&path, &json!({})).await.status, status);
        assert_eq!(caller.delete(&path).await.status, status);
    }
    assert_eq!(nobody.post("/posts", &plain).await.status, 401);
    for caller in [&ada, &bob] {
        for path in ["/posts/987654", "/posts/0", "/posts/01", "/posts/x"] {
            assert_eq!(caller.get(path).await.status, 404, "{path}");
            assert_eq!(caller.put(path, &plain).await.status, 404, "{path}");
            assert_eq!(caller.patch(path, &plain).await.status, 404, "{path}");
            assert_eq!(caller.delete(path).await.status, 404, "{path}");
            assert_eq!(caller.put(&format!("{path}/vote"), &Value::Null).await.status, 404);
            assert_eq!(caller.delete(&format!("{path}/vote")).await.status, 404, "{path}");
        }
    }
    assert_eq!(nobody.get(&path).await.json(), of_nobody, "nothing changed");

    // Changed in part; what is not given stays, and null takes the link away.
    let change = async |change: Value| {
        let reply = ada.patch(&path, &change).await;
        assert_eq!(reply.status, 200, "{change}: {}", reply.body);
        assert_eq!(reply.json(), ada.get(&path).await.json());
        reply.json()
    };
    assert_eq!(change(json!({})).await, post);
    assert_eq!(change(json!({ "title": post["title"] })).await, post, "no edit at all");
    let edited = change(json!({ "title": "Two jars" })).await;
    assert_eq!(edited["title"], "Two jars");
    assert_eq!((&edited["url"], &edited["body"]), (&post["url"], &post["body"]));
    assert!(is_moment(&edited["edited_at"]));
    assert_eq!(edited["created_at"], post["created_at"]);
    let edited = change(json!({ "url": null })).await;
    assert_eq!((&edited["url"], &edited["title"]), (&Value::Null, &json!("Two jars")));
    let edited = change(json!({ "url": "http://a.test", "body": "" })).await;
    assert_eq!((&edited["url"], &edited["body"]), (&json!("http://a.test/"), &json!("")));
    assert_eq!(edited["body_html"], "");
    assert_eq!(change(json!({ "url": "" })).await["url"], Value::Null);
    change(json!({ "url": "http://a.test", "body": "Text" })).await;

    // Replaced: what is not given is not there.
    let reply = ada.put(&path, &plain).await;
    assert_eq!(reply.status, 200);
    let replaced = reply.json();
    assert_eq!(members(&replaced), POST.into());
    assert_eq!(replaced["title"], "Only a title");
    assert_eq!((&replaced["url"], &replaced["body"]), (&Value::Null, &json!("")));
    assert_eq!(nobody.get("/posts?search=title").await.member("posts")[0]["id"], id);
    assert_eq!(nobody.get("/posts?search=jars").await.member("posts"), json!([]));

    for (typed, fields) in [
        (json!({ "title": "" }), vec!["title"]),
        (json!({ "title": "\u{200B}" }), vec!["title"]),
        (json!({ "title": "x".repeat(151) }), vec!["title"]),
        (json!({ "title": "x", "url": "javascript:alert(1)" }), vec!["url"]),
        (json!({ "title": "x", "body": "x".repeat(40_001) }), vec!["body"]),
        (json!({ "title": "a\0b", "url": "x", "body": "\0" }), vec!["title", "url", "body"]),
    ] {
        for reply in [
            ada.post("/posts", &typed).await,
            ada.put(&path, &typed).await,
            ada.patch(&path, &typed).await,
        ] {
            assert_eq!(reply.status, 422, "{typed:.60}");
            assert_eq!(reply.fields(), fields, "{typed:.60}");
        }
    }
    for (path, typed) in [
        ("/posts", json!({})),
        ("/posts", json!({ "title": null })),
        ("/posts", json!({ "body": "x" })),
    ] {
        assert_eq!(ada.post(path, &typed).await.status, 422, "{typed}");
    }
    assert_eq!(ada.put(&path, &json!({ "body": "x" })).await.status, 422);
    assert_eq!(ada.get(&path).await.json(), replaced, "nothing changed");

    let reply = ada.delete(&path).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (204, ""));
    for reply in [ada.get(&path).await, ada.delete(&path).await, ada.put(&path, &plain).await] {
        assert_eq!(reply.status, 404);
    }
    let shown = ada.post("/posts/preview", &json!({ "body": "*x* <svg onload=alert(1)>" })).await;
    assert_eq!(members(&shown.json()), ["body_html"].into());
    shown.has("<em>x</em>").lacks("<svg");
    assert_eq!(site.count("select count(*) from posts").await, 0);
}

#[tokio::test]
async fn a_vote_and_its_withdrawal_are_idempotent() {
    let site = TestSite::new().await;
    let (ada, bob) = (site.program("ada").await, site.program("bob").await);
    let id = site.post_by("ada", "A title").await;
    let path = format!("/posts/{id}/vote");
    let standing =
        |score: i64, voted: bool| json!({ "post_id": id, "score": score, "voted": voted });
    for (caller, voted, expected) in [
        (&ada, false, standing(0, false)),
        (&ada, true, standing(1, true)),
        (&ada, true, standing(1, true)),
        (&bob, true, standing(2, true)),
        (&ada, false, standing(1, false)),
        (&ada, false, standing(1, false)),
        (&bob, true, standing(1, true)),
    ] {
        // Neither needs a body.
        let reply = if voted {
            caller.send(caller.request(Method::PUT, &path), "").await
        } else {
            caller.delete(&path).await
        };
        assert_eq!((reply.status.as_u16(), reply.json()), (200, expected));
    }
    for (caller, voted) in
        [(&ada, json!(false)), (&bob, json!(true)), (&site.caller(), Value::Null)]
    {
        let post = caller.get(&format!("/posts/{id}")).await.json();
        assert_eq!((&post["score"], &post["voted"]), (&json!(1), &voted));
        assert_eq!(caller.get("/posts").await.member("posts"), json!([post]));
    }
    assert_eq!(site.caller().delete(&path).await.status, 401);
    assert_eq!(site.wrong_scores().await, []);
}

/// Three programs change one member each of the same post, and a fourth the whole of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_patches_of_one_post_lose_no_change() {
    let site = TestSite::new().await;
    let ada = site.program("ada").await;
    let post = publish(&ada, &json!({ "title": "0", "url": "http://a.test/0", "body": "0" })).await;
    let path = format!("/posts/{}", post["id"]);
    let writers: Vec<_> = ["title", "url", "body"]
        .into_iter()
        .map(|name| {
            let ada = Caller { token: ada.token.clone(), ..site.caller() };
            let path = path.clone();
            tokio::spawn(async move {
                let (mut last, mut done, mut refused) = (json!("0"), 0, 0);
                while done < 25 {
                    let value = match name {
                        "url" => json!(format!("http://a.test/{}", done + 1)),
                        _ => json!((done + 1).to_string()),
                    };
                    let reply = ada.patch(&path, &json!({ name: value })).await;
                    match reply.status.as_u16() {
                        200 => {
                            assert_eq!(reply.member(name), value);
                            (last, done) = (value, done + 1);
                        }
                        409 => refused += 1,
                        other => panic!("{other}: {}", reply.body),
                    }
                }
                (name, last, refused)
            })
        })
        .collect();
    let mut refused = 0;
    for writer in writers {
        let (name, last, times) = writer.await.unwrap();
        assert_eq!(ada.get(&path).await.member(name), last, "{name} was lost");
        refused += times;
    }
    eprintln!("{refused} were told to read again");
}
