//! The web app manifest and the description for `OpenSearch`.

use std::{collections::BTreeSet, sync::Arc};

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use roxmltree::Document;
use serde_json::Value;
use social_post::{config::Site, routes::router};
use tower::ServiceExt as _;

use crate::{
    feeds::{BASE, OPEN_SEARCH, all, head::said, one, only},
    support::TestSite,
};

/// The file itself, and of what type it is.
async fn file(site: &TestSite, path: &str) -> (String, Vec<u8>) {
    let is_packed = [".png", ".ico"].iter().any(|kind| path.contains(kind));
    let accepts = if is_packed { "br, gzip" } else { "identity" };
    let request = Request::builder().uri(path).header("accept-encoding", accepts);
    let response = site.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let (head, body) = response.into_parts();
    let kind = head.headers["content-type"].to_str().unwrap().to_owned();
    assert!(!head.headers.contains_key("content-encoding"), "{path}: packed twice");
    (kind, body.collect().await.unwrap().to_bytes().to_vec())
}

/// Width and height of a PNG, from its first chunk.
#[track_caller]
fn size_of_png(bytes: &[u8]) -> (u32, u32) {
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"));
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

fn called(site: &TestSite, name: &str) -> TestSite {
    let mut app = site.app.clone();
    app.site = Arc::new(Site { name: name.to_owned(), ..(*app.site).clone() });
    TestSite { router: router(app.clone()), app, db: site.db.clone() }
}

#[tokio::test]
async fn the_manifest_names_icons_that_are_there_in_the_sizes_it_says() {
    let site = TestSite::at(BASE).await;
    let (kind, body) =
        file(&called(&site, "A \"site\" with a & long name"), "/manifest.webmanifest").await;
    assert_eq!(kind, "application/manifest+json");
    let manifest: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(manifest["name"], "A \"site\" with a & long name");
    assert!(manifest["short_name"].as_str().unwrap().chars().count() <= 12);
    for member in ["id", "start_url", "scope"] {
        assert_eq!(manifest[member], "/");
    }
    assert_eq!(manifest["display"], "minimal-ui");
    let style = include_str!("../../../static/css/app.css");
    for colour in ["theme_color", "background_color"] {
        assert!(
            style.contains(&format!("--bg:light-dark({},", manifest[colour].as_str().unwrap()))
        );
    }

    let link = "<link rel=\"manifest\" href=\"/manifest.webmanifest\">";
    site.member("ada").await.get("/").await.has(link);
    site.visitor().get("/").await.lacks(link);

    let mut shown = Vec::new();
    for icon in manifest["icons"].as_array().unwrap() {
        let text = |name: &str| icon[name].as_str().unwrap();
        let (kind, bytes) = file(&site, text("src")).await;
        assert!(kind.starts_with(text("type").split(';').next().unwrap()), "{icon}");
        if kind == "image/png" {
            let (width, height) = size_of_png(&bytes);
            assert_eq!(text("sizes"), format!("{width}x{height}"));
        } else {
            assert_eq!(text("sizes"), "any");
        }
        shown.push(format!("{} {}", text("sizes"), text("purpose")));
    }
    assert_eq!(shown, ["any any", "192x192 any", "512x512 any", "512x512 maskable"]);

    let touch = &said(&site.visitor().get("/").await, "<link rel=\"apple-touch-icon\" href=\"")[0];
    assert_eq!(size_of_png(&file(&site, touch).await.1), (180, 180));

    let (kind, old) = file(&site, "/favicon.ico").await;
    assert_eq!((kind.as_str(), &old[..6]), ("image/x-icon", &[0, 0, 1, 0, 3, 0][..]));
    for (n, size) in [16_u8, 32, 48].into_iter().enumerate() {
        let entry = &old[6 + 16 * n..][..16];
        let number = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(entry[..2], [size, size]);
        let image = &old[number(12)..][..number(8)];
        assert_eq!(size_of_png(image), (u32::from(size), u32::from(size)));
    }
}

#[tokio::test]
async fn the_opensearch_description_lets_a_browser_search_the_site() {
    let site = TestSite::at(BASE).await;
    site.post_by("ada", "An owl & more").await;
    let page = site.visitor().get("/search").await;
    page.has("<link rel=\"search\" type=\"application/opensearchdescription+xml\" title=\"Social Post\" href=\"/opensearch.xml\">");
    for name in ["Social Post", "A <long> name & then \u{1}\u{FFFF} some more"] {
        let reply = called(&site, name).visitor().get("/opensearch.xml").await;
        assert_eq!(
            reply.header("content-type"),
            "application/opensearchdescription+xml; charset=utf-8"
        );
        let document = Document::parse(&reply.body).unwrap();
        let known = [
            "OpenSearchDescription",
            "ShortName",
            "Description",
            "InputEncoding",
            "OutputEncoding",
            "Language",
            "Image",
            "Url",
        ];
        only(&document, OPEN_SEARCH, &known);
        let root = document.root_element();
        let short = one(root, "ShortName");
        assert!((1..=16).contains(&short.chars().count()) && name.starts_with(&short), "{short}");
        assert!((1..=1024).contains(&one(root, "Description").chars().count()));
        assert_eq!(one(root, "InputEncoding"), "UTF-8");
        assert_eq!(one(root, "Image"), format!("{BASE}/favicon.ico"));

        let mut kinds = BTreeSet::new();
        for url in all(root, "Url") {
            let kind = url.attribute("type").unwrap();
            let template = url.attribute("template").unwrap();
            let is_search = template.contains("{searchTerms}");
            assert_eq!(is_search, url.attribute("rel") != Some("self"));
            let path = template.strip_prefix(BASE).unwrap().replace("{searchTerms}", "owl+%26");
            let reply = site.visitor().get(&path).await;
            assert!(reply.header("content-type").starts_with(kind), "{path}");
            assert!(!is_search || reply.body.contains("/posts/1\""), "{path}: {}", reply.body);
            kinds.insert(kind);
        }
        assert_eq!(kinds.len(), 3);
    }
}
