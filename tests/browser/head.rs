//! What a browser makes of a page's head, and of what that names.

use serde_json::{Value, json};

use crate::{browser::Browser, site};

/// What is not in the head is not read as such: a stray element would end it.
const STRAYS: &str = "return document.querySelectorAll('body meta, body link, body title').length";

/// The width of an image, 0 where it is none.
const WIDTH: &str = "return await new Promise(done => {
    const image = new Image();
    image.onload = () => done(image.naturalWidth);
    image.onerror = () => done(0);
    image.src = arguments[0];
})";

/// What the browser's own reader complains of in a document that some link leads to.
const COMPLAINT: &str = "const reply = await fetch(arguments[0]);
    const parsed = new DOMParser().parseFromString(await reply.text(), 'application/xml');
    return reply.ok ? parsed.querySelector('parsererror')?.textContent ?? '' : reply.statusText";

#[tokio::test]
async fn a_browser_reads_the_head_the_manifest_its_icons_and_every_feed_without_a_complaint() {
    let site = site::served().await;
    let ada = site.member("ada").await;
    let post = site.post_by("ada", "An owl \"&<>'").await;
    let browser = Browser::open(&site).await;
    for path in
        ["/", "/new", "/top?t=week", "/search?q=owl", "/users/ada", &format!("/posts/{post}")]
    {
        browser.goto(path).await;
        assert_eq!(browser.run::<u64>(STRAYS).await, 0, "{path}");
        let feeds: Vec<String> = browser
            .run("return [...document.querySelectorAll('[type=\"application/atom+xml\"]')].map(({ href }) => new URL(href).pathname + new URL(href).search)")
            .await;
        assert!(!feeds.is_empty(), "{path}");
        for feed in feeds.iter().map(String::as_str).chain(["/sitemap.xml", "/opensearch.xml"]) {
            let script = COMPLAINT.replace("arguments[0]", &json!(feed).to_string());
            assert_eq!(browser.run::<String>(&script).await, "", "{feed}");
        }
    }

    // A first look is to stay small, so only members are shown it.
    browser.becomes(&ada).await;
    browser.goto("/").await;
    let manifest = browser.cdp("Page.getAppManifest", json!({})).await;
    assert_eq!(manifest["errors"], json!([]), "{manifest}");
    assert!(manifest["url"].as_str().unwrap().ends_with("/manifest.webmanifest"), "{manifest}");
    let manifest: Value = serde_json::from_str(manifest["data"].as_str().unwrap()).unwrap();
    let icons = manifest["icons"].as_array().unwrap().iter();
    let mut images: Vec<_> = icons.map(|icon| icon["src"].as_str().unwrap().to_owned()).collect();
    images.push("/favicon.ico".to_owned());
    for image in images {
        let script = WIDTH.replace("arguments[0]", &json!(image).to_string());
        assert!(browser.run::<u64>(&script).await > 0, "{image}");
    }
    browser.end().await;
}
