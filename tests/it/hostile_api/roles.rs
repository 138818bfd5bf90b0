//! Who may do what.

use axum::http::Method;

use social_post::routes::Access;

use crate::{
    hostile::AttackedSite,
    hostile_api::{
        begin,
        endpoints::{Kind, endpoints},
        send,
    },
    support::Caller,
};

#[tokio::test]
async fn every_token_allows_only_what_its_owner_may_do_and_a_refusal_changes_nothing() {
    let mut at = AttackedSite::new().await;
    for name in ["other", "suspended", "gone", "chief"] {
        at.site.member(name).await;
    }
    let suspended = at.site.caller_of("suspended").await;
    let gone = at.site.caller_of("gone").await;
    for sql in [
        "update users set suspended_at = now() where username = 'suspended'",
        "delete from users where username = 'gone'",
        "update users set role = 'admin' where username = 'chief'",
    ] {
        sqlx::query(sql).execute(&at.site.db).await.unwrap();
    }
    at.last = at.state().await;
    for endpoint in endpoints() {
        for name in ["nobody", "suspended", "gone", "other", "chief", "ada"] {
            let by = match name {
                "nobody" => at.site.caller(),
                "suspended" => Caller { token: suspended.token.clone(), ..at.site.caller() },
                "gone" => Caller { token: gone.token.clone(), ..at.site.caller() },
                name => at.site.caller_of(name).await,
            };
            let address = endpoint.address(at.post);
            // As a page of another site: it may do nothing without a token.
            let request = begin(&by, &endpoint, &address).header("origin", "https://evil.test");
            let reply = send(&mut at, &by, request, endpoint.body()).await;
            let status = reply.status.as_u16();
            let what = format!("{} {address} by {name}: {}", endpoint.method, reply.body);
            match (endpoint.who, name) {
                (_, "suspended" | "gone") | (Access::Member | Access::Author, "nobody")
                    if !endpoint.takes_no_token =>
                {
                    assert_eq!(status, 401, "{what}");
                    let is_told = reply.header("www-authenticate").contains("invalid_token");
                    assert_eq!(is_told, name != "nobody", "{what}");
                }
                (Access::Anyone, "nobody") if !endpoint.method.is_safe() => {
                    assert_eq!(status, 403, "{what}");
                }
                (Access::Author, "other" | "chief") => assert_eq!(status, 403, "{what}"),
                _ if endpoint.leads_nowhere() => assert_eq!(status, 404, "{what}"),
                _ if endpoint.kind == Kind::Form => assert_eq!(status, 401, "{what}"),
                _ if endpoint.members.contains(&"current_password") => {
                    assert_eq!(status, 422, "{what}");
                }
                _ => assert!(status < 300, "{what}: {status}"),
            }
            if endpoint.method == Method::DELETE && endpoint.route == "/posts/{id}" && name == "ada"
            {
                at.post = at.site.post_by("ada", "Another").await;
                at.last = at.state().await;
            }
        }
    }
    at.tell();
}
