//! What other programs read: feeds, the sitemap and the small files of conventions, each held against
//! the rules of its standard.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use axum::{
    body::Body,
    http::{Method, Request},
};
use http_body_util::BodyExt as _;
use roxmltree::{Document, Node};
use serde_json::Value;
use social_post::{config::Site, mail::Mailer, routes::router};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use tower::ServiceExt as _;

use crate::support::{
    Reply, TestSite, oracle,
    post_office::PostOffice,
    statements::{self, heard},
};

const BASE: &str = "https://site.test:8443";
const ATOM: &str = "http://www.w3.org/2005/Atom";
const SITEMAP: &str = "http://www.sitemaps.org/schemas/sitemap/0.9";
const OPEN_SEARCH: &str = "http://a9.com/-/spec/opensearch/1.1/";

// --- Atom ---

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: String,
    title: String,
    updated: OffsetDateTime,
    author: String,
    page: String,
    related: Option<String>,
    content: Option<String>,
}

#[derive(Debug)]
struct Feed {
    id: String,
    title: String,
    updated: OffsetDateTime,
    entries: Vec<Entry>,
}

impl Feed {
    fn posts(&self) -> Vec<i64> {
        let id = |entry: &Entry| entry.page.rsplit_once('/').unwrap().1.parse().unwrap();
        self.entries.iter().map(id).collect()
    }
}

/// The elements of that name in it.
fn all<'a>(node: Node<'a, 'a>, name: &str) -> Vec<Node<'a, 'a>> {
    node.children().filter(|child| child.tag_name().name() == name).collect()
}

/// The text of the one element of that name.
#[track_caller]
fn one(node: Node<'_, '_>, name: &str) -> String {
    let found: Vec<_> = node.children().filter(|child| child.tag_name().name() == name).collect();
    assert_eq!(found.len(), 1, "{name} in {node:?}");
    assert!(found[0].children().all(|child| child.is_text()), "{name} holds more than text");
    found[0].text().unwrap_or_default().to_owned()
}

#[track_caller]
fn date(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|err| panic!("{text:?}: {err}"))
}

/// Every element belongs to the one namespace and is one of `known`.
#[track_caller]
fn only(document: &Document, namespace: &str, known: &[&str]) {
    for node in document.descendants().filter(Node::is_element) {
        assert_eq!(node.tag_name().namespace(), Some(namespace));
        assert!(known.contains(&node.tag_name().name()), "{:?}", node.tag_name());
    }
}

#[track_caller]
fn link(node: Node<'_, '_>, rel: &str) -> Option<String> {
    let links = node.children().filter(|child| child.tag_name().name() == "link");
    let found: Vec<_> = links.filter(|link| link.attribute("rel") == Some(rel)).collect();
    assert!(found.len() <= 1, "{rel} twice");
    let href = found.first()?.attribute("href").unwrap();
    url::Url::parse(href).unwrap_or_else(|err| panic!("{href}: {err}"));
    Some(href.to_owned())
}

/// Reads the answer as RFC 4287 has it.
#[track_caller]
fn atom(reply: &Reply, address: &str) -> Feed {
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

async fn read(site: &TestSite, path: &str) -> Feed {
    let base = site.app.site.base_url.origin();
    let reply = site.visitor().get(path).await;
    oracle::check(&reply, path, &[]);
    atom(&reply, &format!("{base}{path}"))
}

async fn run(site: &TestSite, sql: &str) {
    sqlx::query(sql).execute(&site.db).await.unwrap();
}

const FEEDS: [&str; 4] =
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
async fn nothing_that_somebody_wrote_breaks_a_feed() {
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
async fn who_has_it_already_is_not_sent_it_again() {
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
    // And whoever has another is sent the new one.
    let before = stranger.get(FEEDS[0]).await.header("etag").to_owned();
    site.post_by("ada", "Another owl").await;
    assert_eq!(ask(FEEDS[0], Method::GET, &before).await.status, 200);
}

#[tokio::test]
async fn a_feed_that_is_not_there_is_a_page_that_says_so() {
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
    // Nobody there yet, and valid all the same.
    for path in FEEDS {
        assert_eq!(read(&site, path).await.entries, []);
    }
    let reply = stranger.post("/feed.atom", &[]).await;
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, "GET,HEAD"));
}

#[tokio::test]
async fn no_feed_asks_the_database_more_than_three_times() {
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

// --- The head of a page ---

/// What the page's head says with `before` and up to the next quotation mark.
fn said(page: &Reply, before: &str) -> Vec<String> {
    let head = page.body.split_once("</head>").unwrap().0;
    let found = head.split(before).skip(1);
    found.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_page_says_what_it_is_where_it_stands_and_which_feed_goes_with_it() {
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

// --- The sitemap ---

/// The addresses of a `urlset` or an index, as sitemaps.org has them.
async fn locations(site: &TestSite, path: &str, root: &str, entry: &str) -> Vec<String> {
    let reply = site.visitor().get(path).await;
    oracle::check(&reply, path, &[]);
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    assert_eq!(reply.header("content-type"), "application/xml; charset=utf-8");
    assert!(reply.body.len() < 50_000_000 / 10);
    let options = roxmltree::ParsingOptions { nodes_limit: u32::MAX, ..Default::default() };
    let document = Document::parse_with_options(&reply.body, options).unwrap();
    only(&document, SITEMAP, &[root, entry, "loc", "lastmod"]);
    assert_eq!(document.root_element().tag_name().name(), root);
    let entries = all(document.root_element(), entry);
    assert!((1..=50_000).contains(&entries.len()), "{path}: {}", entries.len());
    let location = |entry: &Node| {
        for changed in entry.children().filter(|child| child.tag_name().name() == "lastmod") {
            date(changed.text().unwrap());
        }
        let location = one(*entry, "loc");
        assert!(location.starts_with(&format!("{BASE}/")) && location.len() < 2048, "{location}");
        location
    };
    entries.iter().map(location).collect()
}

#[tokio::test]
async fn the_sitemap_names_every_post_once_whatever_gaps_there_are() {
    let site = TestSite::at(BASE).await;
    let index = || locations(&site, "/sitemap.xml", "sitemapindex", "sitemap");
    assert_eq!(index().await, [format!("{BASE}/sitemap.xml?part=0")]);
    let lists = locations(&site, "/sitemap.xml?part=0", "urlset", "url").await;
    assert_eq!(lists, ["/", "/new", "/top", "/users"].map(|path| format!("{BASE}{path}")));

    run(&site, "insert into users (username) values ('ada')").await;
    run(
        &site,
        "insert into posts (id, author_id, title, body, body_html, excerpt, created_at, edited_at)
        select id, 1, 'x', '', '', '', timestamptz '2011-02-03 04:05:06.789+00',
            case when id = 2 then timestamptz '2026-11-24 01:02:03+00' end
        from (select generate_series(1, 10050) union all values (19999), (20000), (1000000000000)) as of (id)",
    )
    .await;
    let mut named = Vec::new();
    let parts = index().await;
    assert_eq!(parts.len(), 4, "{parts:?}");
    for part in parts {
        let part = part.strip_prefix(BASE).unwrap().replace("&amp;", "&");
        named.extend(locations(&site, &part, "urlset", "url").await);
    }
    let posts: Vec<i64> = named
        .iter()
        .filter_map(|address| address.strip_prefix(&format!("{BASE}/posts/")))
        .map(|id| id.parse().unwrap())
        .collect();
    let there: Vec<i64> =
        sqlx::query_scalar("select id from posts order by id").fetch_all(&site.db).await.unwrap();
    assert_eq!(posts, there);
    assert_eq!(named.len(), posts.len() + lists.len());
    let part = site.visitor().get("/sitemap.xml?part=0").await;
    part.has("/posts/1</loc><lastmod>2011-02-03T04:05:06Z</lastmod>");
    part.has("/posts/2</loc><lastmod>2026-11-24T01:02:03Z</lastmod>");
}

// --- The files of conventions ---

/// The answers of Python's own reader: whether it may fetch each path, and where the sitemap is.
const ROBOT: &str = "
import sys, urllib.robotparser
robot = urllib.robotparser.RobotFileParser()
robot.parse(sys.stdin.read().splitlines())
print(*[int(robot.can_fetch('Anybot/1.0', path)) for path in sys.argv[1:]], *robot.site_maps())
";

#[tokio::test]
async fn robots_may_read_what_is_for_everybody_and_nothing_else() {
    let site = TestSite::at(BASE).await;
    let reply = site.visitor().get("/robots.txt").await;
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    let may = [
        "/",
        "/new",
        "/top?t=week",
        "/posts/1",
        "/posts/12",
        "/users",
        "/users/ada",
        "/feed.atom",
        "/new/feed.atom",
        "/users/ada/feed.atom",
        "/search/feed.atom?q=owl",
        "/sitemap.xml",
        "/static/x.css",
    ];
    let may_not = [
        "/search",
        "/search?q=owl",
        "/login",
        "/login?next=/new",
        "/signup",
        "/settings",
        "/settings/sessions",
        "/posts/new",
        "/password/forgot",
        "/email/confirm/x",
        "/api/v1/posts",
    ];
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let mut robot = Command::new(python)
        .args(["-c", ROBOT])
        .args(may.iter().chain(&may_not))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bin/test installs it");
    robot.stdin.take().unwrap().write_all(reply.body.as_bytes()).unwrap();
    let output = robot.wait_with_output().unwrap();
    let verdicts = ["1"; 13].iter().chain(&["0"; 11]).copied().collect::<Vec<_>>().join(" ");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{verdicts} {BASE}/sitemap.xml\n"),
        "{}",
        reply.body
    );
}

/// The fields of a `security.txt`, as RFC 9116 has them.
#[track_caller]
fn security(reply: &Reply) -> Vec<(String, String)> {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    assert!(reply.body.ends_with('\n') && reply.body.is_ascii());
    let fields = reply.body.lines().map(|line| line.split_once(": ").expect(line));
    let fields: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let of = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str()).collect()
    };
    assert!(!of("Contact").is_empty());
    assert!(of("Contact").iter().all(|contact| url::Url::parse(contact).is_ok()));
    let now = OffsetDateTime::now_utc();
    let [expires] = of("Expires")[..] else { panic!("{fields:?}") };
    assert!(date(expires) > now + Duration::days(90) && date(expires) < now + Duration::days(365));
    assert!(of("Preferred-Languages").len() <= 1);
    for name in ["Canonical", "Policy", "Encryption", "Hiring", "Acknowledgments"] {
        assert!(of(name).iter().all(|uri| uri.starts_with("https://")), "{fields:?}");
    }
    fields
}

#[tokio::test]
async fn who_finds_a_weakness_learns_whom_to_tell() {
    let site = TestSite::at(BASE).await;
    let fields = security(&site.visitor().get("/.well-known/security.txt").await);
    assert_eq!(fields[0], ("Contact".to_owned(), "mailto:security@site.test".to_owned()));
    let own = ("Canonical".to_owned(), format!("{BASE}/.well-known/security.txt"));
    assert!(fields.contains(&own));

    // The RFC knows no http.
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let fields = security(&site.visitor().get("/.well-known/security.txt").await);
    let from = office.outgoing().from.email;
    assert_eq!(fields[0], ("Contact".to_owned(), format!("mailto:{from}")));
    assert!(fields.iter().all(|(name, _)| name != "Canonical"));
    assert!(Mailer::new(None).unwrap().address().is_none());
}

#[tokio::test]
async fn a_password_manager_is_led_to_where_passwords_are_changed() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let reply = site.visitor().get("/.well-known/change-password").await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/settings"));
    ada.get("/settings").await.has("action=\"/settings/password\"");
    // By which they tell that this site means its statuses.
    let nothing = "/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200";
    assert_eq!(ada.get(nothing).await.status, 404);
}

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
    let style = include_str!("../../static/css/app.css");
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
async fn a_browser_can_search_the_site_from_its_own_field() {
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
