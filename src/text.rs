//! Text that people type, made into one form before any rule looks at it.
//!
//! Both forms are NFC (Unicode Standard Annex 15), so that what looks the same is the same, and
//! free of what a database or a page cannot hold. Cleaning is idempotent.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};

/// Why a text is refused whatever field it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    #[error("has a character that cannot be stored (a control character)")]
    Control,
    #[error("has an invisible character that changes the direction of text")]
    Direction,
    #[error("stacks too many accents on one letter")]
    Accents,
}

/// One line: trimmed, NFC, without control characters, direction overrides and stacked accents.
pub fn line(text: &str) -> Result<String, BadText> {
    let text: String = text.nfc().collect();
    let text = text.trim();
    if text.chars().any(is_unprintable) {
        return Err(BadText::Control);
    }
    if text.chars().any(turns_direction) {
        return Err(BadText::Direction);
    }
    if stacks_accents(text) {
        return Err(BadText::Accents);
    }
    Ok(text.to_owned())
}

/// Several lines: NFC, line ends as `\n`, no space at the end. Tabs stay; other control
/// characters are refused.
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

/// Whether a reader would see anything at all.
pub fn is_visible(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !is_blank(c))
}

/// The same line without the characters that [`line`] refuses: for text that nobody typed here.
pub fn repair_line(text: &str) -> String {
    let text: String = text.nfc().filter(|c| !is_unprintable(*c) && !turns_direction(*c)).collect();
    text.trim().to_owned()
}

/// The same lines without the characters that [`block`] refuses.
pub fn repair_block(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|c| !is_unprintable(*c) || matches!(c, '\n' | '\t')).collect()
}

/// Control characters, and the code points that are no characters.
fn is_unprintable(c: char) -> bool {
    c.is_control() || (u32::from(c) & 0xFFFE) == 0xFFFE || ('\u{FDD0}'..='\u{FDEF}').contains(&c)
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{061C}')
}

/// Characters that take room or none, and show nothing.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}' | '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF9}'..='\u{FFFC}' | '\u{E0000}'..='\u{E0FFF}'
    ) || is_combining_mark(c)
}

/// More than four marks on one letter reach into the lines above and below.
fn stacks_accents(text: &str) -> bool {
    let mut marks = 0;
    text.chars().any(|c| {
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        marks > 4
    })
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
    fn what_cannot_be_seen_or_stored_is_refused() {
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
        fn cleaning_twice_changes_nothing_more(text: String) {
            for clean in [line, block] {
                if let Ok(once) = clean(&text) {
                    prop_assert_eq!(clean(&once), Ok(once.clone()));
                }
            }
            for mended in [line(&repair_line(&text)), block(&repair_block(&text))] {
                prop_assert_eq!(mended.is_err_and(|bad| bad != BadText::Accents), false);
            }
        }
    }
}
