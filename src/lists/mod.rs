//! Lists of posts: in which order, from where on, and as whom they show.

pub mod atom;
pub mod db;
pub mod highlight;
pub mod member_cache;
pub mod pages;
pub mod ranking;
pub mod sitemap;
pub mod view;

use time::OffsetDateTime;

use crate::{
    database::snapshot::Snapshot,
    identity::{PostId, Username},
    markdown::Html,
    posts::Link,
    score::Score,
};

/// Posts on one page of a list.
pub const PER_PAGE: i64 = 30;

/// A post as lists show it.
#[derive(Debug, Clone)]
pub struct PostSummary {
    pub id: PostId,
    pub author: Username,
    pub title: String,
    pub link: Option<Link>,
    pub excerpt: String,
    pub score: Score,
    pub hot: f64,
    pub created_at: OffsetDateTime,
    pub edited_at: Option<OffsetDateTime>,
    /// Whether the viewer who asked voted for it.
    pub voted: bool,
    /// What had happened to it when it was read.
    pub read_in: Snapshot,
}

/// A post as feeds give it to readers elsewhere.
#[derive(Debug, Clone)]
pub struct FeedEntry {
    pub id: PostId,
    pub author: Username,
    pub title: String,
    pub link: Option<Link>,
    /// None where the text is too long for a feed; then [`FeedEntry::excerpt`] has to do.
    pub body_html: Option<Html>,
    pub excerpt: String,
    pub created_at: OffsetDateTime,
    pub edited_at: Option<OffsetDateTime>,
}

impl FeedEntry {
    /// When its author last wrote at it.
    pub fn updated_at(&self) -> OffsetDateTime {
        self.edited_at.unwrap_or(self.created_at)
    }
}

/// Which part of a list is asked for, from its beginning or from a cursor on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub limit: i64,
    pub skip: i64,
}

impl Window {
    /// A page for readers, and one more where the list goes on.
    pub const PAGE: Window = Window { limit: PER_PAGE + 1, skip: 0 };
}
