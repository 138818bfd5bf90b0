//! One's own account.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    api::{BETTER, fits, is_moment, members, publish},
    support::{PASSWORD, TestSite, encode, post_office::PostOffice},
};

#[tokio::test]
async fn a_password_or_email_change_needs_the_current_password() {
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
async fn the_account_export_equals_that_of_the_page_and_ends_with_the_account() {
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
async fn a_client_lists_and_ends_its_owners_sessions_only() {
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

#[tokio::test]
async fn password_reset_and_email_confirmation_work_by_a_mailed_link() {
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
