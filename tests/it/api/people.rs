//! Signing up, logging in, and the list of people.

use std::collections::BTreeSet;

use axum::http::{Method, header};
use serde_json::json;

use crate::{
    api::{account, is_moment, members},
    support::{Caller, PASSWORD, TestSite, encode},
};

#[tokio::test]
async fn a_sign_up_shows_the_profile_to_everyone_and_the_email_address_to_nobody() {
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

/// Many clients send their token with every request, also where none is needed.
#[tokio::test]
async fn an_expired_token_in_a_log_in_request_is_ignored() {
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
async fn a_log_in_by_name_or_email_gives_a_token_and_every_failure_looks_the_same() {
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
async fn people_are_listed_once_newest_first_with_their_number_of_posts() {
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
