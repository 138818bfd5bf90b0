//! Finding posts again by their words.

pub mod db;
pub mod pages;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::{
    posts::Listed,
    text::{self, BadText},
};

/// What somebody looks for: one line of 2 to 200 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(String);

impl Words {
    pub const MAX: usize = 200;

    pub fn parse(text: &str) -> Result<Words, BadWords> {
        let text = text::line(text)?;
        match text.chars().count() {
            0 | 1 => Err(BadWords::TooShort),
            2..=Words::MAX => Ok(Words(text)),
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

/// How many matches are looked at for an order that has to see them all; the newest ones count.
pub const BOUND: i64 = 1000;

/// One page of results.
#[derive(Debug)]
pub struct Found {
    pub hits: Vec<Hit>,
    /// How many there are, up to one more than [`BOUND`].
    pub total: i64,
    /// Nothing has these words; the hits are titles that look alike.
    pub is_similar: bool,
}

#[derive(Debug)]
pub struct Hit {
    pub post: Listed,
    pub marks: Marks,
    /// By what the results are ordered; the larger the earlier.
    pub rank: f64,
}

/// Title and text with the words that were found marked.
#[derive(Debug, Clone)]
pub struct Marks {
    pub title: Vec<Piece>,
    pub text: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub is_hit: bool,
}

/// Takes apart what the database marked with U+0002 before and U+0003 behind each hit; no title or
/// text can hold either.
pub fn pieces(marked: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for part in marked.split_inclusive(['\u{2}', '\u{3}']) {
        let is_hit = part.ends_with('\u{3}');
        let text = part.trim_end_matches(['\u{2}', '\u{3}']);
        if !text.is_empty() {
            pieces.push(Piece { text: text.to_owned(), is_hit });
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_apart() {
        let piece = |text: &str, is_hit| Piece { text: text.into(), is_hit };
        assert_eq!(
            pieces("a \u{2}cat\u{3} and \u{2}cats\u{3}"),
            [piece("a ", false), piece("cat", true), piece(" and ", false), piece("cats", true)]
        );
        assert_eq!(pieces("plain"), [piece("plain", false)]);
        assert_eq!(pieces(""), []);
    }
}
