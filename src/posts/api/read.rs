//! Reading a post, and why it is where it is.

#![allow(unused_qualifications, reason = "utoipa names what it is given in full")]

use axum::extract::State;
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    identity::{PostId, Viewer},
    posts::{
        access,
        api::Post,
        rank::{self, RankExplanation},
    },
    web::{Error, Result, extract::Path, json::Json, middleware::replica::ReadPool},
};

/// Get a post
#[utoipa::path(
    get, path = "/api/v1/posts/{id}", operation_id = "post", tag = "posts",
    params(("id" = i64, Path, minimum = 1, example = 42)), responses((status = 200, body = Post)),
    security((), ("token" = [])),
)]
pub async fn show(
    viewer: Option<Viewer>,
    ReadPool(pool): ReadPool,
    Path(id): Path<PostId>,
) -> Result<Json<Post>> {
    let post = access::visible(&pool, viewer.as_ref(), id).await?;
    Ok(Json(Post::new(post, viewer.as_ref())))
}

/// The place of a post in the hot list, and what it follows from.
#[derive(Serialize, ToSchema)]
pub struct PostRank {
    #[schema(example = 42)]
    id: i64,
    /// How many people voted for it.
    #[schema(example = 12, minimum = 0)]
    score: i64,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[schema(example = 10_800, minimum = 0)]
    age_seconds: i64,
    /// What the list is ordered by, the largest first. Ten times the votes add 1, and so do 12.5 hours.
    #[schema(example = 4837.412)]
    rank: f64,
    /// Its position in the list; null after the first 1,000.
    #[schema(example = 7, minimum = 1, maximum = 1000, required)]
    place: Option<i64>,
    /// The post just above it; null if it is the first.
    #[schema(required)]
    above: Option<Neighbour>,
    /// The post just below it; null if it is the last.
    #[schema(required)]
    below: Option<Neighbour>,
}

#[derive(Serialize, ToSchema)]
pub struct Neighbour {
    #[schema(example = 41)]
    id: i64,
    #[schema(example = "A garden in a bottle")]
    title: String,
}

impl PostRank {
    fn new(id: PostId, explanation: RankExplanation) -> PostRank {
        let RankExplanation { score, created_at, hot, place, above, below } = explanation;
        let neighbour = |post: rank::Neighbour| Neighbour { id: post.id.0, title: post.title };
        PostRank {
            id: id.0,
            score: score.0,
            created_at,
            age_seconds: (OffsetDateTime::now_utc() - created_at).whole_seconds().max(0),
            rank: hot,
            place,
            above: above.map(neighbour),
            below: below.map(neighbour),
        }
    }
}

/// Explain a post's rank
///
/// The numbers behind its rank, its position in `sort=hot`, and the posts above and below it.
#[utoipa::path(
    get, path = "/api/v1/posts/{id}/rank", operation_id = "rank", tag = "posts",
    params(("id" = i64, Path, minimum = 1, example = 42)), responses((status = 200, body = PostRank)),
    security((), ("token" = [])),
)]
pub async fn rank(State(pool): State<PgPool>, Path(id): Path<PostId>) -> Result<Json<PostRank>> {
    let explanation = rank::db::find(&pool, id).await?.ok_or(Error::NotFound)?;
    Ok(Json(PostRank::new(id, explanation)))
}
