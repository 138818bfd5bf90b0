//! Votes: one statement each, correct under any number of voters.

use std::collections::HashSet;

use sqlx::PgPool;

use crate::{
    database::pool::{refers_to_nothing, retrying},
    identity::{PostId, UserId},
    score::Score,
    votes::{Ballot, Target},
};

/// What a target looks like after a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub title: String,
    pub score: Score,
}

/// Which of these posts the voter has voted for.
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

/// Makes `ballot` true for the voter and returns the target's new score, or `None` if the target or
/// the voter no longer exists.
///
/// Repeating it changes nothing, so a double click or a retry is harmless. The score moves by the
/// rows that were really inserted or deleted, and the target is locked first, as a deletion locks
/// it, so that the two wait for each other and never deadlock.
pub async fn set(
    db: &PgPool,
    voter: UserId,
    target: Target,
    ballot: Ballot,
) -> sqlx::Result<Option<Outcome>> {
    let outcome = match target {
        Target::Post(id) => retrying(|| set_for_post(db, voter, id, ballot)).await,
    };
    match outcome {
        Err(err) if refers_to_nothing(&err) => Ok(None),
        outcome => outcome,
    }
}

/// One statement: locks the target, inserts or deletes the vote, and moves the score by `$step` if
/// that touched a row.
macro_rules! vote_statement {
    (
        $id:expr, $voter:expr, $targets:literal, $ranks:literal, $key:literal, $step:literal,
        $($vote:literal)+
    ) => {
        sqlx::query_as!(
            Outcome,
            "with target as (
                select id, title from " + $targets + " where id = $1 for key share
            ), vote as (
                " $(+ $vote)+ + "
            ), rank as (
                update " + $ranks + " r
                set score = r.score " + $step + ", hot = hot_rank(r.score " + $step + ", r.created_at)
                from vote where r." + $key + " = vote." + $key + "
                returning r.score
            )
            select target.title, coalesce(rank.score, r.score) as \"score!: Score\"
            from target join " + $ranks + " r on r." + $key + " = target.id left join rank on true",
            $id,
            $voter as UserId,
        )
    };
}

/// A ballot on one kind of target, from its tables: what is voted for, the votes, and the scores
/// with the rank that follows from them.
macro_rules! ballot_on {
    ($name:ident($id:ty), $targets:literal, $votes:literal, $ranks:literal, $key:literal) => {
        async fn $name(
            db: &PgPool,
            voter: UserId,
            id: $id,
            ballot: Ballot,
        ) -> sqlx::Result<Option<Outcome>> {
            match ballot {
                Ballot::Cast => {
                    let statement = vote_statement!(
                        id as $id, voter, $targets, $ranks, $key, "+ 1",
                        "insert into " $votes " (" $key ", user_id) select id, $2 from target
                        on conflict do nothing returning " $key
                    );
                    statement.fetch_optional(db).await
                }
                Ballot::TakeBack => {
                    let statement = vote_statement!(
                        id as $id, voter, $targets, $ranks, $key, "- 1",
                        "delete from " $votes " v using target
                        where v." $key " = target.id and v.user_id = $2 returning v." $key
                    );
                    statement.fetch_optional(db).await
                }
            }
        }
    };
}

ballot_on!(set_for_post(PostId), "posts", "votes", "post_ranks", "post_id");
