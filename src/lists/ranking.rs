//! In which order posts are listed, and where a list goes on.
//!
//! The rank itself is the database's `hot_rank` (see `migrations/`): one definition for the vote,
//! the import and any repair.

use crate::{
    database::snapshot::Snapshot,
    identity::PostId,
    lists::PostSummary,
    score::Score,
    web::{Result, cursor},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Hot,
    New,
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
            Order::Top(period) => format!("/top?t={}", period.word()),
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

    /// As it stands in addresses.
    pub fn word(self) -> &'static str {
        match self {
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
            Period::Year => "year",
            Period::All => "all",
        }
    }

    /// As a reader sees it.
    pub fn label(self) -> &'static str {
        match self {
            Period::Day => "Today",
            Period::Week => "Week",
            Period::Month => "Month",
            Period::Year => "Year",
            Period::All => "All",
        }
    }

    /// How far back it reaches; `None` for ever.
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

/// The place after one post of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct PageCursor<Rank> {
    pub rank: Rank,
    pub id: PostId,
    /// The state of the database in which the list was begun. A post that has since fallen from here
    /// or further up was seen there, and is not shown again.
    pub begun: Option<Snapshot>,
}

/// What a list can be ordered by: a number that survives the way through a cursor unchanged.
pub trait Rank: Sized {
    /// Whether votes change it.
    const MOVES: bool;

    fn of(post: &PostSummary) -> Self;
    fn to_bits(self) -> i64;
    /// `None` for bits that no post's rank can have.
    fn from_bits(bits: i64) -> Option<Self>;
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hot(pub f64);

impl Rank for Hot {
    const MOVES: bool = true;

    fn of(post: &PostSummary) -> Hot {
        Hot(post.hot)
    }

    fn to_bits(self) -> i64 {
        self.0.to_bits().cast_signed()
    }

    fn from_bits(bits: i64) -> Option<Hot> {
        Some(f64::from_bits(bits.cast_unsigned())).filter(|hot| hot.is_finite()).map(Hot)
    }
}

impl Rank for Score {
    const MOVES: bool = true;

    fn of(post: &PostSummary) -> Score {
        post.score
    }

    fn to_bits(self) -> i64 {
        self.0
    }

    fn from_bits(bits: i64) -> Option<Score> {
        Some(Score(bits))
    }
}

/// When a post was written, to the microsecond, which is all that Postgres keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedAt(pub time::OffsetDateTime);

impl Rank for CreatedAt {
    const MOVES: bool = false;

    fn of(post: &PostSummary) -> CreatedAt {
        CreatedAt(post.created_at)
    }

    fn to_bits(self) -> i64 {
        i64::try_from(self.0.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
    }

    fn from_bits(bits: i64) -> Option<CreatedAt> {
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(bits) * 1000).ok()?;
        // Postgres has no dates before 4713 BC; no post is from before the common era.
        (at.year() > 0).then_some(CreatedAt(at))
    }
}

/// The way from one page of a list to the next.
impl<R: Rank> PageCursor<R> {
    /// Reads the cursor of the list called `list`; a damaged one is a 400. One from before lists knew
    /// when they were begun goes on as if they began here.
    pub fn decode(list: &str, cursor: Option<&str>) -> Result<Option<PageCursor<R>>> {
        let Some(cursor) = cursor else { return Ok(None) };
        let cursor = cursor::decode(list, cursor)?;
        let rank = R::from_bits(cursor.rank).ok_or_else(cursor::damaged)?;
        let begun = match cursor.rest.as_str() {
            "" => None,
            text => Some(Snapshot::parse(text).ok_or_else(cursor::damaged)?),
        };
        Ok(Some(PageCursor { rank, id: PostId(cursor.id), begun }))
    }

    /// The state in which the list was begun, as a statement takes it.
    pub fn begun(after: Option<&PageCursor<R>>) -> Option<&str> {
        after.and_then(|after| after.begun.as_ref()).map(Snapshot::as_str)
    }

    /// The place after `post`, in a list that begins with it.
    pub fn post(post: &PostSummary) -> PageCursor<R> {
        let begun = R::MOVES.then(|| post.read_in.clone());
        PageCursor { rank: R::of(post), id: post.id, begun }
    }

    /// The cursor to here for somebody who came from `before`; without it, from the first page.
    pub fn encode(self, list: &str, before: Option<&PageCursor<R>>) -> String {
        let begun = before.and_then(|before| before.begun.clone()).or(self.begun);
        let begun = begun.map(Snapshot::portable);
        let rest = begun.as_ref().map_or("", Snapshot::as_str);
        cursor::encode(list, self.rank.to_bits(), self.id.0, rest)
    }
}
