//! Where a list goes on: opaque to the reader, checked on the way back.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{Error, Result};

const VERSION: u8 = 1;

/// The place after one row of the list called `list`: the number the list is ordered by, and the
/// row's id. A cursor of one list is no cursor of another.
pub fn encode(list: &str, rank: i64, id: i64) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(rank.to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(check(list, &bytes));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The way back; a damaged, foreign or invented cursor is a 400.
pub fn decode(list: &str, text: &str) -> Result<(i64, i64)> {
    parse(list, text).ok_or_else(damaged)
}

pub fn damaged() -> Error {
    Error::BadRequest("This link to older entries is damaged. Start from the top.".into())
}

fn parse(list: &str, text: &str) -> Option<(i64, i64)> {
    let bytes: [u8; 21] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (payload, sum) = bytes.split_at(17);
    if payload[0] != VERSION || sum != check(list, payload) {
        return None;
    }
    let rank = i64::from_be_bytes(payload[1..9].try_into().ok()?);
    let id = i64::from_be_bytes(payload[9..].try_into().ok()?);
    Some((rank, id))
}

/// Tells damage and mix-ups, not forgery: a cursor gives no right to anything.
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
        fn a_cursor_comes_back_as_it_went_and_only_to_its_own_list(rank: i64, id: i64, at in 0..28usize) {
            let cursor = encode("hot", rank, id);
            prop_assert_eq!(parse("hot", &cursor), Some((rank, id)));
            prop_assert_eq!(parse("new", &cursor), None);
            let mut damaged = cursor.clone().into_bytes();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            prop_assert_eq!(parse("hot", &String::from_utf8(damaged).unwrap()), None);
            prop_assert_eq!(parse("hot", &cursor[..at]), None);
        }

        #[test]
        fn no_text_breaks_the_reader(text: String) {
            parse("hot", &text);
        }
    }
}
