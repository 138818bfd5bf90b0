//! A whole site that is brought into an empty one with its ids: people, posts and votes.

pub mod db;

use time::OffsetDateTime;

use crate::{
    identity::{PostId, Role, UserId, Username},
    posts::Draft,
    users::Email,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub id: UserId,
    pub username: Username,
    pub email: Option<Email>,
    /// One that [`crate::users::password::is_readable`] accepts.
    pub password_hash: Option<String>,
    pub role: Role,
    pub suspended_at: Option<OffsetDateTime>,
    pub email_confirmed_at: Option<OffsetDateTime>,
    pub auth_epoch: i32,
    pub created_at: OffsetDateTime,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub id: PostId,
    pub author: UserId,
    pub draft: Draft,
    pub created_at: OffsetDateTime,
    pub edited_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    pub post: PostId,
    pub voter: UserId,
    pub created_at: OffsetDateTime,
}

/// The largest id that a post or a person may have: JSON's numbers are exact up to here.
pub const MAX_ID: i64 = (1 << 53) - 1;

/// The largest ids that were ever assigned, deleted posts and people included: new ones get larger ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Last {
    pub person: i64,
    pub post: i64,
}
