//! The rank explanation: a post's place in the hot list, and the numbers behind it.

pub mod db;

use time::OffsetDateTime;

use crate::{identity::PostId, score::Score};

/// The numbers behind a post's place.
#[derive(Debug, Clone)]
pub struct RankExplanation {
    pub score: Score,
    pub created_at: OffsetDateTime,
    /// What the list is ordered by, the largest first.
    pub hot: f64,
    /// From 1 to [`RankExplanation::COUNTED`]; `None` further down.
    pub place: Option<i64>,
    pub above: Option<Neighbour>,
    pub below: Option<Neighbour>,
}

/// The post just above another, or just below.
#[derive(Debug, Clone)]
pub struct Neighbour {
    pub id: PostId,
    pub title: String,
}

impl RankExplanation {
    /// How far places are counted, so that the last of two million posts costs no more than the 1,000th.
    pub const COUNTED: i64 = 1000;

    /// The part of the rank that comes from votes; the rest comes from the time of publishing.
    #[expect(clippy::cast_precision_loss, reason = "the database does the same")]
    pub fn for_votes(&self) -> f64 {
        (self.score.0.max(1) as f64).log10()
    }

    pub fn for_time(&self) -> f64 {
        self.hot - self.for_votes()
    }
}
