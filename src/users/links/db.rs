//! Links that were sent: each good for half an hour and one use.

use sqlx::PgPool;

use crate::{
    identity::{UserId, Username},
    users::{
        Email, Taken,
        credentials::Authenticated,
        links::{Purpose, Shown},
    },
};

/// Keeps a link for somebody, who is to prove by it that `email` is theirs. It voids the one before.
/// `false`, and nothing, if all that was theirs has been ended since they proved who they are.
pub async fn for_email(
    db: &PgPool,
    authenticated: Authenticated,
    key: &str,
    email: &Email,
) -> sqlx::Result<bool> {
    let kept = sqlx::query!(
        r#"
        insert into mailed_links (user_id, purpose, key, email, email_key)
        select id, 'email', $2, $3, $4 from users where id = $1 and auth_epoch = $5 for key share
        on conflict (user_id, purpose) do update
        set key = excluded.key, email = excluded.email, email_key = excluded.email_key, created_at = now()
        "#,
        authenticated.user as UserId,
        key,
        email.as_written(),
        email.canonical(),
        authenticated.epoch,
    )
    .execute(db)
    .await?;
    Ok(kept.rows_affected() > 0)
}

/// To whom a link to a new password goes.
#[derive(Debug)]
pub struct Recipient {
    pub username: Username,
    /// As the database has it. None for who gave none.
    pub email: Option<String>,
}

/// Keeps a link by which whoever has this address may choose a new password; it voids the one before.
/// `None` if nobody has the address, or who has it is suspended.
pub async fn for_password_by_email(
    db: &PgPool,
    email: &Email,
    key: &str,
) -> sqlx::Result<Option<Recipient>> {
    sqlx::query_as!(
        Recipient,
        r#"
        with person as (
            select id, username, email from users where email_key = $1 and suspended_at is null
        ), link as (
            insert into mailed_links (user_id, purpose, key) select id, 'password', $2 from person
            on conflict (user_id, purpose) do update set key = excluded.key, created_at = now()
        )
        select username as "username: Username", email from person
        "#,
        email.canonical(),
        key,
    )
    .fetch_optional(db)
    .await
}

/// As [`for_password_by_email`], for an operator who knows the name.
pub async fn for_password_by_name(
    db: &PgPool,
    username: &Username,
    key: &str,
) -> sqlx::Result<bool> {
    let kept = sqlx::query!(
        r#"
        insert into mailed_links (user_id, purpose, key)
        select id, 'password', $2 from users where lower(username) = lower($1)
        on conflict (user_id, purpose) do update set key = excluded.key, created_at = now()
        "#,
        username.as_str(),
        key,
    )
    .execute(db)
    .await?;
    Ok(kept.rows_affected() > 0)
}

/// What a page shows of a link before it is used; `None` once it is used, void or half an hour old.
pub async fn look(db: &PgPool, key: &str, purpose: Purpose) -> sqlx::Result<Option<Shown>> {
    sqlx::query_as!(
        Shown,
        r#"
        select u.username as "username: Username", coalesce(l.email, u.email) as email
        from mailed_links l join users u on u.id = l.user_id
        where l.key = $1 and l.purpose = $2 and l.created_at > now() - interval '30 minutes'
            and u.suspended_at is null
        "#,
        key,
        purpose.word(),
    )
    .fetch_optional(db)
    .await
}

/// Uses a link to choose a new password: ends every session and token of its owner, and voids their
/// other links. Their address, if they have one, is returned to tell them; the outer `None` is a link
/// that is not good any more.
pub async fn set_password(
    db: &PgPool,
    key: &str,
    hash: &str,
) -> sqlx::Result<Option<Option<String>>> {
    let mut tx = db.begin().await?;
    // First their row: a log-in that is on its way waits here or is seen below.
    sqlx::query!(
        "select from users where id = (select user_id from mailed_links where key = $1) for update",
        key
    )
    .execute(&mut *tx)
    .await?;
    let email = sqlx::query_scalar!(
        r#"
        with link as (
            delete from mailed_links l using users u
            where l.key = $1 and l.purpose = 'password' and l.created_at > now() - interval '30 minutes'
                and u.id = l.user_id and u.suspended_at is null
            returning l.user_id
        ), others as (
            delete from mailed_links where purpose <> 'password' and user_id in (select user_id from link)
        ), devices as (
            delete from known_devices where user_id in (select user_id from link)
        ), sessions as (
            delete from tower_sessions.session where id in (
                select session_id from user_sessions us join link on link.user_id = us.user_id
            )
        )
        update users u set password_hash = $2, auth_epoch = u.auth_epoch + 1 from link where u.id = link.user_id
        returning u.email
        "#,
        key,
        hash,
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(email)
}

/// Uses a link to prove an address, which is its owner's from now on; their other link is void.
/// Returns the address they had before, which may be the same. The outer `None` is a link that is
/// not good any more; an address that somebody else has got meanwhile is refused.
pub async fn confirm_email(
    db: &PgPool,
    key: &str,
) -> sqlx::Result<Option<Result<Option<String>, Taken>>> {
    let confirmed = sqlx::query_scalar!(
        r#"
        with link as (
            delete from mailed_links l using users u
            where l.key = $1 and l.purpose = 'email' and l.created_at > now() - interval '30 minutes'
                and u.id = l.user_id and u.suspended_at is null
            returning l.user_id, l.email, l.email_key
        ), others as (
            delete from mailed_links where purpose <> 'email' and user_id in (select user_id from link)
        )
        update users u set email = link.email, email_key = link.email_key, email_confirmed_at = now()
        from link join users before on before.id = link.user_id
        where u.id = link.user_id
        returning before.email
        "#,
        key,
    )
    .fetch_optional(db)
    .await;
    match confirmed {
        Ok(before) => Ok(before.map(Ok)),
        Err(sqlx::Error::Database(err)) if err.is_unique_violation() => Ok(Some(Err(Taken::Email))),
        Err(err) => Err(err),
    }
}
