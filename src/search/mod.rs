//! Finding posts again by their words.

pub mod api;
pub mod db;
pub mod pages;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::{
    lists::{PostSummary, highlight::Highlights},
    text::{self, BadText},
};

/// What somebody looks for: one line of 2 to 200 characters. One is enough where it can be a word,
/// as 雨 is.
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

    /// As it stands in addresses.
    pub fn word(self) -> &'static str {
        match self {
            Sort::Relevance => "relevance",
            Sort::New => "new",
            Sort::Top => "top",
        }
    }

    /// As a reader sees it.
    pub fn label(self) -> &'static str {
        match self {
            Sort::Relevance => "Best match",
            Sort::New => "Newest",
            Sort::Top => "Most votes",
        }
    }

    pub fn is_relevance(self) -> bool {
        self == Sort::Relevance
    }

    /// The address of the first results in this order.
    pub fn href(self, words: &str) -> String {
        let words = utf8_percent_encode(words, NON_ALPHANUMERIC);
        match self {
            Sort::Relevance => format!("/search?q={words}"),
            sort => format!("/search?q={words}&sort={}", sort.word()),
        }
    }
}

/// The address of the feed for these words.
pub fn feed_href(words: &str) -> String {
    format!("/search/feed.atom?q={}", utf8_percent_encode(words, NON_ALPHANUMERIC))
}

/// How many matches are looked at for an order that has to see them all; the newest ones count.
pub const MAX_RANKED: i64 = 500;

/// One page of results.
#[derive(Debug)]
pub struct Found {
    pub hits: Vec<Hit>,
    /// How many there are, up to one more than [`MAX_RANKED`].
    pub total: i64,
    /// Nothing has these words; the hits are titles that look alike.
    pub is_similar: bool,
}

#[derive(Debug)]
pub struct Hit {
    pub post: PostSummary,
    pub marks: Highlights,
    /// By what the results are ordered; the larger the earlier.
    pub rank: f64,
}
