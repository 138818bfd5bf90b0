//! A page of another origin that calls the API, as a browser lets it.

use axum::{Router, response::Html, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    browser::Browser,
    site,
    support::{Caller, TestSite},
};

/// What a page's script asks, and what it gets to know of the answer.
const ASK: &str = "
    const { url, token, credentials, method, body } = arguments[0];
    const headers = {};
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers['Content-Type'] = 'application/json';
    return fetch(url, { method, headers, credentials, body })
        .then(async (answer) => ({ status: answer.status, type: answer.type,
            location: answer.headers.get('Location'), text: await answer.text() }))
        .catch(({ name }) => ({ refused: name }));
";

/// An address with a tiny page and nothing else.
async fn elsewhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let page =
        Router::new().route("/", get(async || Html("<!doctype html><title>Elsewhere</title>")));
    tokio::spawn(async move { axum::serve(listener, page).await });
    origin
}

async fn asks(browser: &Browser, what: Value) -> Value {
    browser.run_with(ASK, &what).await
}

async fn listed_as(origins: &[&str]) -> (TestSite, Caller, i64) {
    let site = site::served_listing(origins).await;
    site.member("ada").await;
    let post = site.post_by("ada", "A title").await;
    let ada = site.caller_of("ada").await;
    (site, ada, post)
}

#[tokio::test]
async fn a_page_of_a_listed_origin_calls_the_api_with_a_token_and_never_with_cookies() {
    let elsewhere = elsewhere().await;
    let (site, ada, post) = listed_as(&[&elsewhere]).await;
    let browser = Browser::open(&site).await;
    browser.becomes(&site.member("bob").await).await;
    browser.driver.goto(&elsewhere).await.unwrap();
    let api = format!("{}/api/v1", browser.origin());

    let reply =
        asks(&browser, json!({ "url": format!("{api}/users/me"), "token": ada.token })).await;
    assert_eq!((&reply["status"], &reply["type"]), (&json!(200), &json!("cors")), "{reply}");
    assert!(reply["text"].as_str().unwrap().contains("\"ada\""), "{reply}");
    let new = json!({
        "url": format!("{api}/posts"), "token": ada.token, "method": "POST",
        "body": json!({ "title": "From elsewhere" }).to_string(),
    });
    let reply = asks(&browser, new).await;
    assert_eq!(reply["status"], 201, "{reply}");
    assert!(reply["location"].as_str().unwrap().starts_with("/api/v1/posts/"), "{reply}");
    for method in ["PUT", "DELETE"] {
        let vote = json!({
            "url": format!("{api}/posts/{post}/vote"), "token": ada.token, "method": method,
        });
        assert_eq!(asks(&browser, vote).await["status"], 200, "{method}");
    }
    let bad = json!({ "url": format!("{api}/users/me"), "token": "x" });
    assert_eq!(asks(&browser, bad).await["status"], 401, "and it is told what fails");

    let with = json!({
        "url": format!("{api}/users/me"), "token": ada.token, "credentials": "include",
    });
    assert_eq!(asks(&browser, with).await, json!({ "refused": "TypeError" }), "with cookies");
    let page = json!({ "url": format!("{}/settings", browser.origin()), "credentials": "include" });
    assert_eq!(asks(&browser, page).await, json!({ "refused": "TypeError" }), "a page");
    browser.driver.clone().quit().await.unwrap();
}

#[tokio::test]
async fn a_page_of_any_other_origin_reads_nothing_and_does_nothing() {
    let elsewhere = elsewhere().await;
    let near = elsewhere.replace("127.0.0.1", "localhost");
    for origins in [vec![], vec![near.as_str(), "https://good.test"]] {
        let (site, ada, post) = listed_as(&origins).await;
        let browser = Browser::open(&site).await;
        browser.driver.goto(&elsewhere).await.unwrap();
        let api = format!("{}/api/v1", browser.origin());
        for (path, method, body) in [
            ("/posts".to_owned(), "GET", Value::Null),
            ("/users/me".to_owned(), "GET", Value::Null),
            ("/posts".to_owned(), "POST", json!("{\"title\":\"From elsewhere\"}")),
            (format!("/posts/{post}"), "DELETE", Value::Null),
            (format!("/posts/{post}/vote"), "PUT", Value::Null),
        ] {
            for token in [json!(ada.token), Value::Null] {
                let what = json!({
                    "url": format!("{api}{path}"), "token": token, "method": method, "body": body,
                });
                let refused = json!({ "refused": "TypeError" });
                assert_eq!(asks(&browser, what).await, refused, "{method} {path} {origins:?}");
            }
        }
        assert_eq!(site.count("select count(*) from posts").await, 1);
        assert_eq!(site.count("select count(*) from votes").await, 0);
        browser.driver.clone().quit().await.unwrap();
    }
}
