//! What other programs read: feeds, the sitemap and the well-known files, each checked against
//! its standard.

mod atom;
mod head;
mod manifest;
mod sitemap;
mod well_known;

use roxmltree::{Document, Node};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::support::TestSite;

const BASE: &str = "https://site.test:8443";
const ATOM: &str = "http://www.w3.org/2005/Atom";
const SITEMAP: &str = "http://www.sitemaps.org/schemas/sitemap/0.9";
const OPEN_SEARCH: &str = "http://a9.com/-/spec/opensearch/1.1/";

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

/// Every element belongs to the one namespace and is one of `known`.
#[track_caller]
fn only(document: &Document, namespace: &str, known: &[&str]) {
    for node in document.descendants().filter(Node::is_element) {
        assert_eq!(node.tag_name().namespace(), Some(namespace));
        assert!(known.contains(&node.tag_name().name()), "{:?}", node.tag_name());
    }
}

#[track_caller]
fn date(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|err| panic!("{text:?}: {err}"))
}

async fn run(site: &TestSite, sql: &str) {
    sqlx::query(sql).execute(&site.db).await.unwrap();
}
