//! Votes through the API.

use axum::extract::State;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::{
    identity::{PostId, Viewer},
    live::Change,
    votes::{Ballot, Target, db},
    web::{
        Error, Result,
        extract::Path,
        json::Json,
        throttle::{RateLimit, Throttle},
    },
};

/// A post's score after a vote.
#[derive(Serialize, ToSchema)]
pub struct Standing {
    #[schema(example = 42)]
    post_id: i64,
    #[schema(example = 13, minimum = 0)]
    score: i64,
    /// Whether I voted for it.
    voted: bool,
}

/// Votes for a post
///
/// Repeating it changes nothing: there is one vote for each member and post.
#[utoipa::path(
    put, path = "/api/v1/posts/{id}/vote", operation_id = "vote", tag = "votes",
    params(("id" = i64, Path, minimum = 1, example = 42)), responses((status = 200, body = Standing)),
)]
pub async fn cast(
    viewer: Viewer,
    pool: State<PgPool>,
    throttle: State<Throttle>,
    Path(id): Path<PostId>,
) -> Result<(Change, Json<Standing>)> {
    set(&viewer, &pool, &throttle, id, Ballot::Cast).await
}

/// Takes the vote back
///
/// Repeating it changes nothing, nor does taking back a vote that was never cast.
#[utoipa::path(
    delete, path = "/api/v1/posts/{id}/vote", operation_id = "take_back", tag = "votes",
    params(("id" = i64, Path, minimum = 1, example = 42)), responses((status = 200, body = Standing)),
)]
pub async fn take_back(
    viewer: Viewer,
    pool: State<PgPool>,
    throttle: State<Throttle>,
    Path(id): Path<PostId>,
) -> Result<(Change, Json<Standing>)> {
    set(&viewer, &pool, &throttle, id, Ballot::TakeBack).await
}

async fn set(
    viewer: &Viewer,
    pool: &PgPool,
    throttle: &Throttle,
    id: PostId,
    ballot: Ballot,
) -> Result<(Change, Json<Standing>)> {
    throttle.check(RateLimit::Vote, viewer.id)?;
    let target = Target::Post(id);
    let outcome = db::set(pool, viewer.id, target, ballot).await?.ok_or(Error::NotFound)?;
    let voted = ballot == Ballot::Cast;
    let standing = Standing { post_id: id.0, score: outcome.score.0, voted };
    Ok((target.change(), Json(standing)))
}
