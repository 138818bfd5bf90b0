//! A small site to look around in, with invented people and posts.

pub mod db;

use time::Duration;

use crate::{
    identity::{BadUsername, Username},
    posts::{BadBody, BadLink, BadTitle, Body, Draft, Link, Title},
};

/// Each post is a line `=== author | age | votes`, its title, its link or `-`, and its text.
const SAMPLES: &str = include_str!("demo.txt");

/// The first twelve post, the others only vote.
const PEOPLE: [&str; 42] = [
    "marit_n",
    "tobi-kern",
    "ada_weft",
    "yuki-hz",
    "lu_brennan",
    "samira-q",
    "old_ferris",
    "pilar-vega",
    "jonas_wren",
    "nadia-el",
    "bea_holm",
    "theo-quill",
    "amber_fen",
    "birch-and-ink",
    "cato_mills",
    "dot-larkin",
    "elif_sade",
    "fennel42",
    "gus-harrow",
    "hana_mori-b",
    "iris_lund",
    "jem-oakes",
    "kestrel_kay",
    "linnet-rose",
    "mossy_mel",
    "nils-aker",
    "otterling",
    "pim_vanhout",
    "quince-jam",
    "rafa_sol",
    "sedge-walker",
    "tamsin_ely",
    "umber-ox",
    "vesna_k",
    "wilmot-g",
    "xenia_path",
    "yarrow-hill",
    "zosia_mak",
    "tin-kettle",
    "slow_tide",
    "paper-lantern",
    "northgate_jo",
];

/// The demo, parsed: every rule for names and posts holds.
#[derive(Debug)]
pub struct Demo {
    pub people: Vec<Username>,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    pub author: Username,
    pub age: Duration,
    pub votes: u32,
    pub draft: Draft,
}

#[derive(Debug, thiserror::Error)]
pub enum BadDemo {
    #[error("a post of the demo lacks a line or has a malformed number: {0}")]
    Form(&'static str),
    #[error(transparent)]
    Name(#[from] BadUsername),
    #[error(transparent)]
    Title(#[from] BadTitle),
    #[error(transparent)]
    Link(#[from] BadLink),
    #[error(transparent)]
    Body(#[from] BadBody),
}

impl Demo {
    /// How far back it goes: all people joined then.
    pub const SPAN: Duration = Duration::days(42);

    pub fn load() -> Result<Demo, BadDemo> {
        let people = PEOPLE.into_iter().map(Username::parse).collect::<Result<_, _>>()?;
        let samples = SAMPLES.split("=== ").skip(1).map(sample).collect::<Result<_, _>>()?;
        Ok(Demo { people, samples })
    }
}

fn sample(text: &'static str) -> Result<Sample, BadDemo> {
    let mut lines = text.splitn(4, '\n');
    let mut next = || lines.next().ok_or(BadDemo::Form(text));
    let (head, title, link, body) = (next()?, next()?, next()?, next()?);
    let mut facts = head.split('|').map(str::trim);
    let (Some(author), Some(age), Some(votes)) = (facts.next(), facts.next(), facts.next()) else {
        return Err(BadDemo::Form(text));
    };
    Ok(Sample {
        author: Username::parse(author)?,
        age: age_of(age).ok_or(BadDemo::Form(text))?,
        votes: votes.parse().map_err(|_| BadDemo::Form(text))?,
        draft: Draft {
            title: Title::parse(title)?,
            link: Link::parse(link.strip_prefix('-').unwrap_or(link))?,
            body: Body::parse(body.trim())?,
        },
    })
}

/// `40m`, `7h` or `12d`.
fn age_of(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok()?;
    match unit {
        "m" => Some(Duration::minutes(number)),
        "h" => Some(Duration::hours(number)),
        "d" => Some(Duration::days(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_demo_is_whole() {
        let demo = Demo::load().unwrap();
        let authors: HashSet<_> = demo.samples.iter().map(|one| one.author.as_str()).collect();
        assert_eq!(authors, PEOPLE[..12].iter().copied().collect());
        assert_eq!(demo.people.iter().map(Username::key).collect::<HashSet<_>>().len(), 42);
        assert_eq!(demo.samples.len(), 40);
        for sample in &demo.samples {
            let title = sample.draft.title.as_str();
            assert!(sample.age > Duration::ZERO && sample.age < Demo::SPAN, "{title}");
            assert!(sample.votes as usize <= demo.people.len(), "{title}");
            let host = sample.draft.link.as_ref().map_or("a.example", Link::host);
            assert!(host.ends_with(".example"), "{host} may be somebody's");
            assert!(
                sample.draft.link.is_some() || !sample.draft.body.as_str().is_empty(),
                "{title}"
            );
        }
    }
}
