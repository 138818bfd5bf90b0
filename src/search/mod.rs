//! Full-text search for posts.

pub mod api;
pub mod db;
pub mod pages;

use std::ops::RangeInclusive;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::{
    database::snapshot::Snapshot,
    identity::PostId,
    lists::{
        PostSummary,
        highlight::Highlights,
        ranking::{self, PageCursor, Rank},
    },
    text::{self, BadText},
    web::{Result, cursor},
};

/// A search query: one line of 2 to 200 characters. One character is enough outside ASCII, where it can
/// be a word, such as 雨.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(String);

impl Words {
    pub const MAX: usize = 200;

    pub fn parse(text: &str) -> Result<Words, BadWords> {
        let text = text::line(text)?;
        match text.chars().count() {
            0 => Err(BadWords::TooShort),
            1 if text.is_ascii() => Err(BadWords::TooShort),
            1..=Words::MAX => Ok(Words(text)),
            _ => Err(BadWords::TooLong),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWords {
    #[error("Give at least two characters.")]
    TooShort,
    #[error("Keep the search to {} characters.", Words::MAX)]
    TooLong,
    #[error("The search {0}.")]
    Text(#[from] BadText),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    #[default]
    Relevance,
    New,
    Top,
}

impl Sort {
    pub const EACH: [Sort; 3] = [Sort::Relevance, Sort::New, Sort::Top];

    /// As addresses write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Sort::Relevance => "relevance",
            Sort::New => "new",
            Sort::Top => "top",
        }
    }

    /// As a page shows it.
    pub fn label(self) -> &'static str {
        match self {
            Sort::Relevance => "Best match",
            Sort::New => "Newest",
            Sort::Top => "Most votes",
        }
    }

    /// Reads the cursor of the results called `list`, which are in this order; a damaged one is a 400.
    pub fn cursor(self, list: &str, after: Option<&str>) -> Result<Option<PageCursor<MatchRank>>> {
        let after = PageCursor::<MatchRank>::decode(list, after)?;
        let rank = after.as_ref().map_or(0.0, |after| after.rank.0);
        if self == Sort::New && !TIMES.contains(&rank) {
            return Err(cursor::damaged());
        }
        Ok(after)
    }

    pub fn is_relevance(self) -> bool {
        self == Sort::Relevance
    }

    /// The address of the first results in this order.
    pub fn href(self, words: &str) -> String {
        let words = utf8_percent_encode(words, NON_ALPHANUMERIC);
        match self {
            Sort::Relevance => format!("/search?q={words}"),
            sort => format!("/search?q={words}&sort={}", sort.as_str()),
        }
    }
}

/// The address of the feed for these words.
pub fn feed_href(words: &str) -> String {
    format!("/search/feed.atom?q={}", utf8_percent_encode(words, NON_ALPHANUMERIC))
}

/// How many matches are ranked, in orders that have to see all of them: the newest ones.
pub const MAX_RANKED: i64 = 500;

/// One page of results.
#[derive(Debug)]
pub struct Found {
    pub hits: Vec<Hit>,
    /// How many matches there are, up to one more than [`MAX_RANKED`].
    pub total: i64,
    /// There is no match; the hits are similar titles.
    pub is_similar: bool,
}

/// The times that a cursor of the newest results may have, in seconds since 1970: the years 1 to 9999.
/// Postgres has no times much beyond them.
const TIMES: RangeInclusive<f64> = -62_135_596_800.0..=253_402_300_799.0;

/// What results are ordered by, the largest first: relevance, the time in seconds, or the votes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchRank(pub f64);

impl Rank for MatchRank {
    fn to_bits(self) -> i64 {
        ranking::float_to_bits(self.0)
    }

    fn from_bits(bits: i64) -> Option<MatchRank> {
        ranking::float_from_bits(bits).map(MatchRank)
    }
}

#[derive(Debug)]
pub struct Hit {
    pub post: PostSummary,
    pub highlights: Highlights,
    pub rank: MatchRank,
}

/// A result without the post's text.
#[derive(Debug)]
pub struct Match {
    pub post: PostId,
    pub rank: MatchRank,
    /// The bytes of its whole text, as Markdown and as HTML.
    pub text_bytes: i64,
    /// The state of the database in which it was found.
    pub snapshot: Snapshot,
}

impl Hit {
    /// The place after it.
    pub fn cursor(&self) -> PageCursor<MatchRank> {
        let snapshot = Some(self.post.snapshot.clone());
        PageCursor { rank: self.rank, id: self.post.id, snapshot }
    }
}

impl Match {
    /// The place after it.
    pub fn cursor(&self) -> PageCursor<MatchRank> {
        PageCursor { rank: self.rank, id: self.post, snapshot: Some(self.snapshot.clone()) }
    }
}
