//! Pagination cursors: opaque to the client, checked when they come back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::web::{Error, Result};

const VERSION: u8 = 1;

/// The place after one row of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number the list is ordered by.
    pub rank: i64,
    pub id: i64,
    /// What else the list needs for its next page; empty for most.
    pub rest: String,
}

/// The text of a cursor, which is only valid for the list called `list`.
pub fn encode(list: &str, rank: i64, id: i64, rest: &str) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(rank.to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(rest.as_bytes());
    bytes.extend(check(list, &bytes));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor of `list`. One that is damaged, made up or of another list is a 400.
pub fn decode(list: &str, text: &str) -> Result<Cursor> {
    parse(list, text).ok_or_else(damaged)
}

/// The error for a cursor that cannot be used.
pub fn damaged() -> Error {
    Error::BadRequest("This link to the next page is damaged. Start from the top.".into())
}

fn parse(list: &str, text: &str) -> Option<Cursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (payload, sum) = bytes.split_last_chunk::<4>()?;
    let (version, place) = payload.split_first()?;
    if *version != VERSION || *sum != check(list, payload) {
        return None;
    }
    let (rank, place) = place.split_first_chunk()?;
    let (id, rest) = place.split_first_chunk()?;
    let rest = String::from_utf8(rest.to_vec()).ok()?;
    Some(Cursor { rank: i64::from_be_bytes(*rank), id: i64::from_be_bytes(*id), rest })
}

/// Detects damage and mix-ups, not forgery: a cursor gives no right to anything.
fn check(list: &str, payload: &[u8]) -> [u8; 4] {
    let sum = Sha256::new().chain_update(payload).chain_update(list).finalize();
    [sum[0], sum[1], sum[2], sum[3]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went_and_only_to_its_own_list(
            rank: i64,
            id: i64,
            rest in "|[0-9:,]{1,300}",
            at: proptest::sample::Index,
        ) {
            let text = encode("hot", rank, id, &rest);
            prop_assert_eq!(parse("new", &text), None);
            let at = at.index(text.len());
            let mut damaged = text.clone().into_bytes();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            prop_assert_eq!(parse("hot", &String::from_utf8(damaged).unwrap()), None);
            prop_assert_eq!(parse("hot", &text[..at]), None);
            prop_assert_eq!(parse("hot", &text), Some(Cursor { rank, id, rest }));
        }

        #[test]
        fn no_text_breaks_the_reader(text: String) {
            parse("hot", &text);
        }
    }
}
