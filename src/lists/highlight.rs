//! Highlights: the matches of a search in the title and text of a result.

use std::ops::Range;

/// Title and text in pieces, of which the matches are marked.
#[derive(Debug, Clone)]
pub struct Highlights {
    pub title: Vec<Piece>,
    pub text: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub is_hit: bool,
}

/// Splits a text in which the database put U+0002 before and U+0003 after each match. No title or text
/// can contain either.
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

/// How many characters of a text a result shows, and how many of them before the first match at most:
/// few enough for two lines on a phone.
const SNIPPET: usize = 220;
const LEAD: usize = 40;

/// The part of a text with the most matches, cut between words, with "…" at each cut. Empty if the text
/// has no match.
pub fn snippet(marked: &str) -> Vec<Piece> {
    let pieces = pieces(marked);
    let (mut text, mut hits) = (Vec::new(), Vec::new());
    for piece in &pieces {
        let begins = text.len();
        text.extend(piece.text.chars());
        if piece.is_hit {
            hits.push(begins..text.len());
        }
    }
    // They are in order, so a text that is nothing but matches takes no longer than its length.
    let beside = |hit: &Range<usize>| {
        let ends = hit.start + SNIPPET - LEAD;
        let before = hits.partition_point(|other| other.start < hit.start);
        hits.partition_point(|other| other.end <= ends).saturating_sub(before)
    };
    // The first of those that are as good: `max_by_key` takes the last.
    let Some(hit) = hits.iter().rev().max_by_key(|hit| beside(hit)) else { return Vec::new() };

    let is_space = |at: &usize| text[*at] == ' ';
    let mut from = hit.start.saturating_sub(LEAD).min(text.len().saturating_sub(SNIPPET));
    if from > 0 {
        from = (from..hit.start).find(is_space).map_or(from, |at| at + 1);
    }
    let mut to = text.len().min(from + SNIPPET);
    if to < text.len() {
        to = (hit.end.min(to)..to).rfind(is_space).unwrap_or(to);
    }

    let (mut shown, mut at) = (Vec::new(), 0);
    let cut = || Piece { text: "…".to_owned(), is_hit: false };
    shown.extend((from > 0).then(cut));
    for Piece { text, is_hit } in pieces {
        let length = text.chars().count();
        let (skip, until) = (from.saturating_sub(at), to.saturating_sub(at).min(length));
        if skip < until {
            let text = text.chars().take(until).skip(skip).collect();
            shown.push(Piece { text, is_hit });
        }
        at += length;
    }
    shown.extend((to < at).then(cut));
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The snippet with its hits in brackets.
    fn shown(marked: &str) -> String {
        let marked = marked.replace('[', "\u{2}").replace(']', "\u{3}");
        let piece = |Piece { text, is_hit }| if is_hit { format!("[{text}]") } else { text };
        snippet(&marked).into_iter().map(piece).collect()
    }

    #[test]
    fn a_snippet_shows_the_most_hits_and_where_it_is_cut() {
        assert_eq!(shown("A [cat] sat."), "A [cat] sat.");
        assert_eq!(shown("Nothing here."), "");
        let words = "word ".repeat(100);
        let end = shown(&format!("{words}one [cat]"));
        assert!(end.starts_with("…word") && end.ends_with("word one [cat]"), "{end}");
        let start = shown(&format!("One [cat] {words}"));
        assert!(start.starts_with("One [cat] word") && start.ends_with("word…"), "{start}");
        let best = shown(&format!("[cat] {words}[cat] and [dog] {words}[dog]"));
        assert!(best.contains("word [cat] and [dog] word"), "{best}");
        assert!(best.starts_with("…word") && best.ends_with("word…"), "{best}");
    }

    #[test]
    fn a_text_without_spaces_is_cut_all_the_same() {
        let text = shown(&format!("{}[雨]{}", "字".repeat(300), "字".repeat(300)));
        assert!(text.starts_with("…字") && text.contains("字[雨]字") && text.ends_with("字…"));
        assert_eq!(text.chars().count(), SNIPPET + 4);
        assert_eq!(shown(&format!("[{}]", "字".repeat(300))).chars().count(), SNIPPET + 3);
    }

    proptest! {
        #[test]
        fn a_snippet_is_a_part_of_its_text(text in "([a-c é]{0,60}\\[[a-c]{1,9}\\]){0,12}") {
            let shown = shown(&text);
            let plain = |text: &str| text.replace(['[', ']'], "");
            prop_assert!(plain(&text).contains(plain(&shown).trim_matches('…')));
            prop_assert!(plain(&shown).chars().count() <= SNIPPET + 2);
            prop_assert_eq!(shown.contains('['), text.contains('['));
        }
    }

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
