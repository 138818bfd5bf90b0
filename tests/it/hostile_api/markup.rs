//! Markup in what people write.

use axum::http::Method;
use serde_json::json;

use crate::{
    hostile::{AttackedSite, MARKER},
    hostile_api::send,
    support::encode,
};

/// What people write is data: it comes as it was written, and as HTML only where it is called so.
#[tokio::test]
async fn text_is_returned_unchanged_and_its_html_is_safe() {
    let mut at = AttackedSite::new().await;
    let ada = at.site.caller_of("ada").await;
    let url = format!("https://example.test/?q={MARKER}#{MARKER}");
    let body =
        format!("# {MARKER}\n\n<b>{MARKER}</b> [x](javascript:alert(1)) <https://a.test/{MARKER}>");
    let post = json!({ "title": MARKER, "url": url, "body": body });
    let request = ada.document(Method::POST, "/posts");
    let reply = send(&mut at, &ada, request, post.to_string()).await;
    assert_eq!(reply.status, 201);
    let post = reply.json();
    assert_eq!((&post["title"], &post["body"]), (&json!(MARKER), &json!(body)));
    let html = post["body_html"].as_str().unwrap();
    assert!(
        !html.contains("<svg") && !html.contains("javascript:") && !html.contains("<b>"),
        "{html}"
    );
    for path in ["/posts", "/users/me/export"] {
        let request = ada.request(Method::GET, path);
        send(&mut at, &ada, request, "").await.has("svg/onload");
    }
    // No browser takes a document for a page.
    let reply = send(&mut at, &ada, ada.request(Method::GET, "/posts"), "").await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    for path in [format!("/{MARKER}"), format!("/posts/{MARKER}"), format!("/posts?sort={MARKER}")]
    {
        let path: String =
            encode(&[("", &path)])[1..].replace("%2F", "/").replace("%3F", "?").replace("%3D", "=");
        let request = ada.request(Method::GET, &path);
        send(&mut at, &ada, request, "").await.lacks("<svg");
    }
}
