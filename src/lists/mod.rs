//! Lists of posts: order, scope, pages and the cursors between them.

pub mod atom;
pub mod db;
pub mod highlight;
pub mod member_cache;
pub mod pages;
pub mod personal;
pub mod ranking;
pub mod sitemap;
pub mod view;

use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    database::snapshot::Snapshot,
    identity::{PostId, UserId, Username},
    lists::ranking::{PageCursor, PostRank},
    markdown::Html,
    posts::Link,
    score::Score,
    web::{
        Result,
        list::{ListPage, Window},
    },
};

/// The first page of a list, as pages and feeds show it.
pub const PAGE: Window = Window::first(30);

/// Which posts are listed, and in which order. Every combination can be read with [`page`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    pub order: Order,
    pub scope: Scope,
}

impl Listing {
    /// All posts in this order.
    pub fn all(order: Order) -> Listing {
        Listing { order, scope: Scope::All }
    }

    /// One author's posts, the newest first.
    pub fn newest_by(author: UserId) -> Listing {
        Listing { order: Order::New, scope: Scope::Author(author) }
    }
}

/// Which posts are in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    All,
    Author(UserId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Votes against age.
    Hot,
    /// The newest first.
    New,
    /// The most votes first, among the posts of a period.
    Top(Period),
}

impl Order {
    pub fn heading(self) -> &'static str {
        match self {
            Order::Hot => "Hot posts",
            Order::New => "Newest posts",
            Order::Top(_) => "Top posts",
        }
    }

    /// The address of the first page in this order.
    pub fn address(self) -> String {
        match self {
            Order::Hot => "/".to_owned(),
            Order::New => "/new".to_owned(),
            Order::Top(Period::All) => "/top".to_owned(),
            Order::Top(period) => format!("/top?t={}", period.as_str()),
        }
    }

    /// The address of the page after `cursor`.
    fn next_address(self, cursor: &str) -> String {
        match self {
            Order::Hot => format!("/?after={cursor}"),
            Order::New => format!("/new?after={cursor}"),
            Order::Top(period) => format!("/top?t={}&after={cursor}", period.as_str()),
        }
    }

    /// The name that binds a cursor of the list of all posts to this order.
    fn cursor_name(self) -> String {
        match self {
            Order::Hot => "hot".to_owned(),
            Order::New => "new".to_owned(),
            Order::Top(period) => format!("top {}", period.as_str()),
        }
    }

    pub fn is_hot(self) -> bool {
        self == Order::Hot
    }

    pub fn is_new(self) -> bool {
        self == Order::New
    }

    pub fn period(self) -> Option<Period> {
        match self {
            Order::Top(period) => Some(period),
            Order::Hot | Order::New => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    Day,
    Week,
    Month,
    Year,
    #[default]
    All,
}

impl Period {
    pub const EACH: [Period; 5] =
        [Period::Day, Period::Week, Period::Month, Period::Year, Period::All];

    /// As addresses write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
            Period::Year => "year",
            Period::All => "all",
        }
    }

    /// As a page shows it.
    pub fn label(self) -> &'static str {
        match self {
            Period::Day => "Today",
            Period::Week => "Week",
            Period::Month => "Month",
            Period::Year => "Year",
            Period::All => "All",
        }
    }

    /// How many days it reaches back; `None` for all time.
    pub fn days(self) -> Option<i32> {
        match self {
            Period::Day => Some(1),
            Period::Week => Some(7),
            Period::Month => Some(30),
            Period::Year => Some(365),
            Period::All => None,
        }
    }
}

/// A post as lists show it.
#[derive(Debug, Clone)]
pub struct PostSummary {
    pub id: PostId,
    pub author: Username,
    pub title: String,
    pub link: Option<Link>,
    pub excerpt: String,
    /// The bytes of its whole text, as Markdown and as HTML.
    pub text_bytes: i64,
    pub score: Score,
    pub hot: f64,
    pub created_at: OffsetDateTime,
    pub edited_at: Option<OffsetDateTime>,
    /// Whether the viewer voted for it.
    pub voted: bool,
    /// The state of the database in which it was read.
    pub snapshot: Snapshot,
}

/// A post as an entry of an Atom feed.
#[derive(Debug, Clone)]
pub struct FeedEntry {
    pub id: PostId,
    pub author: Username,
    pub title: String,
    pub link: Option<Link>,
    /// `None` if the text is too long for a feed, which then has [`FeedEntry::excerpt`] instead.
    pub body_html: Option<Html>,
    pub excerpt: String,
    pub created_at: OffsetDateTime,
    pub edited_at: Option<OffsetDateTime>,
}

impl FeedEntry {
    /// When it was last edited, or published if it never was.
    pub fn updated_at(&self) -> OffsetDateTime {
        self.edited_at.unwrap_or(self.created_at)
    }
}

/// Where a page begins: after a cursor, or at the top of the list.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The name of the list, which a cursor must have been made for.
    pub list: &'a str,
    /// The cursor as the request has it.
    pub after: Option<&'a str>,
}

impl Start<'_> {
    /// For a list that is read from its top and goes no further.
    pub const TOP: Start<'static> = Start { list: "", after: None };

    fn cursor<R: PostRank>(&self) -> Result<Option<PageCursor<R>>> {
        PageCursor::decode(self.list, self.after)
    }

    /// Cuts `posts` to the page of `window`, with the cursor to the next.
    fn page<R: PostRank>(
        &self,
        after: Option<&PageCursor<R>>,
        window: Window,
        posts: Vec<PostSummary>,
    ) -> ListPage<PostSummary> {
        let window = window.fitting(posts.iter().map(|post| post.text_bytes));
        ListPage::new(posts, window, |last| PageCursor::<R>::after(last).encode(self.list, after))
    }
}

/// One page of a listing as `viewer` sees it. A damaged cursor is a 400.
pub async fn page(
    db: &PgPool,
    viewer: Option<UserId>,
    Listing { order, scope }: Listing,
    start: Start<'_>,
    window: Window,
) -> Result<ListPage<PostSummary>> {
    match order {
        Order::Hot => {
            let after = start.cursor()?;
            let posts = db::hot(db, viewer, scope, after.as_ref(), window).await?;
            Ok(start.page(after.as_ref(), window, posts))
        }
        Order::New => {
            let after = start.cursor()?;
            let posts = db::newest(db, viewer, scope, after.as_ref(), window).await?;
            Ok(start.page(after.as_ref(), window, posts))
        }
        Order::Top(period) => {
            let after = start.cursor()?;
            let posts = db::top(db, viewer, scope, period, after.as_ref(), window).await?;
            Ok(start.page(after.as_ref(), window, posts))
        }
    }
}
