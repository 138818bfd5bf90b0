//! What lists are ordered by, and the cursors that carry it from page to page.
//!
//! The hot rank itself is computed by the database's `hot_rank` (see `migrations/`), so the vote, the
//! import and the repair share one definition.

use crate::{
    database::snapshot::Snapshot,
    identity::PostId,
    lists::PostSummary,
    score::Score,
    web::{Result, cursor},
};

/// The place after one post of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct PageCursor<Rank> {
    pub rank: Rank,
    pub id: PostId,
    /// The state of the database in which the first page was read. A post that has since fallen from
    /// this place or further up was on an earlier page, and is not shown again.
    pub snapshot: Option<Snapshot>,
}

/// What a list can be ordered by: a number that a cursor carries as 64 bits without loss.
pub trait Rank: Sized {
    fn to_bits(self) -> i64;
    /// `None` for bits that no rank can have.
    fn from_bits(bits: i64) -> Option<Self>;
}

/// A rank that every post has.
pub trait PostRank: Rank {
    /// Whether votes change it, so that a cursor needs a snapshot.
    const MOVES: bool;

    fn from_post(post: &PostSummary) -> Self;
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hot(pub f64);

impl Rank for Hot {
    fn to_bits(self) -> i64 {
        float_to_bits(self.0)
    }

    fn from_bits(bits: i64) -> Option<Hot> {
        float_from_bits(bits).map(Hot)
    }
}

impl PostRank for Hot {
    const MOVES: bool = true;

    fn from_post(post: &PostSummary) -> Hot {
        Hot(post.hot)
    }
}

impl Rank for Score {
    fn to_bits(self) -> i64 {
        self.0
    }

    fn from_bits(bits: i64) -> Option<Score> {
        Some(Score(bits))
    }
}

impl PostRank for Score {
    const MOVES: bool = true;

    fn from_post(post: &PostSummary) -> Score {
        post.score
    }
}

/// When a post was published, to the microsecond, which is all that Postgres keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedAt(pub time::OffsetDateTime);

impl Rank for CreatedAt {
    fn to_bits(self) -> i64 {
        i64::try_from(self.0.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
    }

    fn from_bits(bits: i64) -> Option<CreatedAt> {
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(bits) * 1000).ok()?;
        // Postgres has no dates before 4713 BC; no post is from before the common era.
        (at.year() > 0).then_some(CreatedAt(at))
    }
}

impl PostRank for CreatedAt {
    const MOVES: bool = false;

    fn from_post(post: &PostSummary) -> CreatedAt {
        CreatedAt(post.created_at)
    }
}

/// The bits of a rank that is a floating-point number.
pub fn float_to_bits(rank: f64) -> i64 {
    rank.to_bits().cast_signed()
}

/// `None` for infinity and for what is not a number.
pub fn float_from_bits(bits: i64) -> Option<f64> {
    Some(f64::from_bits(bits.cast_unsigned())).filter(|rank| rank.is_finite())
}

impl<R: Rank> PageCursor<R> {
    /// Reads the cursor of the list called `list`; a damaged one is a 400. A cursor without a snapshot,
    /// from a version that had none, hides nothing.
    pub fn decode(list: &str, cursor: Option<&str>) -> Result<Option<PageCursor<R>>> {
        let Some(cursor) = cursor else { return Ok(None) };
        let cursor = cursor::decode(list, cursor)?;
        let rank = R::from_bits(cursor.rank).ok_or_else(cursor::damaged)?;
        let snapshot = match cursor.rest.as_str() {
            "" => None,
            text => Some(Snapshot::parse(text).ok_or_else(cursor::damaged)?),
        };
        Ok(Some(PageCursor { rank, id: PostId(cursor.id), snapshot }))
    }

    /// The snapshot of the first page, as a query takes it.
    pub fn snapshot(after: Option<&PageCursor<R>>) -> Option<&str> {
        after.and_then(|after| after.snapshot.as_ref()).map(Snapshot::as_str)
    }

    /// Writes the cursor. `before` is the one that the page itself was read with; its snapshot is kept,
    /// so that all pages have the one of the first.
    pub fn encode(self, list: &str, before: Option<&PageCursor<R>>) -> String {
        let snapshot = before.and_then(|before| before.snapshot.clone()).or(self.snapshot);
        let snapshot = snapshot.map(Snapshot::portable);
        let rest = snapshot.as_ref().map_or("", Snapshot::as_str);
        cursor::encode(list, self.rank.to_bits(), self.id.0, rest)
    }
}

impl<R: PostRank> PageCursor<R> {
    /// The place after `post`, on the first page of a list.
    pub fn after(post: &PostSummary) -> PageCursor<R> {
        let snapshot = R::MOVES.then(|| post.snapshot.clone());
        PageCursor { rank: R::from_post(post), id: post.id, snapshot }
    }
}
