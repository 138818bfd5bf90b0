//! A whole site as lines of JSON: what each line holds. `docs/EXPORT.md` is the public description.
//!
//! [`db`] reads a site and writes the lines; [`crate::transfer::import::export`] reads them.

pub mod db;
mod timestamp;
pub mod writer;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The `format` in the first line of every export.
pub const FORMAT: &str = "social-post";

/// Increased whenever an older program could no longer read the file.
pub const VERSION: u32 = 1;

/// A line: the header first, the end last, and between them people, posts, votes and ids of imports,
/// each kind in the order of its ids. One field more or less would be another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    Header(Header),
    Person(Person),
    Post(Post),
    Vote(Vote),
    Import(Import),
    End(End),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: String,
    pub version: u32,
    /// The largest ids that were ever assigned, so that none is assigned twice.
    pub last_person: i64,
    pub last_post: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub id: i64,
    pub username: String,
    pub email: Option<String>,
    #[serde(with = "timestamp::option")]
    pub email_confirmed_at: Option<OffsetDateTime>,
    pub password_hash: Option<String>,
    pub auth_epoch: i32,
    pub role: Role,
    #[serde(with = "timestamp::option")]
    pub suspended_at: Option<OffsetDateTime>,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Member,
    Admin,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    pub id: i64,
    pub author: i64,
    pub title: String,
    pub url: Option<String>,
    pub body: String,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
    #[serde(with = "timestamp::option")]
    pub edited_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    pub post: i64,
    pub voter: i64,
    #[serde(with = "timestamp")]
    pub created_at: OffsetDateTime,
}

/// The id of a post in the file it was imported from; without a post where that was deleted since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    pub source_id: i64,
    pub post: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    pub people: u64,
    pub posts: u64,
    pub votes: u64,
    pub imports: u64,
    /// The checksum of every byte before this line, in hexadecimal.
    pub sha256: String,
}

/// How many lines of each kind there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub people: u64,
    pub posts: u64,
    pub votes: u64,
    pub imports: u64,
}
