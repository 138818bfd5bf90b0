//! Where a token is read from.

use axum::http::{Method, header};
use base64::Engine as _;
use serde_json::Value;

use crate::{
    support::{Caller, PASSWORD, TestSite, encode, routes},
    tokens::forgery::face,
};

#[tokio::test]
async fn a_token_counts_only_in_one_well_formed_authorization_header() {
    let site = TestSite::new().await;
    let ada = site.program("ada").await;
    let token = ada.token.clone().unwrap();
    let nobody = site.caller();
    let asking = async |values: &[String]| {
        let mut request = nobody.request(Method::GET, "/users/me");
        for value in values {
            request = request.header(header::AUTHORIZATION, value);
        }
        nobody.send(request, "").await
    };
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(asking(&[format!("{scheme} {token}")]).await.status, 200, "{scheme}");
    }
    let bad = asking(&["Bearer x".into()]).await;
    for value in [
        format!("Bearer  {token}"),
        format!("Bearer\t{token}"),
        format!("Bearer{token}"),
        format!("Bearer: {token}"),
        format!("Bearer={token}"),
        format!("Bearer token={token}"),
        format!("Bearer \"{token}\""),
        "Bearer".into(),
        "Bearer ".into(),
        String::new(),
        token.clone(),
        format!("Token {token}"),
        format!("JWT {token}"),
        format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("ada:{PASSWORD}"))),
        "Digest username=\"ada\"".into(),
        "Bearer \u{e9}".into(),
    ] {
        assert_eq!(face(&asking(std::slice::from_ref(&value)).await), face(&bad), "{value}");
    }
    let twice = [format!("Bearer {token}"), format!("Bearer {token}")];
    assert_eq!(asking(&twice).await.status, 400);

    // A request without a token is not one with a bad token.
    let reply = nobody.get("/users/me").await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"social-post\"");
    let query = encode(&[("access_token", &token), ("token", &token), ("authorization", &token)]);
    let reply = nobody.get(&format!("/users/me?{query}")).await;
    assert_eq!(reply.status, 401, "in the address");
    let form = nobody
        .request(Method::PUT, "/posts/1/vote")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    assert_eq!(nobody.send(form, query).await.status, 401, "in a form");
    for name in ["proxy-authorization", "x-authorization", "x-access-token", "cookie"] {
        let request =
            nobody.request(Method::GET, "/users/me").header(name, format!("Bearer {token}"));
        assert_eq!(nobody.send(request, "").await.status, 401, "{name}");
    }
}

#[tokio::test]
async fn the_api_ignores_cookies_and_pages_ignore_tokens() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let program = site.caller_of("ada").await;
    let post = site.post_by("ada", "A title").await;
    let with_cookie = Caller { visitor: ada, token: None };
    program.put(&format!("/posts/{post}/vote"), &Value::Null).await;

    for (path, method) in routes::api() {
        let path = path.replace("{id}", &post.to_string()).replace("{username}", "ada");
        let ask = async |caller: &Caller| {
            let request = caller.document(method.parse().unwrap(), &path);
            caller.send(request.header("origin", "http://site.test"), "{}").await
        };
        let reply = ask(&with_cookie).await;
        assert_eq!(reply.cookies(), [""; 0], "{path}");
        assert_eq!(face(&reply), face(&ask(&site.caller()).await), "{method} {path}");
    }
    assert_eq!(with_cookie.get(&format!("/posts/{post}")).await.member("voted"), Value::Null);
    assert_eq!(program.get(&format!("/posts/{post}")).await.member("voted"), true);

    for (path, method) in routes::pages() {
        let path = path.replace("{id}", &post.to_string()).replace("{username}", "ada");
        let ask = async |token: &str| {
            let nobody = site.visitor();
            let request = nobody.form(&path).method(method.as_str());
            nobody.send(request.header(header::AUTHORIZATION, token), "title=x").await
        };
        let token = format!("Bearer {}", program.token.as_ref().unwrap());
        let (with, without) = (ask(&token).await, ask("x").await);
        assert_eq!(with.status, without.status, "{method} {path}");
        // A form has a key of its own, and a stream begins with the time.
        if !without.body.contains("name=\"key\"") && path != "/live" {
            assert_eq!(with.body, without.body, "{method} {path}");
        }
        with.lacks("Logged in as");
    }
    assert_eq!(site.count("select count(*) from posts").await, 1);
}
