//! Lists of posts as Atom (RFC 4287), for people who read them elsewhere.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::web::cache::{CachePolicy, Topic};
use crate::{
    config::Site,
    identity::PostId,
    lists::{FeedEntry, PER_PAGE, Window, db},
    posts,
    web::{Result, Xml, filters, middleware::replica::ReadPool},
};

/// As many as a page of the same list.
pub const WINDOW: Window = Window { limit: PER_PAGE, skip: 0 };

/// What a list is called and where it is.
pub struct List {
    /// By what readers know it, however it is called and wherever the site moves to.
    pub name: String,
    pub title: String,
    pub path: String,
    /// The page that shows the same.
    pub page: String,
}

#[derive(Template)]
#[template(path = "lists/atom.xml")]
pub struct Feed {
    site: Arc<Site>,
    list: List,
    entries: Vec<FeedEntry>,
}

/// An entry as it is read inside a feed reader.
#[derive(Template)]
#[template(path = "lists/_atom_entry.html")]
struct Content<'a> {
    entry: &'a FeedEntry,
    address: String,
}

pub async fn hot(
    State(site): State<Arc<Site>>,
    ReadPool(db): ReadPool,
) -> Result<(CachePolicy, Xml<Feed>)> {
    let posts = db::hot(&db, None, None, WINDOW).await?;
    let list = List {
        name: "hot".into(),
        title: site.name.clone(),
        path: "/feed.atom".into(),
        page: "/".into(),
    };
    of(&db, site, list, posts.into_iter().map(|post| post.id)).await
}

pub async fn newest(
    State(site): State<Arc<Site>>,
    ReadPool(db): ReadPool,
) -> Result<(CachePolicy, Xml<Feed>)> {
    let posts = db::newest(&db, None, None, WINDOW).await?;
    let list = List {
        name: "new".into(),
        title: format!("Newest posts · {}", site.name),
        path: "/new/feed.atom".into(),
        page: "/new".into(),
    };
    of(&db, site, list, posts.into_iter().map(|post| post.id)).await
}

/// The feed of `list`, in which these posts are, in this order.
pub async fn of(
    db: &PgPool,
    site: Arc<Site>,
    list: List,
    posts: impl Iterator<Item = PostId>,
) -> Result<(CachePolicy, Xml<Feed>)> {
    let entries = db::feed_entries(db, &posts.collect::<Vec<_>>()).await?;
    let feed = Xml("application/atom+xml; charset=utf-8", Feed { site, list, entries });
    Ok((CachePolicy::Shared(Topic::Lists), feed))
}

impl Feed {
    /// When something in it was last written; votes do not count.
    fn updated_at(&self) -> OffsetDateTime {
        let times = self.entries.iter().map(FeedEntry::updated_at);
        times.max().unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// A name (RFC 4151) that survives another scheme and another port.
    fn id(&self, of: &str) -> String {
        let host = self.site.base_url.host().replace(['[', ']'], "");
        format!("tag:{host},2026:{of}")
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
