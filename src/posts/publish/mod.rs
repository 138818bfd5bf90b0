//! Publishing a post, once for each idempotency key.

pub mod db;

use serde::{Deserialize, Deserializer, de};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::identity::PostId;

/// Makes a form publish one post however often it is sent. A page's form carries one from the moment it is
/// shown; a client of the API may choose its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct IdempotencyKey(Uuid);

impl IdempotencyKey {
    #[expect(clippy::new_without_default, reason = "no two are the same")]
    pub fn new() -> IdempotencyKey {
        IdempotencyKey(Uuid::new_v4())
    }

    /// The key for a text that a client chose.
    pub fn from_text(text: &[u8]) -> IdempotencyKey {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(text)[..16]);
        IdempotencyKey(uuid::Builder::from_custom_bytes(half).into_uuid())
    }
}

impl std::fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<IdempotencyKey, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map(IdempotencyKey).map_err(|_| de::Error::custom("not a key"))
    }
}

/// The result of publishing a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publication {
    /// The post, published now or by an earlier request with the same key.
    Post(PostId),
    /// Nothing was published: the key belongs to this post, which has another text.
    KeyTaken(PostId),
    /// Nothing was published: the author's account no longer exists.
    NoAuthor,
}
