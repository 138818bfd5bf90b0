//! HTML that is rendered once for many viewers, with marks that are filled in for each of them.
//!
//! A template writes a mark with [`Mark::choose`]. Where the mark is open, both variants are written into
//! the output between characters that no text can hold, and [`SharedHtml`] picks one of them later. So
//! any number of marks takes one rendering.

use std::{fmt, sync::Arc};

/// Noncharacters, which `text.rs` refuses in everything that people type.
const OPEN: char = '\u{FDD0}';
const OTHERWISE: char = '\u{FDD1}';
const CLOSE: char = '\u{FDD2}';

/// Something about the viewer that is true or not, such as that they voted for a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Known(bool),
    /// To be filled in for each viewer, from the bit of [`Marks`] with this number (0 to 9).
    Open(u8),
}

impl From<bool> for Mark {
    fn from(is_set: bool) -> Mark {
        Mark::Known(is_set)
    }
}

impl Mark {
    /// `yes` where the mark is set, otherwise `no`.
    pub fn choose<'a>(&self, yes: &'a str, no: &'a str) -> Choice<'a> {
        Choice { mark: *self, yes, no }
    }
}

/// What a template shows of a [`Mark`].
pub struct Choice<'a> {
    mark: Mark,
    yes: &'a str,
    no: &'a str,
}

impl fmt::Display for Choice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Choice { mark, yes, no } = self;
        match mark {
            Mark::Known(true) => f.write_str(yes),
            Mark::Known(false) => f.write_str(no),
            Mark::Open(number) => write!(f, "{OPEN}{number}{yes}{OTHERWISE}{no}{CLOSE}"),
        }
    }
}

/// The marks of one viewer on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u16);

impl Marks {
    #[must_use]
    pub fn with(self, number: u8, is_set: bool) -> Marks {
        Marks(self.0 | u16::from(is_set) << number)
    }

    fn has(self, number: u8) -> bool {
        self.0 >> number & 1 == 1
    }
}

/// Rendered HTML whose open marks have not been filled in.
#[derive(Debug)]
pub struct SharedHtml(Box<[Piece]>);

#[derive(Debug)]
struct Piece {
    html: Box<str>,
    /// The mark on which it depends, and whether it has to be set.
    when: Option<(u8, bool)>,
}

impl SharedHtml {
    pub fn parse(html: &str) -> SharedHtml {
        let mut pieces = Vec::new();
        let mut add = |html: &str, when| {
            if !html.is_empty() {
                pieces.push(Piece { html: html.into(), when });
            }
        };
        let mut parts = html.split(OPEN);
        add(parts.next().unwrap_or_default(), None);
        for part in parts {
            let Some((number, yes, no, rest)) = choice(part) else {
                add(part, None);
                continue;
            };
            add(yes, Some((number, true)));
            add(no, Some((number, false)));
            add(rest, None);
        }
        SharedHtml(pieces.into())
    }

    /// The HTML for a viewer with these marks.
    pub fn fill(self: &Arc<SharedHtml>, marks: Marks) -> FilledHtml {
        FilledHtml { html: self.clone(), marks }
    }

    /// The memory it takes, in bytes.
    pub fn size(&self) -> usize {
        let pieces = self.0.iter().map(|piece| piece.html.len() + size_of::<Piece>());
        size_of::<SharedHtml>() + pieces.sum::<usize>()
    }
}

/// Takes apart what [`Choice`] wrote after [`OPEN`], and what follows it.
fn choice(part: &str) -> Option<(u8, &str, &str, &str)> {
    let (variants, rest) = part.split_once(CLOSE)?;
    let (number, variants) = variants.split_at_checked(1)?;
    let (yes, no) = variants.split_once(OTHERWISE)?;
    Some((number.parse().ok()?, yes, no, rest))
}

/// Shared HTML as one viewer sees it.
#[derive(Debug, Clone)]
pub struct FilledHtml {
    html: Arc<SharedHtml>,
    marks: Marks,
}

impl fmt::Display for FilledHtml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Piece { html, when } in &self.html.0 {
            if when.is_none_or(|(number, is_set)| self.marks.has(number) == is_set) {
                f.write_str(html)?;
            }
        }
        Ok(())
    }
}

/// It was escaped when its template rendered it.
impl askama::filters::HtmlSafe for FilledHtml {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row with two marks.
    fn row(saved: Mark, own: Mark) -> String {
        format!(
            "<p class=\"row{}\">{}, {}</p>",
            saved.choose(" saved", ""),
            own.choose("yours", "not yours"),
            saved.choose("kept", "not kept"),
        )
    }

    #[test]
    fn one_rendering_serves_every_combination_of_marks() {
        let shared = Arc::new(SharedHtml::parse(&row(Mark::Open(0), Mark::Open(9))));
        for (saved, own) in [(false, false), (false, true), (true, false), (true, true)] {
            let marks = Marks::default().with(0, saved).with(9, own);
            assert_eq!(shared.fill(marks).to_string(), row(saved.into(), own.into()));
        }
    }

    #[test]
    fn html_without_open_marks_and_with_broken_ones_stays_as_it_is() {
        for html in ["", "<p>plain</p>", &row(true.into(), false.into())] {
            let shared = Arc::new(SharedHtml::parse(html));
            assert_eq!(shared.fill(Marks::default()).to_string(), html);
        }
        let shared = Arc::new(SharedHtml::parse("a\u{FDD0}éb\u{FDD0}0c\u{FDD0}"));
        assert_eq!(shared.fill(Marks::default()).to_string(), "aéb0c");
    }
}
