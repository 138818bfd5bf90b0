//! The rows of a FastAPI "social post" app, and why some of them cannot be imported.
//!
//! [`db`] reads the app's database, [`sieve`] turns its rows into those of a site, [`names`] gives
//! people their user names.

pub mod db;
pub mod names;
pub mod sieve;

use std::fmt;

use crate::{
    posts::{Body, Title},
    text::BadText,
    transfer::import::whole::MAX_ID,
};

/// A row of the app's `users`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct UserRow {
    pub id: Option<i64>,
    pub email: Option<String>,
    pub password: Option<String>,
    /// In microseconds since 1970; none for what is missing or not between the years 1970 and 9999.
    pub created_at: Option<i64>,
}

/// A row of the app's `posts`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct PostRow {
    pub id: Option<i64>,
    pub title: Option<String>,
    pub content: Option<String>,
    pub is_published: bool,
    pub created_at: Option<i64>,
    pub owner: Option<i64>,
}

/// A row of the app's `votes`.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct VoteRow {
    pub post_id: Option<i64>,
    pub user_id: Option<i64>,
}

/// A row that cannot be imported, or only in part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {flaw}")]
pub struct BadRow {
    pub place: Place,
    pub flaw: Flaw,
}

/// Which row: the table and the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    User(Option<i64>),
    Post(Option<i64>),
    Vote(VoteRow),
}

impl PartialEq for VoteRow {
    fn eq(&self, other: &VoteRow) -> bool {
        (self.post_id, self.user_id) == (other.post_id, other.user_id)
    }
}

impl Eq for VoteRow {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |id: Option<i64>| id.map_or_else(|| "without id".to_owned(), |id| id.to_string());
        match *self {
            Place::User(id) => write!(f, "users {}", shown(id)),
            Place::Post(id) => write!(f, "posts {}", shown(id)),
            Place::Vote(row) => {
                write!(f, "votes (post {}, user {})", shown(row.post_id), shown(row.user_id))
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("id is not a number from 1 to {MAX_ID}")]
    Id,
    #[error("the id is there twice")]
    Doubled,
    #[error("email is not an e-mail address")]
    Email,
    #[error("email is the same as that of users {0}")]
    SameEmail(i64),
    #[error(
        "password is not a bcrypt or Argon2 hash: imported without one, this person needs a new password"
    )]
    Password,
    #[error("created_at is missing, or not a date since 1970")]
    Date,
    #[error("created_at is in the future")]
    LateDate,
    #[error("title is empty")]
    NoTitle,
    #[error("title is longer than {} characters", Title::MAX)]
    LongTitle,
    #[error("title {0}")]
    Title(BadText),
    #[error("content is longer than {} characters", Body::MAX)]
    LongContent,
    #[error("content {0}")]
    Content(BadText),
    #[error("its author, users {0}, was left out")]
    AuthorLeftOut(i64),
    #[error("its author is not there")]
    NoAuthor,
    #[error("there is no such post")]
    NoPost,
    #[error("there is no such user")]
    NoVoter,
    #[error("the vote is there twice")]
    DoubledVote,
}

/// What was not imported, or only in part.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// The first bad rows.
    pub named: Vec<BadRow>,
    /// How many rows are left out because of a flaw.
    pub bad: usize,
    /// How many people are imported without their password.
    pub without_password: usize,
    pub unpublished: usize,
    /// Votes for unpublished posts, and for bad posts or by bad users.
    pub votes: usize,
}

/// What to do with a flaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFlaw {
    LeaveOut,
    Stop,
}
