//! The API as programs meet it: every row of what it promises, with the statuses and shapes as they
//! are written down.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, header};
use serde_json::{Value, json};
use social_post::{identity::UserId, openapi, web::throttle::RateLimit};

use crate::support::{
    API, Caller, PASSWORD, Reply, TestSite, encode, post_office::PostOffice, routes, social_post,
};

const BETTER: &str = "marble otter 7 lantern";

/// The names of a document's members.
#[track_caller]
fn members(document: &Value) -> BTreeSet<&str> {
    document
        .as_object()
        .unwrap_or_else(|| panic!("{document}"))
        .keys()
        .map(String::as_str)
        .collect()
}

fn is_moment(value: &Value) -> bool {
    let format = time::format_description::well_known::Rfc3339;
    value.as_str().is_some_and(|text| time::OffsetDateTime::parse(text, &format).is_ok())
}

fn account(name: &str) -> Value {
    json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD })
}

async fn publish(by: &Caller, post: &Value) -> Value {
    let reply = by.post("/posts", post).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.json()
}

async fn fits(site: &TestSite, name: &str, password: &str) -> bool {
    let reply = site.caller().log_in(name, password).await;
    assert!([200, 401].contains(&reply.status.as_u16()), "{}", reply.body);
    reply.status == 200
}

// --- People ---

#[tokio::test]
async fn who_signs_up_is_seen_by_everyone_and_their_address_by_nobody() {
    let site = TestSite::new().await;
    let nobody = site.caller();
    let reply = nobody.post("/users", &account("Ada_L")).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (201, "/api/v1/users/Ada_L"));
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.cookies(), [""; 0]);
    let made = reply.json();
    assert_eq!(members(&made), ["created_at", "id", "username"].into());
    assert!(made["id"].is_i64() && made["username"] == "Ada_L" && is_moment(&made["created_at"]));

    for name in ["Ada_L", "ada_l", "ADA_L"] {
        let reply = nobody.get(&format!("/users/{name}")).await;
        assert_eq!(reply.status, 200, "{name}");
        let mut person = made.clone();
        person["post_count"] = json!(0);
        assert_eq!(reply.json(), person);
        reply.lacks("@");
    }
    for name in ["nobody-here", "a", "Ada%20L", "%20Ada_L", "Ada_L%00", "ada%C3%A9", "me%20"] {
        assert_eq!(nobody.get(&format!("/users/{name}")).await.status, 404, "{name}");
    }

    for (name, email, password, status, fields) in [
        ("ada_L", "new@example.org", PASSWORD, 409, vec!["username"]),
        ("newcomer", "ADA_l@Example.org", PASSWORD, 409, vec!["email"]),
        ("ada_l", "ada_l@example.org", PASSWORD, 409, vec!["username", "email"]),
        ("a", "new@example.org", PASSWORD, 422, vec!["username"]),
        ("admin", "new@example.org", PASSWORD, 422, vec!["username"]),
        // There is an address of this name already.
        ("me", "new@example.org", PASSWORD, 422, vec!["username"]),
        ("newcomer", "nowhere", PASSWORD, 422, vec!["email"]),
        ("newcomer", "new@example.org", "short", 422, vec!["password"]),
        ("newcomer", "new@example.org", "new@example.org", 422, vec!["password"]),
        ("", "", "", 422, vec!["username", "email", "password"]),
        // What is wrong is told before what is taken.
        ("ada_l", "", PASSWORD, 422, vec!["email"]),
    ] {
        let typed = json!({ "username": name, "email": email, "password": password });
        let reply = nobody.post("/users", &typed).await;
        assert_eq!(reply.status, status, "{typed}");
        assert_eq!(reply.fields(), fields, "{typed}");
    }
    assert_eq!(site.count("select count(*) from users").await, 1);
}

/// Many clients show whatever token they hold with every request.
#[tokio::test]
async fn a_token_that_is_over_keeps_nobody_from_getting_a_new_one() {
    let site = TestSite::new().await;
    let ada = site.program("ada").await;
    assert_eq!(ada.delete("/users/me/tokens").await.status, 204);
    assert_eq!(ada.get("/posts").await.status, 401, "it is over");

    assert_eq!(ada.log_in("ada", PASSWORD).await.status, 200);
    assert_eq!(ada.log_in("ada", "another password").await.status, 401);
    let reset = json!({ "token": "AAAAAAAAAAAAAAAAAAAAAA", "new_password": PASSWORD });
    assert_eq!(ada.post("/password/reset", &reset).await.status, 404);
}

#[tokio::test]
async fn a_name_or_an_address_and_the_password_give_a_token_and_whatever_else_looks_alike() {
    let site = TestSite::new().await;
    site.program("ada").await;
    site.program("gone").await;
    let nobody = site.caller();
    for login in ["ada", "ADA", " ada ", "ada@example.org", "Ada@EXAMPLE.org"] {
        let reply = nobody.log_in(login, PASSWORD).await;
        assert_eq!(reply.status, 200, "{login}");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.cookies(), [""; 0]);
        let token = reply.json();
        assert_eq!(members(&token), ["access_token", "expires_in", "token_type"].into());
        assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("bearer"), &json!(1800)));
        let caller =
            Caller { token: token["access_token"].as_str().map(str::to_owned), ..site.caller() };
        let me = caller.get("/users/me").await.json();
        assert_eq!(
            members(&me),
            ["created_at", "email", "email_confirmed", "id", "post_count", "username"].into()
        );
        assert_eq!((&me["email"], &me["post_count"]), (&json!("ada@example.org"), &json!(0)));
    }

    sqlx::query("update users set suspended_at = now() where username = 'gone'")
        .execute(&site.db)
        .await
        .unwrap();
    let mut refusals = BTreeSet::new();
    for (login, password) in [
        ("ada", "wrong password here"),
        ("ada", ""),
        ("", ""),
        ("", PASSWORD),
        ("ada", &format!("{PASSWORD} ")),
        ("ada\0", PASSWORD),
        ("nobody-here", PASSWORD),
        ("nobody@example.org", PASSWORD),
        ("gone", PASSWORD),
        ("gone", "wrong password here"),
    ] {
        let reply = nobody.log_in(login, password).await;
        assert_eq!(reply.status, 401, "{login:?} {password:?}");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"social-post\"");
        let mut headers: Vec<_> =
            reply.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.retain(|line| !line.starts_with("x-request-id"));
        refusals.insert((reply.body, headers));
    }
    assert_eq!(refusals.len(), 1, "{refusals:#?}");

    let right = [("username", "ada"), ("password", PASSWORD)];
    for (more, status) in [
        (vec![("grant_type", "password")], 200),
        (vec![("grant_type", "")], 200),
        (vec![("grant_type", "password"), ("scope", ""), ("client_id", "x")], 200),
        (vec![("client_id", "x"), ("client_secret", "y")], 200),
        (vec![("grant_type", "client_credentials")], 422),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "x")], 422),
        (vec![("otp", "123456")], 422),
        (vec![("username", "bob")], 400),
    ] {
        let request = nobody
            .request(Method::POST, "/login")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let reply = nobody.send(request, encode(&[&right[..], &more].concat())).await;
        assert_eq!(reply.status, status, "{more:?}: {}", reply.body);
    }
    let document = json!({ "username": "ada", "password": PASSWORD });
    assert_eq!(nobody.post("/login", &document).await.status, 415);
}

#[tokio::test]
async fn everyone_is_listed_once_the_newest_first_with_how_much_they_wrote() {
    let site = TestSite::new().await;
    let count = 65;
    for n in 0..count {
        sqlx::query("insert into users (username) values ($1)")
            .bind(format!("person{n}"))
            .execute(&site.db)
            .await
            .unwrap();
    }
    for n in 0..3 {
        site.post_by("person7", &format!("Post {n}")).await;
    }
    let nobody = site.caller();
    for (limit, size) in
        [("", 30), ("limit=1", 1), ("limit=7", 7), ("limit=64", 64), ("limit=100", 100)]
    {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = nobody.get(&format!("/users?{limit}{after}")).await.json();
            assert_eq!(members(&page), ["next", "users"].into());
            let users = page["users"].as_array().unwrap();
            seen.extend(users.iter().map(|user| user["username"].as_str().unwrap().to_owned()));
            for user in users {
                let posts = if user["username"] == "person7" { 3 } else { 0 };
                assert_eq!(user["post_count"], posts, "{user}");
            }
            match page["next"].as_str() {
                Some(next) => {
                    assert_eq!(users.len(), size);
                    after = format!("&after={next}");
                }
                None => break,
            }
        }
        let all: Vec<_> = (0..count).rev().map(|n| format!("person{n}")).collect();
        assert_eq!(seen, all, "{limit}");
    }
    for query in
        ["limit=0", "limit=101", "limit=-1", "limit=01", "limit=+1", "limit=1e1", "after=x"]
    {
        assert_eq!(nobody.get(&format!("/users?{query}")).await.status, 400, "{query}");
    }
}

// --- Posts ---

const POST: [&str; 10] = [
    "author",
    "body",
    "body_html",
    "created_at",
    "edited_at",
    "id",
    "score",
    "title",
    "url",
    "voted",
];

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
async fn a_vote_is_cast_once_and_taken_back_once_however_often_it_is_sent() {
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

/// Every way of asking, gone through to its end by either way of going on.
#[expect(clippy::too_many_lines, reason = "one list asked for in every way")]
#[tokio::test]
async fn every_list_has_each_post_once_in_its_order_whichever_way_one_goes_through_it() {
    let site = TestSite::new().await;
    let mut voters = Vec::new();
    for n in 0..4 {
        voters.push(site.member(&format!("voter{n}")).await);
    }
    let mut posts = BTreeMap::new();
    for n in 0..37_usize {
        let author = if n % 3 == 0 { "bob" } else { "ada" };
        let title = format!("{} number {n}", if n % 2 == 0 { "Owl" } else { "Cat" });
        let id = site.post_by(author, &title).await;
        let score = n * 7 % 5;
        for voter in &voters[..score] {
            voter.post(&format!("/posts/{id}/vote"), &[("value", "1")]).await;
        }
        posts.insert(id, (author, title, score));
    }
    let caller = site.caller_of("voter0").await;
    let ask = async |query: &str| {
        let reply = caller.get(&format!("/posts?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.body);
        let page = reply.json();
        assert_eq!(members(&page), ["next", "posts"].into());
        let posts = page["posts"].as_array().unwrap().clone();
        let next = page["next"].as_str().map(str::to_owned);
        assert!(next.is_some() || page["next"].is_null());
        (posts, next)
    };
    let ids = |posts: &[Value]| -> Vec<i64> {
        posts.iter().map(|post| post["id"].as_i64().unwrap()).collect()
    };

    for sort in ["", "sort=new&", "sort=hot&", "sort=top&"] {
        for author in ["", "author=ada&", "author=BOB&", "author=voter1&", "author=nobody&"] {
            for search in ["", "search=owl&", "search=number&", "search=nothing&"] {
                let list = format!("{sort}{author}{search}");
                let wanted: BTreeSet<i64> = posts
                    .iter()
                    .filter(|(_, (by, title, _))| {
                        let by = format!("author={by}&");
                        (author.is_empty() || author.eq_ignore_ascii_case(&by))
                            && (search != "search=owl&" || title.starts_with("Owl"))
                            && search != "search=nothing&"
                    })
                    .map(|(id, _)| *id)
                    .collect();
                let (all, next) = ask(&format!("{list}limit=100")).await;
                assert_eq!(next, None, "{list}");
                let all_ids = ids(&all);
                assert_eq!(all_ids.iter().copied().collect::<BTreeSet<_>>(), wanted, "{list}");
                assert_eq!(all_ids.len(), wanted.len(), "{list}: one is there twice");
                let mut ordered = all_ids.clone();
                match sort {
                    "" | "sort=new&" => ordered.sort_unstable_by_key(|id| -id),
                    "sort=top&" => {
                        ordered.sort_unstable_by_key(|id| (std::cmp::Reverse(posts[id].2), -id));
                    }
                    _ => {}
                }
                assert_eq!(all_ids, ordered, "{list}");
                for post in &all {
                    assert_eq!(members(post), POST.into());
                    let (author, title, score) = &posts[&post["id"].as_i64().unwrap()];
                    assert_eq!((&post["author"], &post["title"]), (&json!(author), &json!(title)));
                    assert_eq!(
                        (&post["score"], &post["voted"]),
                        (&json!(score), &json!(*score > 0))
                    );
                }

                for limit in [1, 10, 18] {
                    if limit == 1 && wanted.len() > 30 {
                        continue;
                    }
                    let (mut by_cursor, mut after) = (Vec::new(), String::new());
                    loop {
                        let (page, next) = ask(&format!("{list}limit={limit}{after}")).await;
                        assert!(page.len() <= limit);
                        by_cursor.extend(ids(&page));
                        match next {
                            Some(next) => after = format!("&after={next}"),
                            None => break,
                        }
                        assert_eq!(page.len(), limit, "{list}");
                    }
                    assert_eq!(by_cursor, all_ids, "{list}limit={limit}");
                    let mut by_skip = Vec::new();
                    for skip in (0..40).step_by(limit) {
                        let (page, next) = ask(&format!("{list}limit={limit}&skip={skip}")).await;
                        by_skip.extend(ids(&page));
                        assert_eq!(next.is_some(), skip + limit < all_ids.len(), "{list}{skip}");
                    }
                    assert_eq!(by_skip, all_ids, "{list}limit={limit}");
                }
                // Both ways at once: so many after that place.
                if let (_, Some(next)) = ask(&format!("{list}limit=5")).await {
                    let (page, _) = ask(&format!("{list}limit=3&skip=2&after={next}")).await;
                    let wanted: Vec<_> = all_ids.iter().skip(7).take(3).copied().collect();
                    assert_eq!(ids(&page), wanted, "{list}");
                    // A place in one list is none in another.
                    for other in ["sort=new&", "sort=hot&", "sort=top&"] {
                        if other == sort || sort.is_empty() && other == "sort=new&" {
                            continue;
                        }
                        let path = format!("/posts?{other}{author}{search}after={next}");
                        assert_eq!(caller.get(&path).await.status, 400, "{path}");
                    }
                }
            }
        }
    }
    let (default, _) = ask("").await;
    assert_eq!(default.len(), 10);
    for (query, page) in [
        ("sort=hot&limit=30", "/"),
        ("sort=new&limit=30", "/new"),
        ("sort=top&limit=30", "/top?t=all"),
        ("author=ada&limit=30", "/users/ada"),
        ("search=owl+number&sort=hot&limit=30", "/search?q=owl+number"),
        ("search=owl&sort=top&limit=30", "/search?q=owl&sort=top"),
    ] {
        let (posts, _) = ask(query).await;
        assert_eq!(ids(&posts), site.visitor().get(page).await.posts(), "{query} is not {page}");
    }
    let unseen = site.caller().get("/posts?limit=100").await.member("posts");
    assert!(unseen.as_array().unwrap().iter().all(|post| post["voted"].is_null()));

    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=010",
        "limit=%2B5",
        "limit=5.0",
        "limit=1e1",
        "limit=ten",
        "limit=99999999999999999999",
        "skip=-1",
        "skip=10001",
        "skip=00",
        "skip=x",
        "sort=best",
        "sort=NEW",
        "sort=new&sort=new",
        "limit=5&limit=5",
        "after=x",
        "after=AAAA",
    ] {
        assert_eq!(caller.get(&format!("/posts?{query}")).await.status, 400, "{query}");
    }
    for query in ["search=x", &format!("search={}", "x".repeat(201)), "search=%20x%20"] {
        let reply = caller.get(&format!("/posts?{query}")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.fields()),
            (422, vec!["search".into()]),
            "{query}"
        );
    }
    for query in ["skip=10000", "limit=100&skip=100", "author=no%20name", "author=%F0%9F%A6%80"] {
        assert_eq!(ask(query).await, (vec![], None), "{query}");
    }
    for query in ["limit=", "skip=", "search=", "sort=", "author=", "after=", "utm_source=x"] {
        assert_eq!(ask(query).await.0, default, "{query}: empty is as good as none");
    }
}

// --- Once and again ---

async fn with_keys(by: &Caller, keys: &[&[u8]], post: &Value) -> Reply {
    let mut request = by.document(Method::POST, "/posts");
    for key in keys {
        request = request.header("idempotency-key", *key);
    }
    by.send(request, post.to_string()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_with_its_key_is_published_once_and_answered_alike() {
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
    while social_post::posts::db::sweep_keys(&site.db).await.unwrap() > 0 {}
    let later = with_keys(&ada, &[b"one"], &json!({ "title": "Tomorrow" })).await;
    assert_eq!(later.status, 201, "a key is forgotten after a day");
}

/// Three programs change one member each of the same post, and a fourth the whole of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changes_a_part_loses_nothing_of_what_another_changes_meanwhile() {
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

// --- One's own account ---

#[tokio::test]
async fn a_password_and_an_address_are_changed_by_who_knows_the_password() {
    let site = TestSite::new().await;
    let ada = site.program("ada").await;
    site.program("bob").await;
    let password =
        |current: &str, new: &str| json!({ "current_password": current, "new_password": new });
    for (typed, field) in [
        (password("wrong password here", BETTER), "current_password"),
        (password("", BETTER), "current_password"),
        (password(PASSWORD, "short"), "new_password"),
        (password(PASSWORD, "ada@example.org"), "new_password"),
        (password(PASSWORD, "a\0aaaaaaaaaaaaaaaaa"), "new_password"),
    ] {
        let reply = ada.put("/users/me/password", &typed).await;
        assert_eq!((reply.status.as_u16(), reply.fields()), (422, vec![field.into()]), "{typed}");
    }
    assert!(fits(&site, "ada", PASSWORD).await, "nothing changed");
    let reply = ada.put("/users/me/password", &password(PASSWORD, BETTER)).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (204, ""));
    assert!(!fits(&site, "ada", PASSWORD).await && fits(&site, "ada", BETTER).await);

    let ada = site.caller_of("ada").await;
    let email = |current: &str, email: &str| json!({ "current_password": current, "email": email });
    for (typed, status, field) in [
        (email("wrong password here", "new@example.org"), 422, "current_password"),
        (email(BETTER, "nowhere"), 422, "email"),
        (email(BETTER, ""), 422, "email"),
        (email(BETTER, "a@b.org\r\nBcc: c@d.org"), 422, "email"),
        (email(BETTER, "BOB@example.org"), 409, "email"),
    ] {
        let reply = ada.put("/users/me/email", &typed).await;
        assert_eq!(
            (reply.status.as_u16(), reply.fields()),
            (status, vec![field.into()]),
            "{typed}"
        );
    }
    assert_eq!(ada.get("/users/me").await.member("email"), "ada@example.org");
    let reply = ada.put("/users/me/email", &email(BETTER, "Countess@example.org")).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (204, ""));
    assert_eq!(ada.get("/users/me").await.member("email"), "Countess@example.org");
    assert!(fits(&site, "countess@example.org", BETTER).await);
    for (method, path, typed) in [
        (Method::PUT, "/users/me/password", password(PASSWORD, BETTER)),
        (Method::PUT, "/users/me/email", email(PASSWORD, "x@example.org")),
        (Method::POST, "/users/me/deletion", json!({ "current_password": BETTER })),
    ] {
        let nobody = site.caller();
        let reply = nobody.send(nobody.document(method, path), typed.to_string()).await;
        assert_eq!(reply.status, 401, "{path}");
    }
}

#[tokio::test]
async fn all_that_is_mine_is_what_the_page_gives_and_goes_with_the_account() {
    let site = TestSite::new().await;
    let member = site.member("ada").await;
    let ada = site.caller_of("ada").await;
    let bob = site.program("bob").await;
    let mine = publish(&ada, &json!({ "title": "Mine", "body": "*text*" })).await["id"].clone();
    let theirs = publish(&bob, &json!({ "title": "Theirs" })).await["id"].clone();
    for id in [&mine, &theirs] {
        assert_eq!(ada.put(&format!("/posts/{id}/vote"), &Value::Null).await.status, 200);
    }

    let reply = ada.get("/users/me/export").await;
    assert_eq!((reply.status.as_u16(), reply.header("cache-control")), (200, "no-store"));
    let mut document = reply.json();
    let mut page: Value = serde_json::from_str(&member.get("/settings/export").await.body).unwrap();
    assert_eq!(document["votes"].as_array().unwrap().len(), 2);
    document["exported_at"] = Value::Null;
    page["exported_at"] = Value::Null;
    assert_eq!(document, page);

    let leave = |password: &str| json!({ "current_password": password });
    let reply = ada.post("/users/me/deletion", &leave("wrong password here")).await;
    assert_eq!((reply.status.as_u16(), reply.fields()), (422, vec!["current_password".into()]));
    sqlx::query("update users set role = 'admin' where username = 'ada'")
        .execute(&site.db)
        .await
        .unwrap();
    assert_eq!(
        ada.post("/users/me/deletion", &leave(PASSWORD)).await.status,
        409,
        "the only admin"
    );
    sqlx::query("update users set role = 'admin'").execute(&site.db).await.unwrap();
    assert_eq!(ada.post("/users/me/deletion", &leave(PASSWORD)).await.status, 204);
    assert_eq!(bob.get("/users/ada").await.status, 404);
    assert_eq!(bob.get(&format!("/posts/{mine}")).await.status, 404);
    assert_eq!(bob.get(&format!("/posts/{theirs}")).await.member("score"), 0);
    assert_eq!(member.get("/settings").await.status, 303, "nor does the browser go on");
    assert_eq!(site.wrong_scores().await, []);
}

#[tokio::test]
async fn a_program_sees_and_ends_its_owners_sessions_and_nobody_elses() {
    let site = TestSite::new().await;
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    let there = site.visitor();
    let request = there.form("/login").header(
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
    );
    let login = encode(&[("login", "ada"), ("password", PASSWORD)]);
    assert_eq!(there.send(request, login).await.status, 303);
    let (program, other) = (site.caller_of("ada").await, site.caller_of("bob").await);

    let listed = program.get("/users/me/sessions").await;
    assert_eq!(listed.header("cache-control"), "no-store");
    let sessions = listed.member("sessions").as_array().unwrap().clone();
    assert_eq!(sessions.len(), 2);
    for session in &sessions {
        assert_eq!(members(session), ["created_at", "device", "id", "last_seen_at"].into());
        assert!(is_moment(&session["created_at"]) && is_moment(&session["last_seen_at"]));
    }
    for cookie in [ada.cookie("sid"), there.cookie("sid")] {
        listed.lacks(&cookie.unwrap());
    }
    let firefox = sessions.iter().find(|session| session["device"] == "Firefox on Windows");
    let path = format!("/users/me/sessions/{}", firefox.unwrap()["id"].as_str().unwrap());
    assert_eq!(other.delete(&path).await.status, 404, "it is not Bob's");
    for id in ["x", "1", "00000000-0000-0000-0000-000000000000", "%00"] {
        assert_eq!(program.delete(&format!("/users/me/sessions/{id}")).await.status, 404, "{id}");
    }
    assert_eq!(there.get("/settings").await.status, 200);
    let reply = program.delete(&path).await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (204, ""));
    assert_eq!(program.delete(&path).await.status, 404);
    assert_eq!(there.get("/settings").await.status, 303);
    assert_eq!(ada.get("/settings").await.status, 200);

    assert_eq!(program.delete("/users/me/tokens").await.status, 204);
    assert_eq!(program.get("/users/me").await.status, 401);
    assert_eq!(ada.get("/settings").await.status, 200, "a browser goes on");
    let program = site.caller_of("ada").await;
    assert_eq!(program.delete("/users/me/sessions").await.status, 204);
    assert_eq!(program.get("/users/me").await.status, 401);
    assert_eq!(ada.get("/settings").await.status, 303);
    assert_eq!(bob.get("/settings").await.status, 200);
    assert_eq!(other.get("/users/me").await.status, 200);
}

// --- Links by mail ---

#[tokio::test]
async fn a_forgotten_password_is_replaced_and_an_address_proven_by_a_link() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let nobody = site.caller();
    let ada = site.program("ada").await;
    let letters = office.letters(1).await;
    let token_of = |link: &str| json!(link.rsplit_once('/').unwrap().1);
    let confirm = token_of(&letters[0].link("/email/confirm"));
    assert_eq!(ada.get("/users/me").await.member("email_confirmed"), false);
    for token in [json!("x"), json!(""), json!("AAAAAAAAAAAAAAAAAAAAAA"), json!("a\0b")] {
        let reply = nobody.post("/email/confirm", &json!({ "token": token })).await;
        assert_eq!(reply.status, 404, "{token}");
        let reset = json!({ "token": token, "new_password": BETTER });
        assert_eq!(nobody.post("/password/reset", &reset).await.status, 404, "{token}");
    }
    let reset = json!({ "token": confirm, "new_password": BETTER });
    assert_eq!(nobody.post("/password/reset", &reset).await.status, 404, "for something else");
    for status in [204, 404] {
        let reply = nobody.post("/email/confirm", &json!({ "token": confirm })).await;
        assert_eq!(reply.status, status);
    }
    assert_eq!(ada.get("/users/me").await.member("email_confirmed"), true);

    // Nobody learns who has an account.
    let mut answers = BTreeSet::new();
    for email in ["ada@example.org", "nobody@example.org"] {
        let reply = nobody.post("/password/forgot", &json!({ "email": email })).await;
        assert_eq!(reply.status, 202);
        answers.insert(reply.body);
    }
    assert_eq!(answers.len(), 1);
    let reply = nobody.post("/password/forgot", &json!({ "email": "nowhere" })).await;
    assert_eq!((reply.status.as_u16(), reply.fields()), (422, vec!["email".into()]));
    let letters = office.letters(2).await;
    let letter = letters.iter().find(|letter| letter.subject.contains("A new password")).unwrap();
    let token = token_of(&letter.link("/password/reset"));
    let reset = |new: &str| json!({ "token": token, "new_password": new });
    let reply = nobody.post("/password/reset", &reset("short")).await;
    assert_eq!((reply.status.as_u16(), reply.fields()), (422, vec!["new_password".into()]));
    for status in [204, 404] {
        assert_eq!(nobody.post("/password/reset", &reset(BETTER)).await.status, status);
    }
    assert!(!fits(&site, "ada", PASSWORD).await && fits(&site, "ada", BETTER).await);
    office.letters(3).await;

    // Another address counts once its link was followed, and not where somebody was quicker.
    let ada = site.caller_of("ada").await;
    let change = json!({ "current_password": BETTER, "email": "countess@example.org" });
    assert_eq!(ada.put("/users/me/email", &change).await.status, 202);
    assert_eq!(ada.get("/users/me").await.member("email"), "ada@example.org");
    let letters = office.letters(4).await;
    let letter = letters.iter().find(|letter| letter.to == "countess@example.org").unwrap();
    let token = token_of(&letter.link("/email/confirm"));
    site.program("bob").await;
    office.letters(5).await;
    for (email, status) in [("countess@example.org", 409), ("elsewhere@example.org", 204)] {
        sqlx::query("update users set email = $1, email_key = $1 where username = 'bob'")
            .bind(email)
            .execute(&site.db)
            .await
            .unwrap();
        let reply = nobody.post("/email/confirm", &json!({ "token": token })).await;
        assert_eq!(reply.status, status, "{}", reply.body);
    }
    assert_eq!(ada.get("/users/me").await.member("email"), "countess@example.org");

    let silent = TestSite::new().await;
    let reply = silent.caller().post("/password/forgot", &json!({ "email": "a@b.org" })).await;
    assert_eq!(reply.status, 404, "a site without mail");
}

// --- Budgets ---

/// One budget for each act, however it is done.
#[tokio::test]
async fn writing_voting_and_searching_share_their_budgets_with_the_pages() {
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
        while site.app.throttle.take(act, UserId(adas)).is_ok() {}
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

// --- Both faces, and the description ---

/// What a page does, and how a program does the same.
const COUNTERPARTS: [(&str, &str, &str, &str); 35] = [
    ("GET", "/", "GET", "/posts"),
    ("GET", "/new", "GET", "/posts"),
    ("GET", "/top", "GET", "/posts"),
    ("GET", "/search", "GET", "/posts"),
    ("GET", "/posts/{id}", "GET", "/posts/{id}"),
    ("GET", "/posts/{id}", "GET", "/posts/{id}/rank"),
    ("GET", "/users", "GET", "/users"),
    ("GET", "/users/{username}", "GET", "/users/{username}"),
    ("POST", "/posts", "POST", "/posts"),
    ("POST", "/posts/preview", "POST", "/posts/preview"),
    ("POST", "/posts/{id}/edit", "PUT", "/posts/{id}"),
    ("POST", "/posts/{id}/edit", "PATCH", "/posts/{id}"),
    ("POST", "/posts/{id}/delete", "DELETE", "/posts/{id}"),
    ("POST", "/posts/{id}/vote", "PUT", "/posts/{id}/vote"),
    ("POST", "/posts/{id}/vote", "DELETE", "/posts/{id}/vote"),
    ("POST", "/signup", "POST", "/users"),
    ("POST", "/login", "POST", "/login"),
    ("POST", "/logout", "DELETE", "/users/me/tokens"),
    ("POST", "/password/forgot", "POST", "/password/forgot"),
    ("POST", "/password/reset/{token}", "POST", "/password/reset"),
    ("POST", "/email/confirm/{token}", "POST", "/email/confirm"),
    ("GET", "/settings", "GET", "/users/me"),
    ("POST", "/settings/password", "PUT", "/users/me/password"),
    ("POST", "/settings/email", "PUT", "/users/me/email"),
    ("GET", "/settings/sessions", "GET", "/users/me/sessions"),
    ("POST", "/settings/sessions/revoke", "DELETE", "/users/me/sessions/{id}"),
    ("POST", "/settings/sessions/revoke", "DELETE", "/users/me/sessions"),
    ("GET", "/settings/export", "GET", "/users/me/export"),
    ("POST", "/settings/delete-account", "POST", "/users/me/deletion"),
    // Of the pages alone: forms before they are filled in.
    ("GET", "/posts/new", "", "a form"),
    ("GET", "/posts/{id}/edit", "", "a form with the post in it, which GET /posts/{id} gives"),
    ("GET", "/posts/{id}/delete", "", "a question that a program need not be asked"),
    ("GET", "/settings/delete-account", "", "the same"),
    ("GET", "/signup", "", "a form"),
    ("GET", "/login", "", "a form"),
];
/// Also of the pages alone, and of no one's account: a link's own form, what other programs read, files, and how
/// the site is.
const OF_PAGES_ALONE: [(&str, &str); 19] = [
    ("GET", "/live"),
    ("GET", "/feed.atom"),
    ("GET", "/new/feed.atom"),
    ("GET", "/users/{username}/feed.atom"),
    ("GET", "/search/feed.atom"),
    ("GET", "/sitemap.xml"),
    ("GET", "/robots.txt"),
    ("GET", "/manifest.webmanifest"),
    ("GET", "/opensearch.xml"),
    ("GET", "/.well-known/security.txt"),
    ("GET", "/.well-known/change-password"),
    ("GET", "/password/forgot"),
    ("GET", "/password/reset/{token}"),
    ("GET", "/email/confirm/{token}"),
    ("GET", "/static/{name}"),
    ("GET", "/favicon.svg"),
    ("GET", "/favicon.ico"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
];
/// Of programs alone: the description of what they may do.
const OF_PROGRAMS_ALONE: [(&str, &str); 2] = [("GET", "/openapi.json"), ("GET", "/docs")];

fn pair((method, path): (&str, &str)) -> (String, String) {
    (path.to_owned(), method.to_owned())
}

#[test]
fn whatever_a_page_does_a_program_can_do_and_the_other_way_round() {
    let pages = COUNTERPARTS.map(|(method, path, _, _)| (method, path)).into_iter();
    let pages: routes::Routes = pages.chain(OF_PAGES_ALONE).map(pair).collect();
    assert_eq!(pages, routes::pages(), "left: this file, right: src/routes.rs");
    let programs = COUNTERPARTS.map(|(_, _, method, path)| (method, path)).into_iter();
    let programs = programs.filter(|(method, _)| !method.is_empty());
    let programs: routes::Routes = programs.chain(OF_PROGRAMS_ALONE).map(pair).collect();
    assert_eq!(programs, routes::api(), "left: this file, right: src/routes.rs");
}

/// The schema that a reference leads to, or itself.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(place) => document.pointer(&place[1..]).unwrap_or_else(|| panic!("{place}")),
        None => schema,
    }
}

/// Whether a reader finds an example of it, whole or of each member that must be there.
fn has_example(document: &Value, schema: &Value) -> bool {
    let schema = resolved(document, schema);
    if ["example", "examples", "enum", "const"].iter().any(|name| !schema[name].is_null()) {
        return true;
    }
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    let Some(members) = schema["properties"].as_object() else { return false };
    let is_shown = |member: &Value| member["type"] == "boolean" || has_example(document, member);
    if required.is_empty() {
        return members.values().any(is_shown);
    }
    required.iter().all(|name| is_shown(&members[name.as_str().unwrap()]))
}

#[tokio::test]
async fn the_description_says_of_every_route_what_it_takes_and_answers_and_of_no_other() {
    let site = TestSite::new().await;
    let reply = site.caller().get("/openapi.json").await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/json"));
    let document = reply.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(reply.body.trim_end(), openapi::json().unwrap().trim_end());
    let printed = social_post(&["openapi"], &[]);
    assert_eq!(printed.status.code(), Some(0));
    assert_eq!(serde_json::from_slice::<Value>(&printed.stdout).unwrap(), document);

    let mut known = routes::Routes::new();
    let (mut ids, mut faults) = (BTreeSet::new(), Vec::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        let short = path.strip_prefix(API).unwrap_or_else(|| panic!("{path}"));
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            known.insert((short.to_owned(), method.to_uppercase()));
            let id = operation["operationId"].as_str().unwrap_or_default();
            if id.is_empty() || !ids.insert(id.to_owned()) {
                faults.push(format!("{what}: operationId {id:?}"));
            }
            if operation["summary"].as_str().unwrap_or_default().is_empty() {
                faults.push(format!("{what}: no summary"));
            }
            let answers = operation["responses"].as_object().unwrap();
            for family in ['2', '4'] {
                if !answers.keys().any(|status| status.starts_with(family)) {
                    faults.push(format!("{what}: no {family}xx"));
                }
            }
            for (status, answer) in answers {
                if answer["description"].as_str().unwrap_or_default().is_empty() {
                    faults.push(format!("{what}: {status} without a word"));
                }
                let kinds = answer["content"].as_object();
                let kinds: Vec<_> = kinds.into_iter().flatten().map(|(kind, _)| kind).collect();
                let fits = match status.as_str() {
                    "202" | "204" => kinds.is_empty(),
                    status if status.starts_with('2') => kinds == ["application/json"],
                    _ => kinds == ["application/problem+json"],
                };
                if !fits {
                    faults.push(format!("{what}: {status} is {kinds:?}"));
                }
            }
            let contents = operation["requestBody"]["content"].as_object();
            for (kind, content) in contents.into_iter().flatten() {
                let is_shown =
                    !content["example"].is_null() || has_example(&document, &content["schema"]);
                if !is_shown {
                    faults.push(format!("{what}: no example of its {kind}"));
                }
            }
            let named: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let in_path: BTreeSet<_> = parameters
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            if named != in_path {
                faults.push(format!("{what}: parameters {in_path:?}"));
            }
        }
    }
    assert_eq!(faults, [""; 0]);
    let mut routes = routes::api();
    routes.retain(|route| !OF_PROGRAMS_ALONE.map(pair).contains(route));
    assert_eq!(known, routes, "left: the description, right: src/routes.rs");

    // And the page for people has all of it, of this host alone.
    let docs = site.caller().get("/docs").await;
    assert_eq!(docs.status, 200);
    for (path, _) in known {
        docs.has(&format!("{API}{path}"));
    }
    docs.lacks("<script src=\"http").lacks("Logged in as");
}
