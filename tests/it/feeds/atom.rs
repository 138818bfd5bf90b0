//! Atom feeds, read as RFC 4287 has them.

use std::collections::BTreeSet;

use axum::http::Method;
use roxmltree::{Document, Node};
use social_post::routes::router;
use time::{Duration, OffsetDateTime};

use crate::{
    feeds::{ATOM, BASE, date, one, only, run},
    statements::{self, heard},
    support::{Reply, TestSite, oracle},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub title: String,
    pub updated: OffsetDateTime,
    pub author: String,
    pub page: String,
    pub related: Option<String>,
    pub content: Option<String>,
}

#[derive(Debug)]
pub struct Feed {
    pub id: String,
    pub title: String,
    pub updated: OffsetDateTime,
    pub entries: Vec<Entry>,
}

impl Feed {
    pub fn posts(&self) -> Vec<i64> {
        let id = |entry: &Entry| entry.page.rsplit_once('/').unwrap().1.parse().unwrap();
        self.entries.iter().map(id).collect()
    }
}

#[track_caller]
pub fn link(node: Node<'_, '_>, rel: &str) -> Option<String> {
    let links = node.children().filter(|child| child.tag_name().name() == "link");
    let found: Vec<_> = links.filter(|link| link.attribute("rel") == Some(rel)).collect();
    assert!(found.len() <= 1, "{rel} twice");
    let href = found.first()?.attribute("href").unwrap();
    url::Url::parse(href).unwrap_or_else(|err| panic!("{href}: {err}"));
    Some(href.to_owned())
}

/// Reads the answer as RFC 4287 has it.
#[track_caller]
pub fn atom(reply: &Reply, address: &str) -> Feed {
    assert_eq!(reply.status, 200, "{address}: {}", reply.body);
    assert_eq!(reply.header("content-type"), "application/atom+xml; charset=utf-8");
    let document = Document::parse(&reply.body)
        .unwrap_or_else(|err| panic!("{address}: {err}: {}", reply.body));
    let known = [
        "feed",
        "entry",
        "id",
        "title",
        "updated",
        "published",
        "author",
        "name",
        "uri",
        "link",
        "content",
    ];
    only(&document, ATOM, &known);
    let feed = document.root_element();
    assert_eq!(feed.tag_name().name(), "feed");
    assert_eq!(link(feed, "self").as_deref(), Some(address));
    assert!(link(feed, "alternate").is_some());

    let entries = feed.children().filter(|child| child.tag_name().name() == "entry");
    let entries: Vec<_> = entries
        .map(|entry| {
            let authors: Vec<_> =
                entry.children().filter(|child| child.tag_name().name() == "author").collect();
            assert_eq!(authors.len(), 1);
            let (published, updated) = (one(entry, "published"), one(entry, "updated"));
            assert!(date(&published) <= date(&updated));
            let contents: Vec<_> =
                entry.children().filter(|child| child.tag_name().name() == "content").collect();
            assert!(contents.len() <= 1);
            assert!(contents.iter().all(|content| content.attribute("type") == Some("html")));
            Entry {
                id: one(entry, "id"),
                title: one(entry, "title"),
                updated: date(&updated),
                author: one(authors[0], "name"),
                page: link(entry, "alternate").expect("a page for each entry"),
                related: link(entry, "related"),
                content: contents.first().map(|_| one(entry, "content")),
            }
        })
        .collect();
    assert!(entries.len() <= 30);
    let ids: BTreeSet<_> = entries.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids.len(), entries.len(), "an id comes twice");
    let feed = Feed {
        id: one(feed, "id"),
        title: one(feed, "title"),
        updated: date(&one(feed, "updated")),
        entries,
    };
    for id in ids.iter().chain([&feed.id]) {
        assert!(id.starts_with("tag:site.test,2026:") && id.is_ascii(), "{id}");
    }
    if let Some(newest) = feed.entries.iter().map(|entry| entry.updated).max() {
        assert_eq!(feed.updated, newest);
    }
    feed
}

pub async fn read(site: &TestSite, path: &str) -> Feed {
    let base = site.app.site.base_url.origin();
    let reply = site.visitor().get(path).await;
    oracle::check(&reply, path, &[]);
    atom(&reply, &format!("{base}{path}"))
}

pub const FEEDS: [&str; 4] =
    ["/feed.atom", "/new/feed.atom", "/users/ada/feed.atom", "/search/feed.atom?q=owl"];

#[tokio::test]
async fn a_feed_gives_the_same_posts_as_its_page_and_all_of_their_text() {
    let site = TestSite::at(BASE).await;
    let ada = site.member("ada").await;
    let link = "https://example.test/a?b=1&c='2'#d";
    for (title, url, body) in [
        ("An owl & <b>more</b> ]]>", "", "It is *fine*: <script>, 1 < 2 && \"3\"."),
        ("A link about an owl", link, ""),
        ("Both, and an owl", link, "See [this](https://example.test/?a=1&b=2)."),
        ("Only a title with an owl", "", ""),
    ] {
        let reply = ada.post("/posts", &[("title", title), ("url", url), ("body", body)]).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
    }
    let bob = site.member("bob").await;
    bob.post("/posts/1/vote", &[("value", "1")]).await;

    for (path, page) in [
        (FEEDS[0], "/"),
        (FEEDS[1], "/new"),
        (FEEDS[2], "/users/ada"),
        (FEEDS[3], "/search?q=owl&sort=new"),
    ] {
        let feed = read(&site, path).await;
        assert_eq!(feed.posts(), site.visitor().get(page).await.posts(), "{path}");
        assert_eq!(feed.entries.len(), 4, "{path}");
        let post = |id: i64| {
            feed.entries.iter().find(|entry| entry.page == format!("{BASE}/posts/{id}")).unwrap()
        };
        assert_eq!(post(1).title, "An owl & <b>more</b> ]]>");
        assert_eq!((post(1).author.as_str(), post(1).related.as_ref()), ("ada", None));
        let text = post(1).content.clone().unwrap();
        assert_eq!(text, "<p>It is <em>fine</em>: &lt;script&gt;, 1 &lt; 2 &amp;&amp; \"3\".</p>");
        assert_eq!(post(2).related.as_deref(), Some("https://example.test/a?b=1&c=%272%27#d"));
        let text = post(2).content.clone().unwrap();
        assert!(
            text.contains("b=1&#38;c=%272%27#d\"") && text.contains(">example.test</a>"),
            "{text}"
        );
        let text = post(3).content.clone().unwrap();
        assert!(text.contains("<a href=\"https://example.test/?a=1&amp;b=2\""), "{text}");
        assert_eq!(post(4).content, None);
    }
    assert_eq!(read(&site, FEEDS[0]).await.title, "Social Post");
    assert_eq!(read(&site, FEEDS[2]).await.title, "Posts by ada · Social Post");
    assert_eq!(read(&site, FEEDS[3]).await.title, "owl · Social Post");
}

/// Text that came into the database some other way.
#[tokio::test]
async fn no_text_of_a_post_breaks_a_feed() {
    let site = TestSite::at(BASE).await;
    let hostile = [
        "owl \u{1}\u{8}\u{B}\u{C}\u{E}\u{1F}\u{7F}\u{85}\u{FDD0}\u{FFFE}\u{FFFF}\u{10FFFF}",
        "owl ]]> <![CDATA[ <?xml?> <!-- -- -->",
        "owl &lt; &amp;amp; &#0; &nbsp; \"'`",
        "owl \u{202E}txt\r\n\t 🦀",
    ];
    for text in hostile {
        let post = site.post_by("ada", "x").await;
        sqlx::query(
            "update posts set title = $2, body = $2, body_html = $2, excerpt = $2 where id = $1",
        )
        .bind(post)
        .bind(text)
        .execute(&site.db)
        .await
        .unwrap();
        run(&site, "update post_search set document = search_document('owl', '')").await;
    }
    for path in FEEDS {
        let mut entries = read(&site, path).await.entries;
        entries.sort_by_key(|entry| entry.page.clone());
        assert!(entries[0].title.starts_with("owl \u{FFFD}\u{FFFD}"), "{path}");
        assert_eq!(entries[1].title, hostile[1], "{path}");
        assert_eq!(entries[2].title, hostile[2], "{path}");
        assert_eq!(entries[2].content.as_deref(), Some(hostile[2]), "{path}");
    }
}

#[tokio::test]
async fn a_text_too_long_for_a_feed_leads_to_its_page() {
    let site = TestSite::at(BASE).await;
    let (long, longer) = (site.post_by("ada", "Long").await, site.post_by("ada", "Longer").await);
    for (post, length) in [(long, 100_000), (longer, 200_000)] {
        let html = format!("<p>{}</p>", "x".repeat(length));
        let sql = format!(
            "update posts set body_html = '{html}', excerpt = 'It begins & …' where id = {post}"
        );
        run(&site, &sql).await;
    }
    let feed = read(&site, "/new/feed.atom").await;
    let content = |at: usize| feed.entries[at].content.as_deref().unwrap();
    assert_eq!(content(1).len(), 100_007);
    assert!(content(0).starts_with("<p>It begins &#38; …</p>"), "{}", content(0));
    assert!(content(0).contains(&format!("<a href=\"{BASE}/posts/{longer}\">Read on</a>")));
}

#[tokio::test]
async fn an_entry_keeps_its_id_and_only_its_author_makes_it_newer() {
    let site = TestSite::at(BASE).await;
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    for n in 1..=2 {
        ada.post("/posts", &[("title", &format!("Owl {n}")), ("url", ""), ("body", "")]).await;
    }
    run(&site, "update posts set created_at = created_at - interval '1 hour'").await;
    run(&site, "update post_ranks set created_at = created_at - interval '1 hour'").await;
    let before = read(&site, "/new/feed.atom").await;

    bob.post("/posts/1/vote", &[("value", "1")]).await;
    assert_eq!(read(&site, "/new/feed.atom").await.entries, before.entries);

    ada.post("/posts/1/edit", &[("title", "Another owl"), ("url", ""), ("body", "")]).await;
    let after = read(&site, "/new/feed.atom").await;
    assert_eq!(after.entries[0], before.entries[0]);
    assert_eq!((after.id, &after.entries[1].id), (before.id, &before.entries[1].id));
    assert_eq!(after.entries[1].title, "Another owl");
    assert!(after.updated > before.updated + Duration::minutes(50));

    // Nor does it matter how the site is reached.
    let mut moved = TestSite::over(sqlx::postgres::PgConnectOptions::new(), "http://site.test");
    moved.app.db = site.db.clone();
    moved.router = router(moved.app.clone());
    let feed = read(&moved, "/new/feed.atom").await;
    assert_eq!(feed.entries[1].id, before.entries[1].id);
    assert!(feed.entries[1].page.starts_with("http://site.test/posts/"));
}

#[tokio::test]
async fn a_search_is_a_feed_of_what_is_new_and_of_nothing_else() {
    let site = TestSite::at(BASE).await;
    let old = site.post_by("ada", "Owl owl owl: the owl").await;
    let new = site.post_by("bob", "A day with owls").await;
    site.post_by("bob", "Something else").await;
    let feed = read(&site, "/search/feed.atom?q=owl").await;
    assert_eq!(feed.posts(), [new, old]);
    // The page offers titles that look alike.
    assert_eq!(read(&site, "/search/feed.atom?q=somethnig").await.posts(), [0; 0]);
    site.visitor().get("/search?q=somethnig").await.has("Something else");
    read(&site, "/search/feed.atom?q=%22a%20day%22%20%2D%26%23%27%3C%3E%F0%9F%A6%80").await;

    let site = TestSite::throttled().await;
    let mut last = 200;
    for _ in 0..60 {
        last = site.visitor().get("/search/feed.atom?q=owl").await.status.as_u16();
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn a_conditional_get_of_an_unchanged_feed_is_a_304() {
    let site = TestSite::at(BASE).await;
    site.post_by("ada", "An owl").await;
    let stranger = site.visitor();
    let ask = async |path: &str, method: Method, held: &str| {
        let request = stranger.request(method, path).header("if-none-match", held);
        let reply = stranger.send(request, "").await;
        oracle::check(&reply, path, &[]);
        reply
    };
    let documents = [
        "/sitemap.xml",
        "/sitemap.xml?part=0",
        "/robots.txt",
        "/manifest.webmanifest",
        "/opensearch.xml",
        "/.well-known/security.txt",
    ];
    for path in FEEDS.iter().chain(&documents) {
        let first = stranger.get(path).await;
        assert_eq!(first.header("cache-control"), "no-cache", "{path}");
        let etag = first.header("etag").to_owned();
        let strong = etag.trim_start_matches("W/").to_owned();
        assert!(strong.len() > 10 && etag != strong, "{path}: {etag}");
        let request = stranger.request(Method::HEAD, path).header("accept-encoding", "gzip");
        let packed = stranger.send(request, "").await;
        assert_eq!((packed.header("content-encoding"), packed.header("etag")), ("gzip", &*etag));
        for held in
            [&etag, &strong, "*", &format!("\"other\", {etag}"), &format!("W/\"a\",{strong}")]
        {
            for method in [Method::GET, Method::HEAD] {
                let reply = ask(path, method, held).await;
                assert_eq!(
                    (reply.status.as_u16(), reply.body.as_str()),
                    (304, ""),
                    "{path} {held}"
                );
                for name in ["etag", "cache-control", "vary"] {
                    assert_eq!(reply.header(name), first.header(name), "{path} {name}");
                }
            }
        }
        for held in ["\"other\"", "W/\"other\"", "", "x"] {
            assert_eq!(ask(path, Method::GET, held).await.body, first.body, "{path} {held:?}");
        }
    }
    // And a client with an older version gets the new one.
    let before = stranger.get(FEEDS[0]).await.header("etag").to_owned();
    site.post_by("ada", "Another owl").await;
    assert_eq!(ask(FEEDS[0], Method::GET, &before).await.status, 200);
}

#[tokio::test]
async fn a_missing_feed_is_an_error_page() {
    let site = TestSite::at(BASE).await;
    site.member("ada").await;
    let stranger = site.visitor();
    for (path, status) in [
        ("/users/nobody/feed.atom", 404),
        ("/users/a%20b/feed.atom", 404),
        ("/top/feed.atom", 404),
        ("/search/feed.atom", 422),
        ("/search/feed.atom?q=a", 422),
        ("/sitemap.xml?part=7", 404),
        ("/sitemap.xml?part=x", 400),
    ] {
        let reply = stranger.get(path).await;
        oracle::check(&reply, path, &[]);
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.header("content-type").starts_with("text/html"), "{path}");
    }
    let reply = stranger.get("/users/ADA/feed.atom").await;
    assert_eq!((reply.status.as_u16(), reply.location()), (308, "/users/ada/feed.atom"));
    // No posts yet, and still valid.
    for path in FEEDS {
        assert_eq!(read(&site, path).await.entries, []);
    }
    let reply = stranger.post("/feed.atom", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET,HEAD"));
}

#[tokio::test]
async fn no_feed_runs_more_than_three_queries() {
    let site = TestSite::at(BASE).await;
    let ada = site.member("ada").await;
    site.post_by("ada", "An owl").await;
    statements::listen();
    for (path, most) in [
        (FEEDS[0], 2),
        (FEEDS[1], 2),
        (FEEDS[2], 3),
        (FEEDS[3], 2),
        ("/sitemap.xml", 1),
        ("/sitemap.xml?part=0", 1),
        ("/robots.txt", 0),
        ("/manifest.webmanifest", 0),
        ("/opensearch.xml", 0),
        ("/.well-known/security.txt", 0),
    ] {
        for by in [&site.visitor(), &ada] {
            heard();
            assert_eq!(by.get(path).await.status, 200, "{path}");
            let ran = heard();
            assert_eq!(ran.len(), most, "{path}: {ran:?}");
        }
    }
}
