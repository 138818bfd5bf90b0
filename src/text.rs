//! Normalization of the text that people type, before any rule checks it.
//!
//! Lines and blocks become NFC (Unicode Standard Annex 15), so that texts that look the same are equal,
//! and have no characters that a database or a page cannot hold. Normalizing twice changes nothing.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// How much of what a client sent is in the log, in bytes.
const LOGGED: usize = 100;

/// Why a text is refused in any field. The messages follow the name of the field: "The title has ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    #[error("has a character that cannot be stored (a control character)")]
    Control,
    #[error("has an invisible character that changes the direction of text")]
    Direction,
    #[error("stacks too many accents on one letter")]
    Accents,
}

/// Normalizes one line: trimmed and in NFC.
///
/// # Errors
///
/// For control characters, direction overrides and stacked accents.
pub fn line(text: &str) -> Result<String, BadText> {
    let text: String = text.nfc().collect();
    let text = text.trim();
    if text.chars().any(is_unprintable) {
        return Err(BadText::Control);
    }
    if text.chars().any(changes_direction) {
        return Err(BadText::Direction);
    }
    if stacks_accents(text) {
        return Err(BadText::Accents);
    }
    Ok(text.to_owned())
}

/// Normalizes several lines: NFC, line ends as `\n`, no space at the end. Tabs stay.
///
/// # Errors
///
/// For other control characters and for stacked accents.
pub fn block(text: &str) -> Result<String, BadText> {
    let text: String = text.replace("\r\n", "\n").replace('\r', "\n").nfc().collect();
    let text = text.trim_end();
    if text.chars().any(|c| is_unprintable(c) && !matches!(c, '\n' | '\t')) {
        return Err(BadText::Control);
    }
    if stacks_accents(text) {
        return Err(BadText::Accents);
    }
    Ok(text.to_owned())
}

/// Whether the text has any character that a reader sees.
pub fn is_visible(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !is_blank(c))
}

/// Removes the characters that [`line`] refuses, for text that comes from elsewhere, such as imports.
pub fn repair_line(text: &str) -> String {
    let text: String =
        text.nfc().filter(|c| !is_unprintable(*c) && !changes_direction(*c)).collect();
    text.trim().to_owned()
}

/// Removes the characters that [`block`] refuses.
pub fn repair_block(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|c| !is_unprintable(*c) || matches!(c, '\n' | '\t')).collect()
}

/// Control characters and Unicode noncharacters.
fn is_unprintable(c: char) -> bool {
    c.is_control() || (u32::from(c) & 0xFFFE) == 0xFFFE || ('\u{FDD0}'..='\u{FDEF}').contains(&c)
}

fn changes_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{061C}')
}

/// Characters that show nothing, whether they take up space or not.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}' | '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF9}'..='\u{FFFC}' | '\u{E0000}'..='\u{E0FFF}'
    ) || is_combining_mark(c)
}

/// Whether a letter has more than four combining marks: they would reach into the lines above and below.
fn stacks_accents(text: &str) -> bool {
    let mut marks = 0;
    text.chars().any(|c| {
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        marks > 4
    })
}

/// What a client sent, for a field of the log: its first 100 bytes, with `?` for all but visible ASCII, so
/// that it neither fills the log nor looks like more than one field.
pub fn for_log(sent: &[u8]) -> String {
    let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
    sent.iter().take(LOGGED).map(shown).collect()
}

/// A number with its noun: `1 post`, `3 posts`.
pub fn counted(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_that_cannot_be_seen_or_stored_is_refused() {
        assert_eq!(line("a\0b"), Err(BadText::Control));
        assert_eq!(line("a\u{85}b"), Err(BadText::Control));
        assert_eq!(line("admin\u{202E}txt"), Err(BadText::Direction));
        assert_eq!(line(&format!("Z{}", "\u{301}".repeat(300))), Err(BadText::Accents));
        assert_eq!(block("a\r\nb\rc\n\n"), Ok("a\nb\nc".into()));
        assert!(!is_visible("\u{200B}\u{3164}\u{2800} "));
        assert!(is_visible("नमस्ते"));
    }

    proptest! {
        #[test]
        fn a_log_field_is_short_and_visible_ascii(sent: Vec<u8>) {
            let logged = for_log(&sent);
            prop_assert!(logged.len() <= 100 && logged.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(logged.len(), sent.len().min(100));
        }

        #[test]
        fn normalizing_twice_changes_nothing_more(text: String) {
            for normalize in [line, block] {
                if let Ok(once) = normalize(&text) {
                    prop_assert_eq!(normalize(&once), Ok(once.clone()));
                }
            }
            for repaired in [line(&repair_line(&text)), block(&repair_block(&text))] {
                prop_assert_eq!(repaired.is_err_and(|bad| bad != BadText::Accents), false);
            }
        }
    }
}
