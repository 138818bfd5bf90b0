//! Votes: one statement each, correct under any number of voters.

use std::collections::HashSet;

use sqlx::PgPool;

use crate::{
    database::pool::{refers_to_nothing, retrying},
    identity::{PostId, UserId},
    score::Score,
    votes::Ballot,
};

/// What a post looks like after a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub title: String,
    pub score: Score,
}

/// For which of these posts somebody voted.
pub async fn among(db: &PgPool, voter: UserId, posts: &[PostId]) -> sqlx::Result<HashSet<PostId>> {
    let found = sqlx::query_scalar!(
        r#"select post_id as "id: PostId" from votes where user_id = $1 and post_id = any($2)"#,
        voter as UserId,
        &posts.iter().map(|post| post.0).collect::<Vec<_>>(),
    )
    .fetch_all(db)
    .await?;
    Ok(found.into_iter().collect())
}

/// Makes `ballot` true for the voter and returns the post's new score, or `None` if there is no
/// such post or no such voter any more.
///
/// Repeating it changes nothing, so a double click or a retry is harmless. The score moves by the
/// rows that really came or went, and the post is locked first, as a deletion locks it, so that
/// the two wait for each other and never deadlock.
pub async fn set(
    db: &PgPool,
    voter: UserId,
    post: PostId,
    ballot: Ballot,
) -> sqlx::Result<Option<Outcome>> {
    let outcome = match ballot {
        Ballot::Cast => retrying(|| cast(db, voter, post)).await,
        Ballot::TakeBack => retrying(|| take_back(db, voter, post)).await,
    };
    match outcome {
        Err(err) if refers_to_nothing(&err) => Ok(None),
        outcome => outcome,
    }
}

async fn cast(db: &PgPool, voter: UserId, post: PostId) -> sqlx::Result<Option<Outcome>> {
    sqlx::query_as!(
        Outcome,
        r#"
        with post as (
            select id, title from posts where id = $1 for key share
        ), vote as (
            insert into votes (post_id, user_id) select id, $2 from post
            on conflict do nothing returning post_id
        ), rank as (
            update post_ranks r
            set score = r.score + 1, hot = hot_rank(r.score + 1, r.created_at)
            from vote where r.post_id = vote.post_id
            returning r.score
        )
        select post.title, coalesce(rank.score, r.score) as "score!: Score"
        from post join post_ranks r on r.post_id = post.id left join rank on true
        "#,
        post as PostId,
        voter as UserId,
    )
    .fetch_optional(db)
    .await
}

async fn take_back(db: &PgPool, voter: UserId, post: PostId) -> sqlx::Result<Option<Outcome>> {
    sqlx::query_as!(
        Outcome,
        r#"
        with post as (
            select id, title from posts where id = $1 for key share
        ), vote as (
            delete from votes v using post where v.post_id = post.id and v.user_id = $2
            returning v.post_id
        ), rank as (
            update post_ranks r
            set score = r.score - 1, hot = hot_rank(r.score - 1, r.created_at)
            from vote where r.post_id = vote.post_id
            returning r.score
        )
        select post.title, coalesce(rank.score, r.score) as "score!: Score"
        from post join post_ranks r on r.post_id = post.id left join rank on true
        "#,
        post as PostId,
        voter as UserId,
    )
    .fetch_optional(db)
    .await
}
