//! What a page of another site can make its visitors' browsers send, and that it uses up nobody's rate
//! limits.

use axum::http::{Method, header, request::Builder};
use social_post::{routes::router, web::throttle::Throttle};

use crate::support::{Caller, PASSWORD, TestSite, Visitor, encode};

const WRONG: &str = "wrong password here";
const HERE: &str = "198.51.100.1";
const LISTED: &str = "https://good.test";

/// What browsers say of a request that a page of another site makes.
const FOREIGN: [(&str, &str); 6] = [
    ("https://evil.test", "cross-site"),
    ("null", "cross-site"),
    ("https://evil.test", ""),
    ("http://other.site.test", "same-site"),
    ("", "cross-site"),
    ("", "same-site"),
];

fn with(mut request: Builder, headers: &[(&str, &str)]) -> Builder {
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    request
}

async fn site() -> TestSite {
    let mut site = TestSite::new().await;
    site.app.throttle = Throttle::new(true);
    site.app.origins = [LISTED.parse().unwrap()].into();
    site.router = router(site.app.clone());
    site.member("ada").await;
    site
}

/// The API's log-in, as a program sends it.
async fn log_in(by: &Caller, username: &str) -> u16 {
    let request = form(by, "/login", "application/x-www-form-urlencoded");
    let body = encode(&[("username", username), ("password", WRONG)]);
    by.visitor.send(request, body).await.status.as_u16()
}

/// A form of the API's log-in, as a page of another site can post it without being asked.
fn form(by: &Caller, path: &str, kind: &str) -> Builder {
    by.visitor.request(Method::POST, &format!("/api/v1{path}")).header(header::CONTENT_TYPE, kind)
}

#[tokio::test]
async fn a_page_of_another_site_uses_up_no_rate_limit_of_its_visitors() {
    let site = site().await;
    let here = site.caller().at_address(HERE);
    let body = encode(&[("username", "ada"), ("password", WRONG)]);
    for (origin, fetch_site) in FOREIGN {
        let said = [("origin", origin), ("sec-fetch-site", fetch_site)];
        for _ in 0..31 {
            let request = with(form(&here, "/login", "application/x-www-form-urlencoded"), &said);
            assert_eq!(here.visitor.send(request, body.clone()).await.status, 403, "{said:?}");
        }
        for (path, document) in [
            (
                "/users",
                r#"{"username":"eve","email":"eve@example.org","password":"violet kettle 9 harbour"}"#,
            ),
            ("/password/forgot", r#"{"email":"ada@example.org"}"#),
            (
                "/password/reset",
                r#"{"token":"f4Bz0Jq9nX2mVwYk7LdSeA","new_password":"violet kettle 9 harbour"}"#,
            ),
            ("/email/confirm", r#"{"token":"f4Bz0Jq9nX2mVwYk7LdSeA"}"#),
        ] {
            for kind in ["text/plain", "application/json"] {
                let request = with(form(&here, path, kind), &said);
                assert_eq!(
                    here.visitor.send(request, document).await.status,
                    403,
                    "{path} {said:?}"
                );
            }
        }
    }
    // The pages' own forms as well.
    let visitor = site.visitor().at_address(HERE);
    for path in ["/login", "/signup", "/password/forgot"] {
        for _ in 0..31 {
            let request = visitor
                .request(Method::POST, path)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::ORIGIN, "https://evil.test")
                .header("sec-fetch-site", "cross-site");
            assert_eq!(visitor.send(request, "login=ada&password=x").await.status, 403);
        }
    }
    assert_eq!(site.count("select count(*) from users").await, 1);

    // A body of the wrong kind, or one that cannot be read, counts as little, wherever it is from.
    for _ in 0..31 {
        let request = form(&here, "/login", "text/plain");
        assert_eq!(here.visitor.send(request, body.clone()).await.status, 415);
        let request = form(&here, "/login", "application/x-www-form-urlencoded");
        assert_eq!(
            here.visitor.send(request, "grant_type=code&username=a&password=b").await.status,
            422
        );
        let request = form(&here, "/users", "application/json");
        assert_eq!(here.visitor.send(request, "{").await.status, 400);
    }

    // All of the network's attempts are left.
    for n in 0..30 {
        assert_eq!(log_in(&here, &format!("person-{n}")).await, 401, "{n}");
    }
    assert_eq!(log_in(&here, "person-30").await, 429);
}

#[tokio::test]
async fn pages_of_listed_origins_the_site_itself_and_programs_may_call_the_api() {
    let site = site().await;
    for said in [
        vec![("origin", LISTED), ("sec-fetch-site", "cross-site")],
        vec![("origin", "http://site.test"), ("sec-fetch-site", "same-origin")],
        vec![("sec-fetch-site", "none")],
        vec![],
    ] {
        let caller = site.caller();
        let request = with(form(&caller, "/login", "application/x-www-form-urlencoded"), &said);
        let reply = caller
            .visitor
            .send(request, encode(&[("username", "ada"), ("password", PASSWORD)]))
            .await;
        assert_eq!(reply.status, 200, "{said:?}");
    }
    // No page can send a token that it was not allowed to, so this is a program with an odd header.
    let program = site.caller_of("ada").await;
    let request =
        program.document(Method::POST, "/posts").header(header::ORIGIN, "https://evil.test");
    assert_eq!(program.visitor.send(request, r#"{"title":"x"}"#).await.status, 201);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_embed_a_search_but_a_link_to_it_works() {
    let site = site().await;
    site.post_by("ada", "Owl").await;
    let here = site.visitor().at_address(HERE);
    let ask = async |visitor: &Visitor, path: &str, said: &[(&str, &str)]| {
        visitor.send(with(visitor.request(Method::GET, path), said), "").await.status.as_u16()
    };
    let paths =
        ["/search?q=owl", "/search/feed.atom?q=owl", "/api/v1/posts?search=owl", "/live?after=0"];
    for path in paths {
        for (dest, purpose) in
            [("image", ""), ("empty", ""), ("iframe", ""), ("document", "prefetch")]
        {
            for fetch_site in ["cross-site", "same-site"] {
                let said = [
                    ("sec-fetch-site", fetch_site),
                    ("sec-fetch-dest", dest),
                    ("sec-purpose", purpose),
                ];
                for _ in 0..4 {
                    assert_eq!(ask(&here, path, &said).await, 403, "{path} {said:?}");
                }
            }
        }
    }
    for path in &paths[..3] {
        let followed = [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")];
        for said in [
            &followed[..],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "empty")],
            &[
                ("sec-fetch-site", "none"),
                ("sec-fetch-dest", "document"),
                ("sec-purpose", "prefetch"),
            ],
            &[("sec-fetch-site", "cross-site")],
            &[],
        ] {
            assert_eq!(ask(&here, path, said).await, 200, "{path} {said:?}");
        }
    }
    let listed =
        [("origin", LISTED), ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "empty")];
    assert_eq!(ask(&here, paths[2], &listed).await, 200);
    assert_eq!(
        ask(&here, "/", &[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "empty")]).await,
        200
    );
}
