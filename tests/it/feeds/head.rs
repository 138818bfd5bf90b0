//! The head of a page.

use crate::{
    feeds::{BASE, atom::read},
    support::{Reply, TestSite, oracle},
};

/// What the page's head says with `before` and up to the next quotation mark.
pub fn said(page: &Reply, before: &str) -> Vec<String> {
    let head = page.body.split_once("</head>").unwrap().0;
    let found = head.split(before).skip(1);
    found.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_head_of_a_page_has_title_canonical_address_and_feed() {
    let site = TestSite::at(BASE).await;
    for n in 0..40 {
        site.post_by("ada", &format!("Owl {n} \"&<>'")).await;
    }
    let post = site.post_by("ada", "Owl \"&<>'").await;
    let stranger = site.visitor();
    let alternate = "<link rel=\"alternate\" type=\"application/atom+xml\" title=\"";
    for (path, kind, canonical, feeds) in [
        ("/?utm_source=x", "website", "/", 1),
        ("/new", "website", "/new", 2),
        ("/top", "website", "/top", 1),
        ("/top?t=all", "website", "/top", 1),
        ("/top?t=week", "website", "/top?t=week", 1),
        (&format!("/posts/{post}"), "article", &format!("/posts/{post}"), 1),
        ("/users/ada", "profile", "/users/ada", 2),
    ] {
        let page = stranger.get(path).await;
        oracle::check(&page, path, &[]);
        let canonical = format!("{BASE}{canonical}");
        assert_eq!(said(&page, "<link rel=\"canonical\" href=\""), [canonical.as_str()], "{path}");
        let property = |name: &str| {
            let found = said(&page, &format!("<meta property=\"og:{name}\" content=\""));
            assert_eq!(found.len(), 1, "{path} {name}");
            assert!(!found[0].is_empty(), "{path} {name}");
            found[0].clone()
        };
        assert_eq!(property("url"), canonical);
        assert_eq!(property("type"), kind);
        assert_eq!(property("site_name"), "Social Post");
        if kind == "article" {
            assert_eq!(property("title"), "Owl &#34;&#38;&#60;&#62;&#39;");
        }
        assert!(!property("title").is_empty() && !property("description").is_empty());
        let image = property("image");
        assert_eq!(stranger.get(image.strip_prefix(BASE).unwrap()).await.status, 200);
        page.has("<meta name=\"twitter:card\" content=\"summary\">").lacks("noindex");

        let announced: Vec<_> = said(&page, alternate)
            .into_iter()
            .flat_map(|title| said(&page, &format!("{alternate}{title}\" href=\"")))
            .collect();
        assert_eq!(announced.len(), feeds, "{path}: {announced:?}");
        for feed in announced {
            read(&site, &feed).await;
        }
    }
    // What is somewhere else tomorrow is not for a search engine.
    for path in ["/", "/new", "/top", "/users/ada"] {
        let next = stranger.get(path).await.next().unwrap();
        let page = stranger.get(&next).await;
        oracle::check(&page, &next, &[]);
        page.has("<meta name=\"robots\" content=\"noindex\">").lacks("rel=\"canonical\"");
    }
    let page = stranger.get("/search?q=owl%20%22%3C").await;
    page.has("<meta name=\"robots\" content=\"noindex\">");
    read(&site, &said(&page, "href=\"/search/feed")[0].replacen("", "/search/feed", 1)).await;
}
