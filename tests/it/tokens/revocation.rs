//! What ends a token.

use serde_json::{Value, json};
use social_post::routes::router;

use crate::{
    program::social_post,
    support::{Caller, PASSWORD, Reply, TestSite, database, post_office::PostOffice},
    tokens::BETTER,
};

/// Fails unless every endpoint accepts the token, or every one refuses it.
#[track_caller]
fn counts(replies: &[Reply], does: bool, why: &str) {
    for reply in replies {
        assert_eq!(reply.status.as_u16(), if does { 200 } else { 401 }, "{why}: {}", reply.body);
        assert_eq!(reply.header("www-authenticate").contains("invalid_token"), !does, "{why}");
    }
}

async fn everywhere(caller: &Caller, post: i64) -> Vec<Reply> {
    vec![
        caller.get("/users/me").await,
        caller.get("/posts").await,
        caller.get(&format!("/posts/{post}")).await,
        caller.put(&format!("/posts/{post}/vote"), &Value::Null).await,
        caller.post("/posts/preview", &json!({ "body": "x" })).await,
        caller.get("/users/me/export").await,
    ]
}

#[tokio::test]
async fn everything_that_ends_sessions_also_revokes_tokens_at_the_next_request() {
    let office = PostOffice::open().await;
    let database = database().await;
    let mut site = TestSite::over(database.options(), "http://site.test");
    site.app.mailer = social_post::mail::Mailer::new(Some(&office.outgoing())).unwrap();
    site.router = router(site.app.clone());
    let ada = site.member("ada").await;
    let bob = site.program("bob").await;
    office.letters(2).await;
    let post = site.post_by("bob", "A title").await;
    let settings = [("DATABASE_URL", database.url.as_str())];
    let run = |arguments: &[&str]| {
        assert_eq!(social_post(arguments, &settings).status.code(), Some(0), "{arguments:?}");
    };
    let mut letters = 2;

    for end in [
        "another password by the form",
        "another password by the API",
        "a link by mail, followed by the form",
        "a link by mail, followed by the API",
        "another password by the operator",
        "logging out everywhere by the form",
        "logging out everywhere by the API",
        "ending all tokens",
        "a suspension",
    ] {
        let (one, other) = (site.caller_of("ada").await, site.caller_of("ada").await);
        counts(&everywhere(&one, post).await, true, end);
        counts(&everywhere(&other, post).await, true, end);
        let new = json!({ "current_password": PASSWORD, "new_password": BETTER });
        match end {
            "another password by the form" => {
                let fields = [("current_password", PASSWORD), ("new_password", BETTER)];
                assert_eq!(ada.post("/settings/password", &fields).await.status, 303);
            }
            "another password by the API" => {
                assert_eq!(one.put("/users/me/password", &new).await.status, 204);
            }
            "a link by mail, followed by the form" | "a link by mail, followed by the API" => {
                let email = json!({ "email": "ada@example.org" });
                assert_eq!(site.caller().post("/password/forgot", &email).await.status, 202);
                letters += 1;
                let all = office.letters(letters).await;
                let newest = all.iter().filter(|letter| letter.subject.contains("A new password"));
                let links: Vec<_> = newest.map(|letter| letter.link("/password/reset")).collect();
                let mut statuses = Vec::new();
                for link in links {
                    let (_, token) = link.rsplit_once('/').unwrap();
                    if end.ends_with("API") {
                        let reset = json!({ "token": token, "new_password": BETTER });
                        let reply = site.caller().post("/password/reset", &reset).await;
                        statuses.push(reply.status.as_u16());
                    } else {
                        let reply = ada.post(&link, &[("new_password", BETTER)]).await;
                        statuses.push(reply.status.as_u16());
                    }
                }
                let done = if end.ends_with("API") { 204 } else { 303 };
                assert_eq!(statuses.iter().filter(|status| **status == done).count(), 1);
            }
            "another password by the operator" => run(&["user", "reset-password", "ada"]),
            "logging out everywhere by the form" => {
                let ada = site.visitor();
                let fields = [("login", "ada"), ("password", PASSWORD)];
                assert_eq!(ada.post("/login", &fields).await.status, 303);
                let fields = [("others", "true")];
                assert_eq!(ada.post("/settings/sessions/revoke", &fields).await.status, 303);
                assert_eq!(ada.get("/settings").await.status, 200, "here it goes on");
            }
            "logging out everywhere by the API" => {
                assert_eq!(one.delete("/users/me/sessions").await.status, 204);
                assert_eq!(site.count("select count(*) from user_sessions").await, 0);
            }
            "ending all tokens" => {
                assert_eq!(one.delete("/users/me/tokens").await.status, 204);
            }
            _ => run(&["user", "suspend", "ada"]),
        }
        counts(&everywhere(&one, post).await, false, end);
        counts(&everywhere(&other, post).await, false, end);
        counts(&everywhere(&bob, post).await, true, end);
        // A password change sends its owner an email, except one by the operator.
        if end.starts_with("another password by the form")
            || end.starts_with("another password by the API")
            || end.starts_with("a link")
        {
            letters += 1;
            office.letters(letters).await;
        }
        if end == "a suspension" {
            run(&["user", "restore", "ada"]);
            counts(&everywhere(&one, post).await, false, "nothing brings a token back");
        }
        as_before(&site).await;
    }

    let ada = site.caller_of("ada").await;
    let leave = json!({ "current_password": PASSWORD });
    assert_eq!(ada.post("/users/me/deletion", &leave).await.status, 204);
    counts(&everywhere(&ada, post).await, false, "a deletion");
    let again = site.member("ada").await;
    assert_eq!(again.get("/settings").await.status, 200);
    counts(&everywhere(&ada, post).await, false, "a deletion, and another of the same name");
}

/// Ada has the password of all tests again.
async fn as_before(site: &TestSite) {
    sqlx::query(
        "update users set password_hash = (select password_hash from users where username = 'bob') \
         where username = 'ada'",
    )
    .execute(&site.db)
    .await
    .unwrap();
}
