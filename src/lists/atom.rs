//! Lists of posts as Atom feeds (RFC 4287).

use std::sync::Arc;

use askama::Template;
use axum::{extract::State, response::Response};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    config::Site,
    identity::PostId,
    lists::{self, FeedEntry, Listing, Order, PAGE, Start, db},
    posts,
    web::{
        Result, Xml,
        cache::{CachePolicy, Topic},
        filters,
        middleware::replica::ReadPool,
    },
};

/// Name, title and addresses of a feed.
pub struct FeedInfo {
    /// Makes the feed's id, which stays the same when its title or the site's address changes.
    pub name: String,
    pub title: String,
    pub path: String,
    /// The page with the same list.
    pub page: String,
}

#[derive(Template)]
#[template(path = "lists/atom.xml")]
struct Feed {
    site: Arc<Site>,
    info: FeedInfo,
    entries: Vec<FeedEntry>,
}

/// The content of an entry, as a feed reader shows it.
#[derive(Template)]
#[template(path = "lists/_atom_entry.html")]
struct Content<'a> {
    entry: &'a FeedEntry,
    address: String,
}

pub async fn hot(
    State(site): State<Arc<Site>>,
    ReadPool(db): ReadPool,
) -> Result<(CachePolicy, Response)> {
    let info = FeedInfo {
        name: "hot".into(),
        title: site.name.clone(),
        path: "/feed.atom".into(),
        page: "/".into(),
    };
    from_listing(&db, site, info, Listing::all(Order::Hot)).await
}

pub async fn newest(
    State(site): State<Arc<Site>>,
    ReadPool(db): ReadPool,
) -> Result<(CachePolicy, Response)> {
    let info = FeedInfo {
        name: "new".into(),
        title: format!("Newest posts · {}", site.name),
        path: "/new/feed.atom".into(),
        page: "/new".into(),
    };
    from_listing(&db, site, info, Listing::all(Order::New)).await
}

/// The feed with the posts of a listing's first page.
pub async fn from_listing(
    db: &PgPool,
    site: Arc<Site>,
    info: FeedInfo,
    listing: Listing,
) -> Result<(CachePolicy, Response)> {
    let posts = lists::page(db, None, listing, Start::TOP, PAGE).await?.rows;
    from_posts(db, site, info, posts.into_iter().map(|post| post.id)).await
}

/// The feed with these posts, in this order.
pub async fn from_posts(
    db: &PgPool,
    site: Arc<Site>,
    info: FeedInfo,
    posts: impl Iterator<Item = PostId>,
) -> Result<(CachePolicy, Response)> {
    let entries = db::feed_entries(db, &posts.collect::<Vec<_>>()).await?;
    let feed = Xml("application/atom+xml; charset=utf-8", Feed { site, info, entries });
    Ok((CachePolicy::Shared(Topic::Lists), feed.render().await))
}

impl Feed {
    /// When an entry was last published or edited; votes do not count.
    fn updated_at(&self) -> OffsetDateTime {
        let times = self.entries.iter().map(FeedEntry::updated_at);
        times.max().unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// A tag URI (RFC 4151), which stays the same with another scheme or port.
    fn id(&self, name: &str) -> String {
        let host = self.site.base_url.host().replace(['[', ']'], "");
        format!("tag:{host},2026:{name}")
    }

    fn post_id(&self, id: PostId) -> String {
        self.id(&format!("posts/{id}"))
    }

    fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.site.base_url.origin())
    }

    fn content(&self, entry: &FeedEntry) -> askama::Result<String> {
        let address = self.absolute(&posts::pages::address(entry.id));
        Content { entry, address }.render().map(|html| html.trim().to_owned())
    }
}
