//! Who may do what, and what only claims to come from them.

use axum::http::{Method, header};

use social_post::routes::Access;

use crate::{
    hostile::{
        AttackedSite, begin,
        endpoints::{Field, endpoints, leads_nowhere},
    },
    support::PASSWORD,
};

/// What a browser, old or new, says of a form on another site's page.
const FOREIGN: [(&str, &str); 5] = [
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-site", "same-site"),
    ("origin", "https://evil.test"),
    ("origin", "null"),
    ("x", "neither"),
];

#[tokio::test]
async fn every_role_may_do_only_what_its_rights_allow_and_a_refusal_changes_nothing() {
    let mut at = AttackedSite::new().await;
    let mut logged_in = Vec::new();
    for name in ["other", "suspended", "gone", "chief"] {
        logged_in.push(at.site.member(name).await.cookie("sid").unwrap());
    }
    for sql in [
        "update users set suspended_at = now() where username = 'suspended'",
        "delete from users where username = 'gone'",
        "update users set role = 'admin' where username = 'chief'",
    ] {
        sqlx::query(sql).execute(&at.site.db).await.unwrap();
    }
    at.last = at.state().await;
    let own = at.session.clone();
    let mut people = [
        ("stranger", String::new(), false),
        ("suspended", logged_in[1].clone(), false),
        ("gone", logged_in[2].clone(), false),
        ("other", logged_in[0].clone(), true),
        // An admin may not write in another's name either.
        ("chief", logged_in[3].clone(), true),
        ("author", own, true),
    ];
    for mut endpoint in endpoints() {
        if endpoint.query.contains(&Field::After("by 1")) {
            endpoint.query = &[];
        }
        for (name, session, is_member) in &mut people {
            let is_author = *name == "author";
            for is_part in [false, true] {
                let by = at.site.visitor();
                if *name != "stranger" {
                    by.set_cookie("sid", session);
                }
                let (address, body) = endpoint.with(at.post, None);

                if !endpoint.is_get() {
                    for (header, value) in FOREIGN {
                        // A script says nothing of the kind, and may come without a session.
                        if header == "x" && *name == "stranger" {
                            continue;
                        }
                        let foreign = by
                            .request(Method::POST, &address)
                            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                            .header(header, value);
                        let reply = at.send(&by, foreign, body.clone()).await;
                        assert_eq!(
                            reply.status, 403,
                            "{address} with {header}: {value} by the {name}"
                        );
                    }
                }

                let reply = at.send(&by, begin(&by, &endpoint, &address, is_part), body).await;
                let status = reply.status.as_u16();
                match endpoint.who {
                    Access::Member | Access::Author if !*is_member => {
                        let refused = if endpoint.is_get() && !is_part { 303 } else { 401 };
                        assert_eq!(status, refused, "{} {address} by the {name}", endpoint.method);
                        if refused == 303 {
                            assert!(reply.location().starts_with("/login?next="), "{address}");
                        }
                        if is_part {
                            assert!(reply.header("hx-redirect").starts_with("/login"), "{address}");
                        }
                    }
                    Access::Author if !is_author => {
                        assert_eq!(status, 403, "{} {address} by the {name}", endpoint.method);
                    }
                    _ if leads_nowhere(&endpoint) => assert_eq!(status, 404),
                    _ if endpoint.form.contains(&Field::CurrentPassword) => assert_eq!(status, 422),
                    _ => assert!(
                        status < 400,
                        "{} {address} by the {name}: {status}",
                        endpoint.method
                    ),
                }
                if is_author && endpoint.route.ends_with("/delete") && !endpoint.is_get() {
                    at.post = at.site.post_by("ada", "Another").await;
                    at.last = at.state().await;
                }
                // Log in again after a log-out.
                if endpoint.route == "/logout" && *is_member {
                    let login = if is_author { "ada" } else { *name };
                    let fields = [("login", login), ("password", PASSWORD)];
                    assert_eq!(by.post("/login", &fields).await.status, 303);
                    *session = by.cookie("sid").unwrap();
                    at.last = at.state().await;
                }
            }
        }
    }
    at.tell();
}

/// Pages know the session's cookie and nothing else.
#[tokio::test]
async fn no_header_authenticates_a_page_request() {
    let mut at = AttackedSite::new().await;
    let stranger = at.site.visitor();
    let session = at.session.clone();
    let basic = format!(
        "Basic {}",
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("ada:{PASSWORD}"))
    );
    let headers = [
        ("authorization", format!("Bearer {session}")),
        ("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.".into()),
        ("authorization", basic),
        ("proxy-authorization", format!("Bearer {session}")),
        ("x-forwarded-user", "ada".into()),
        ("remote-user", "ada".into()),
        ("x-session-id", session.clone()),
        ("cookie2", format!("sid={session}")),
        ("x-original-cookie", format!("sid={session}")),
    ];
    for endpoint in endpoints() {
        if endpoint.who == Access::Anyone {
            continue;
        }
        let (address, body) = endpoint.with(at.post, None);
        for (name, value) in &headers {
            let request = begin(&stranger, &endpoint, &address, false).header(*name, value);
            let reply = at.send(&stranger, request, body.clone()).await;
            let refused = if endpoint.is_get() { 303 } else { 401 };
            assert_eq!(reply.status, refused, "{} {address} with {name}", endpoint.method);
        }
        // Nor does the cookie's value in the address or the form.
        let asks = if address.contains('?') { '&' } else { '?' };
        let address = format!("{address}{asks}sid={session}");
        let body = [body.as_slice(), format!("&sid={session}").as_bytes()].concat();
        let reply = stranger.send(begin(&stranger, &endpoint, &address, false), body).await;
        assert!([303, 401].contains(&reply.status.as_u16()), "{address}");
        assert!(reply.location().is_empty() || reply.location().starts_with("/login"), "{address}");
        assert_eq!(at.state().await, at.last);
    }
}

/// The oracle sees to it that no answer has a header of CORS.
#[tokio::test]
async fn no_page_has_cors_headers() {
    let mut at = AttackedSite::new().await;
    for endpoint in endpoints() {
        let (address, _) = endpoint.with(at.post, None);
        for origin in
            ["http://site.test", "https://evil.test", "null", "http://site.test.evil.test", "*"]
        {
            for by in [at.site.visitor(), at.ada()] {
                let request = by.request(Method::GET, &address).header(header::ORIGIN, origin);
                at.send(&by, request, "").await;
                for method in ["GET", "POST", "DELETE"] {
                    let request = by
                        .request(Method::OPTIONS, &address)
                        .header(header::ORIGIN, origin)
                        .header("access-control-request-method", method)
                        .header("access-control-request-headers", "content-type, hx-request-type")
                        .header("access-control-request-private-network", "true");
                    let reply = at.send(&by, request, "").await;
                    assert_eq!(reply.status, 405, "{method} {address} from {origin}");
                }
            }
        }
    }
    at.tell();
}
