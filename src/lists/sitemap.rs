//! The sitemap for search engines (sitemaps.org): an index and its parts.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::{
    config::Site,
    identity::PostId,
    lists::db,
    web::{
        Error, Result, Xml,
        cache::CachePolicy,
        extract::{Query, number},
        filters,
        middleware::replica::ReadPool,
    },
};

const XML: &str = "application/xml; charset=utf-8";

#[derive(Template)]
#[template(path = "lists/sitemap/index.xml")]
struct Index {
    site: Arc<Site>,
    parts: Vec<i64>,
}

#[derive(Template)]
#[template(path = "lists/sitemap/part.xml")]
struct Part {
    site: Arc<Site>,
    lists: &'static [&'static str],
    posts: Vec<(PostId, OffsetDateTime)>,
}

/// Parts share the path of the index: a sitemap in a folder may only list addresses in that folder.
#[derive(Deserialize)]
pub struct SitemapQuery {
    part: Option<String>,
}

pub async fn show(
    State(site): State<Arc<Site>>,
    ReadPool(db): ReadPool,
    Query(query): Query<SitemapQuery>,
) -> Result<Response> {
    if query.part.is_none() {
        let mut parts = db::sitemap_parts(&db).await?;
        // The one with the lists, which are there however empty the site is.
        if parts.first() != Some(&0) {
            parts.insert(0, 0);
        }
        let index = Xml(XML, Index { site, parts }).render().await;
        return Ok((CachePolicy::Revalidate, index).into_response());
    }
    let part = number("part", query.part.as_deref(), 0, 0, i64::from(i32::MAX))?;
    let posts = db::sitemap_part(&db, part).await?;
    let lists: &[&str] = if part == 0 { &["/", "/new", "/top", "/users"] } else { &[] };
    if posts.is_empty() && lists.is_empty() {
        return Err(Error::NotFound);
    }
    let part = Xml(XML, Part { site, lists, posts }).render().await;
    Ok((CachePolicy::Revalidate, part).into_response())
}
