//! Template filters for times and counts.

#![allow(
    clippy::unnecessary_wraps,
    clippy::trivially_copy_pass_by_ref,
    clippy::inline_always,
    reason = "askama asks for this shape"
)]

use askama::{Result, Values};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

const MINUTE: BorrowedFormatItem =
    BorrowedFormatItem::Compound(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"));
const MACHINE: BorrowedFormatItem = BorrowedFormatItem::Compound(format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second]Z"
));
const MONTH: BorrowedFormatItem =
    BorrowedFormatItem::Compound(format_description!("[month repr:long] [year]"));

/// `2026-11-23T15:04:05Z`, for `<time datetime>`.
#[askama::filter_fn]
pub fn machine(at: &OffsetDateTime, _: &dyn Values) -> Result<String> {
    Ok(format_utc(*at, &MACHINE))
}

/// The same as [`machine`], outside a template.
pub fn machine_text(at: OffsetDateTime) -> String {
    format_utc(at, &MACHINE)
}

/// `2026-11-23 15:04 UTC`.
#[askama::filter_fn]
pub fn minute(at: &OffsetDateTime, _: &dyn Values) -> Result<String> {
    Ok(format_utc(*at, &MINUTE))
}

/// `November 2026`.
#[askama::filter_fn]
pub fn month(at: &OffsetDateTime, _: &dyn Values) -> Result<String> {
    Ok(format_utc(*at, &MONTH))
}

/// How long ago, in the largest unit that fits: `3 h`, `2 d`, `10 y`.
#[askama::filter_fn]
pub fn ago(at: &OffsetDateTime, _: &dyn Values) -> Result<String> {
    Ok(age((OffsetDateTime::now_utc() - *at).whole_minutes()))
}

/// The same as [`ago`], within a sentence: `3 h ago`, `just now`.
#[askama::filter_fn]
pub fn since(at: &OffsetDateTime, _: &dyn Values) -> Result<String> {
    let age = age((OffsetDateTime::now_utc() - *at).whole_minutes());
    Ok(if age == "now" { "just now".to_owned() } else { format!("{age} ago") })
}

/// `1 post`, `2 posts`.
#[askama::filter_fn]
pub fn counted(count: &i64, _: &dyn Values, noun: &str) -> Result<String> {
    Ok(format!("{count} {noun}{}", if *count == 1 { "" } else { "s" }))
}

fn format_utc(at: OffsetDateTime, format: &BorrowedFormatItem) -> String {
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

fn age(minutes: i64) -> String {
    const UNITS: [(i64, &str); 5] =
        [(525_600, "y"), (43_800, "mo"), (1440, "d"), (60, "h"), (1, "min")];
    let unit = UNITS.iter().find(|(size, _)| minutes >= *size);
    unit.map_or_else(|| "now".to_owned(), |(size, name)| format!("{}\u{a0}{name}", minutes / size))
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn an_age_is_shown_in_its_largest_unit() {
        let ages = [-5, 0, 1, 59, 60, 1439, 1440, 43_800, 525_600, 5_256_000].map(age);
        assert_eq!(
            ages.map(|age| age.replace('\u{a0}', " ")),
            ["now", "now", "1 min", "59 min", "1 h", "23 h", "1 d", "1 mo", "1 y", "10 y"]
        );
    }
}
