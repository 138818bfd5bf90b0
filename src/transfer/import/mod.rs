//! Posts from elsewhere, with the people who wrote them and the votes they got.
//!
//! [`csv`] reads a file and brings in its posts; [`demo`] is a small site of our own. [`fastapi`] and
//! [`export`] read a whole site, and [`whole`] brings it into an empty one. The rules here use neither
//! a clock nor random numbers of their own, so that the same file always gives the same votes.

pub mod copy;
pub mod csv;
pub mod db;
pub mod demo;
pub mod export;
pub mod fastapi;
pub mod whole;

use time::{Duration, OffsetDateTime};

use crate::{
    identity::Username,
    posts::{Link, Title},
};

/// The id of a post where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub struct SourceId(pub i64);

/// More points than this on one post are taken for a mistake in the file.
pub const MAX_POINTS: u32 = 1_000_000;

/// A post of the file, checked and not imported yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub source_id: SourceId,
    pub title: Title,
    pub link: Option<Link>,
    pub points: u32,
    /// An index into [`Batch::authors`].
    pub author: usize,
    pub created_at: OffsetDateTime,
}

/// A person who wrote at least one of the posts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pub name: Username,
    /// When they wrote the earliest of their posts in the file.
    pub since: OffsetDateTime,
}

/// All good rows of a file. No two rows have the same source id, and no two authors the same name
/// without regard to case.
#[derive(Debug, Default)]
pub struct Batch {
    pub rows: Vec<Row>,
    pub authors: Vec<Author>,
}

/// How much an import or the demo has added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub posts: u64,
    pub people: u64,
    pub votes: u64,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another import is running, and this one starts when it has ended.
    Waiting,
    /// So many posts and votes are new.
    Started { posts: u64, votes: u64 },
    /// So many votes are imported.
    Votes(u64),
    /// Only the ranks and the search entries are missing.
    Finishing,
}

/// Which of `people` vote for a post: `points` different indexes below `people`, or each of them once
/// where there are fewer.
///
/// They are taken in equal steps round the whole circle. Start and step depend on the post, so that
/// no two people always vote together.
pub fn voters(post: SourceId, points: u32, people: usize) -> impl Iterator<Item = usize> {
    let len = (people as u64).max(1);
    let first = scatter(post.0.cast_unsigned(), 0) % len;
    let mut step = 1 + scatter(post.0.cast_unsigned(), 1) % len;
    // A step that shares a factor with the circle would return before it has been everywhere.
    while gcd(step, len) != 1 {
        step += 1;
    }
    let count = u64::from(points).min(people as u64);
    (0..count).map(move |nth| usize::try_from((first + nth * step) % len).unwrap_or_default())
}

/// When the `nth` vote for a post was cast: within two days after the post, most in the first
/// hours, and never after `now`.
pub fn cast_at(
    post: SourceId,
    nth: usize,
    created_at: OffsetDateTime,
    now: OffsetDateTime,
) -> OffsetDateTime {
    const TWO_DAYS: i64 = 2 * 24 * 60 * 60;
    let window = (now - created_at).whole_seconds().clamp(0, TWO_DAYS);
    // Cubing an even spread over 0..2^20 draws it towards 0.
    let spread = (scatter(post.0.cast_unsigned(), 2 + nth as u64) >> 44).cast_signed();
    let cubed = (((spread * spread) >> 20) * spread) >> 20;
    created_at + Duration::seconds((window * cubed) >> 20)
}

/// A pseudo-random number that is always the same: the output step of `SplitMix64`.
fn scatter(seed: u64, nth: u64) -> u64 {
    let mut bits = seed.wrapping_add(nth.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    proptest! {
        #[test]
        fn voters_are_as_many_as_points_and_all_different(id: i64, points in 0u32..400, people in 0usize..300) {
            let voters: Vec<usize> = voters(SourceId(id), points, people).collect();
            prop_assert_eq!(voters.len(), (points as usize).min(people));
            prop_assert!(voters.iter().all(|voter| *voter < people));
            prop_assert_eq!(voters.iter().collect::<HashSet<_>>().len(), voters.len());
        }

        #[test]
        fn a_vote_comes_after_its_post_and_not_from_the_future(id: i64, nth in 0usize..5000, age in 0i64..400_000) {
            let now = datetime!(2026-11-23 15:00 UTC);
            let created_at = now - Duration::seconds(age);
            let at = cast_at(SourceId(id), nth, created_at, now);
            prop_assert!(created_at <= at && at <= now && at - created_at < Duration::days(2));
        }
    }

    #[test]
    fn half_of_the_votes_come_in_the_first_hours() {
        let (created_at, now) = (datetime!(2020-01-01 0:00 UTC), datetime!(2026-01-01 0:00 UTC));
        let early = (0..1000)
            .filter(|nth| {
                cast_at(SourceId(7), *nth, created_at, now) - created_at < Duration::hours(6)
            })
            .count();
        assert!((400..600).contains(&early), "{early} of 1000");
    }

    #[test]
    fn all_people_vote_about_equally_often() {
        let mut votes = vec![0; 100];
        for id in 0..1000 {
            voters(SourceId(id), 10, 100).for_each(|voter| votes[voter] += 1);
        }
        assert!(votes.iter().all(|count| (50..200).contains(count)), "{votes:?}");
    }
}
