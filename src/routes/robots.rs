//! `robots.txt`, from the manifest of routes.

use std::{fmt::Write as _, sync::Arc};

use axum::extract::State;

use super::{Face, ROUTES};
use crate::{config::Site, web::cache::CachePolicy};

/// RFC 9309. Forms and personal pages are of no use to a crawler, and search costs most. `Allow` is
/// first, for crawlers that take the first rule that matches.
pub async fn show(State(site): State<Arc<Site>>) -> (CachePolicy, String) {
    let mut text = "User-agent: *\nAllow: /search/feed.atom\n".to_owned();
    for path in disallowed() {
        let _ = writeln!(text, "Disallow: {path}");
    }
    let _ = writeln!(text, "\nSitemap: {}/sitemap.xml", site.base_url.origin());
    (CachePolicy::Revalidate, text)
}

/// The paths that crawlers should not request: the shortest prefixes, with `*` for a parameter, that
/// cover the private pages and no public one.
fn disallowed() -> Vec<String> {
    let is_public = |path: &str| {
        ROUTES.iter().any(|route| route.face == Face::Public && route.path.starts_with(path))
    };
    let private = ROUTES.iter().filter(|route| route.face == Face::Private);
    let mut paths: Vec<String> = private
        .filter(|route| !is_public(route.path))
        .map(|route| route.path.split('{').map(after_parameter).collect::<Vec<_>>().join("*"))
        // A rule is a prefix already, and some crawlers take `*` for a character.
        .map(|path| path.trim_end_matches('*').to_owned())
        .chain(["/search".to_owned(), "/api/".to_owned()])
        .collect();
    paths.sort();
    paths.dedup_by(|path, shorter| path.starts_with(shorter.as_str()));
    paths
}

fn after_parameter(part: &str) -> &str {
    part.split_once('}').map_or(part, |(_, rest)| rest)
}
