//! Posts in the API: the JSON of a post, and its checks. The endpoints are in the submodules.

#![allow(unused_qualifications, reason = "utoipa names what it is given in full")]

mod read;
mod write;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    identity::Viewer,
    posts::{self, Draft},
    web::{Error, Result},
};

pub use self::{read::*, write::*};

#[derive(Serialize, ToSchema)]
pub struct Post {
    #[schema(example = 42)]
    id: i64,
    #[schema(example = "A garden in a jar")]
    title: String,
    #[schema(example = "https://example.org/garden", required)]
    url: Option<String>,
    /// Markdown as the author wrote it; may be empty.
    #[schema(example = "It has *moss*.")]
    body: String,
    /// The same as sanitised HTML.
    #[schema(example = "<p>It has <em>moss</em>.</p>\n")]
    body_html: String,
    #[schema(example = "ada")]
    author: String,
    /// How many people voted for it.
    #[schema(example = 12, minimum = 0)]
    score: i64,
    /// Whether you voted for it; null without a token.
    #[schema(required)]
    voted: Option<bool>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    edited_at: Option<OffsetDateTime>,
}

impl Post {
    /// The post as `viewer` sees it.
    pub fn new(post: posts::Post, viewer: Option<&Viewer>) -> Post {
        let posts::Post {
            id,
            author_id: _,
            author,
            title,
            link,
            body,
            body_html,
            score,
            voted,
            created_at,
            edited_at,
        } = post;
        Post {
            id: id.0,
            title,
            url: link.map(|link| link.as_str().to_owned()),
            body,
            body_html: body_html.as_str().to_owned(),
            author: author.to_string(),
            score: score.0,
            voted: viewer.map(|_| voted),
            created_at,
            edited_at,
        }
    }
}

/// A post as its author writes it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPost {
    /// One line with at least one visible character.
    #[schema(min_length = 1, max_length = 150, example = "A garden in a jar")]
    title: String,
    /// An http or https address without a user name or password; empty or null for none.
    #[serde(default)]
    #[schema(
        max_length = 2000,
        pattern = "^(https?://.+)?$",
        example = "https://example.org/garden"
    )]
    url: Option<String>,
    /// Markdown.
    #[serde(default)]
    #[schema(max_length = 40_000, example = "It has *moss*.")]
    body: Option<String>,
}

/// The fields to change. `"url": null` removes the link.
#[expect(clippy::option_option, reason = "absent, null or a text")]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostChange {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 150, example = "A garden in two jars")]
    title: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 2000, pattern = "^(https?://.+)?$", example = "https://example.org/garden")]
    url: Option<Option<String>>,
    #[serde(default)]
    #[schema(max_length = 40_000, example = "They have *moss*.")]
    body: Option<String>,
}

/// Tells a field that is null from one that is absent.
#[expect(clippy::option_option, reason = "absent, null or a text")]
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

impl NewPost {
    async fn parse(self) -> Result<Draft> {
        let (url, body) = (self.url.unwrap_or_default(), self.body.unwrap_or_default());
        Draft::read(self.title, url, body).await.map_err(Error::Fields)
    }
}
