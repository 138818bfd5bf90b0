//! A whole site as lines of JSON: what each line holds. `docs/EXPORT.md` describes it for strangers.
//!
//! [`db`] reads a site and writes the lines; [`crate::transfer::import::export`] reads them.

pub mod db;
pub mod moment;
pub mod writer;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// What the first line says: another word, and the file is not one of ours.
pub const FORMAT: &str = "social-post";

/// Goes up when a program of today could not read the file any more.
pub const VERSION: u32 = 1;

/// A line: the header first, the end last, and between them people, posts, votes and ids of imports,
/// each kind in the order of its ids. A member more or less would be another version.
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
    /// The largest ids that were ever given, so that none is given twice.
    pub last_person: i64,
    pub last_post: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub id: i64,
    pub username: String,
    pub email: Option<String>,
    #[serde(with = "moment::option")]
    pub email_confirmed_at: Option<OffsetDateTime>,
    pub password_hash: Option<String>,
    pub auth_epoch: i32,
    pub role: Role,
    #[serde(with = "moment::option")]
    pub suspended_at: Option<OffsetDateTime>,
    #[serde(with = "moment")]
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
    #[serde(with = "moment")]
    pub created_at: OffsetDateTime,
    #[serde(with = "moment::option")]
    pub edited_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    pub post: i64,
    pub voter: i64,
    #[serde(with = "moment")]
    pub created_at: OffsetDateTime,
}

/// What a post was called in a file it came from; without a post where that was deleted since.
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
    /// Of every byte before this line, in hexadecimal.
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
