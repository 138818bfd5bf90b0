//! Votes, for programs.

use axum::extract::State;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::live::Change;
use crate::{
    identity::{PostId, Viewer},
    votes::{Ballot, db},
    web::{
        Error, Result,
        extract::Path,
        json::Json,
        throttle::{RateLimit, Throttle},
    },
};

/// How a post stands after a vote.
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
/// Once or again: there is one vote for each person and post.
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
/// Once or again, or where there was none.
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
    let outcome = db::set(pool, viewer.id, id, ballot).await?.ok_or(Error::NotFound)?;
    let voted = ballot == Ballot::Cast;
    let standing = Standing { post_id: id.0, score: outcome.score.0, voted };
    Ok((Change::Post(id), Json(standing)))
}
