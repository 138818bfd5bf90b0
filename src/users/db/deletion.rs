//! The deletion of an account.

use sqlx::PgPool;

use crate::{database::pool::retrying, identity::UserId, users::credentials::Authenticated};

/// Why an account was not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteRefused {
    /// The user is the only admin who is not suspended.
    LastAdmin,
    /// All sessions were ended since the user authenticated.
    LoggedOut,
}

/// Deletes the account with its posts, votes, sessions and links, and subtracts its votes from the
/// scores of other users' posts. Idempotent.
pub async fn delete_account(
    db: &PgPool,
    authenticated: Authenticated,
) -> sqlx::Result<Result<(), DeleteRefused>> {
    retrying(|| try_delete_account(db, authenticated)).await
}

async fn try_delete_account(
    db: &PgPool,
    authenticated: Authenticated,
) -> sqlx::Result<Result<(), DeleteRefused>> {
    let mut tx = db.begin().await?;
    // Lock the user's row first: a concurrent vote of theirs waits here or is seen below, so that no
    // score counts it. Lock all admins too, so that two concurrent deletions leave one admin.
    sqlx::query!(
        r#"
        select from users where id = $1
            or (role = 'admin' and exists (select from users where id = $1 and role = 'admin'))
        order by id for update
        "#,
        authenticated.user as UserId,
    )
    .execute(&mut *tx)
    .await?;
    let refused = sqlx::query!(
        r#"
        with leaver as (
            select id from users where id = $1 and auth_epoch = $2 and (role <> 'admin'
                or exists (select from users where role = 'admin' and suspended_at is null and id <> $1))
        ), unvoted as (
            -- Locked in the same order as in every other deletion. The votes are locked too: a vote
            -- that is being withdrawn is waited for, and not subtracted twice.
            select r.post_id from votes v join post_ranks r on r.post_id = v.post_id
            join leaver on leaver.id = v.user_id
            order by r.post_id for update of v, r
        ), ranks as (
            update post_ranks r set score = r.score - 1, hot = hot_rank(r.score - 1, r.created_at)
            from unvoted where r.post_id = unvoted.post_id
        ), sessions as (
            delete from tower_sessions.session where id in (
                select session_id from user_sessions us join leaver on leaver.id = us.user_id
            )
        ), gone as (
            delete from users where id in (select id from leaver)
        )
        select auth_epoch = $2 as "is_current!" from users
        where id = $1 and not exists (select from leaver)
        "#,
        authenticated.user as UserId,
        authenticated.epoch,
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(match refused {
        None => Ok(()),
        Some(refused) if refused.is_current => Err(DeleteRefused::LastAdmin),
        Some(_) => Err(DeleteRefused::LoggedOut),
    })
}
