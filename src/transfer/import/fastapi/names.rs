//! User names made from e-mail addresses.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization as _;

use crate::{identity::Username, users::Email};

/// The names given so far.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
    /// The last number given to each name, so that ten thousand people called `info` do not each
    /// search from the start.
    numbers: HashMap<String, u32>,
}

impl Names {
    /// A free name made from the part before the `@`; with a number where that is taken, reserved or
    /// too short.
    pub fn name_for(&mut self, email: &Email) -> Username {
        let stem = stem(email);
        let number = self.numbers.entry(stem.to_ascii_lowercase()).or_default();
        loop {
            *number += 1;
            let name = if *number == 1 { Ok(stem.clone()) } else { Err(format!("-{number}")) };
            let name = name.unwrap_or_else(|number| {
                stem.chars().take(30 - number.len()).collect::<String>() + &number
            });
            let Ok(name) = Username::parse_unreserved(&name) else { continue };
            if self.taken.insert(name.key()) {
                return name;
            }
        }
    }
}

/// One to thirty characters that a name may have.
fn stem(email: &Email) -> String {
    let local = email.as_written().rsplit_once('@').map_or("", |(local, _)| local);
    let mut stem = String::new();
    // An accent is a character of its own here, and is dropped.
    for c in local.nfkd() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => stem.push(c),
            c if c.is_ascii() && !stem.is_empty() && !stem.ends_with('-') => stem.push('-'),
            _ => {}
        }
    }
    stem.truncate(30);
    match stem.trim_end_matches('-') {
        "" => "user".to_owned(),
        stem => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(addresses: &[&str]) -> Vec<String> {
        let mut names = Names::default();
        let name = |address: &&str| names.name_for(&Email::parse(address).unwrap()).to_string();
        addresses.iter().map(name).collect()
    }

    #[test]
    fn a_name_is_what_stands_before_the_at_made_fit_and_unique() {
        assert_eq!(
            names(&["Ada@a.test", "ada@b.test", "ADA@c.test", "ada-2@a.test", "ada-2@b.test"]),
            ["Ada", "ada-2", "ADA-3", "ada-2-2", "ada-2-3"]
        );
        assert_eq!(
            names(&["grace.hopper+news@a.test", "zoë_š@a.test", "анна@a.test", "雨@a.test"]),
            ["grace-hopper-news", "zoe_s", "user", "user-2"]
        );
        assert_eq!(names(&["admin@a.test", "x@a.test", "+@a.test"]), ["admin-2", "x-2", "user"]);
        let long = format!("{}@a.test", "x".repeat(64));
        assert_eq!(names(&[&long, &long]), ["x".repeat(30), format!("{}-2", "x".repeat(28))]);
    }

    proptest! {
        #[test]
        fn every_address_gives_a_name_and_no_two_the_same(locals in prop::collection::vec("\\PC{1,40}|[ab.]{1,3}|admin|new", 1..40)) {
            let mut names = Names::default();
            let mut seen = HashSet::new();
            for local in locals {
                if let Ok(email) = Email::parse(&format!("{local}@a.test")) {
                    let name = names.name_for(&email);
                    prop_assert_eq!(Username::parse_unreserved(name.as_str()), Ok(name.clone()));
                    prop_assert!(seen.insert(name.key()));
                }
            }
        }
    }
}
