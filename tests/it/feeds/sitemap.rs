//! The sitemap.

use roxmltree::{Document, Node};

use crate::{
    feeds::{BASE, SITEMAP, all, date, one, only, run},
    support::{TestSite, oracle},
};

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
