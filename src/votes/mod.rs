//! Votes: one for each member and target.

pub mod api;
pub mod db;
pub mod pages;

use crate::{identity::PostId, live::Change};

/// What can be voted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Post(PostId),
}

impl Target {
    /// What a vote changes.
    pub fn change(self) -> Change {
        match self {
            Target::Post(id) => Change::Post(id),
        }
    }
}

/// What the vote button asks for. It sets a state, so a repeat changes nothing more.
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
