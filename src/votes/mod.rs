//! One vote for each person and post.

pub mod api;
pub mod db;
pub mod pages;

/// What a press of the button makes true. It sets a state, so a repeat changes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ballot {
    Cast,
    TakeBack,
}

impl Ballot {
    pub fn parse(value: &str) -> Option<Ballot> {
        match value {
            "1" => Some(Ballot::Cast),
            "0" => Some(Ballot::TakeBack),
            _ => None,
        }
    }
}
