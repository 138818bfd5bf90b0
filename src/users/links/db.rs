//! Links that were sent by e-mail. Each works once, within 30 minutes.

use sqlx::PgPool;

use crate::{
    identity::{UserId, Username},
    users::{
        Email, Taken,
        credentials::Authenticated,
        links::{MailedLink, Purpose},
    },
};

/// Stores a link that confirms `email` and replaces the one before. `false`, without a change, if all
/// sessions of the user were ended since they authenticated.
pub async fn create_for_email(
    db: &PgPool,
    authenticated: Authenticated,
    key: &str,
    email: &Email,
) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
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
    Ok(stored.rows_affected() > 0)
}

/// The recipient of a link to set a new password.
#[derive(Debug)]
pub struct Recipient {
    pub username: Username,
    /// As the database has it; `None` for an account without one.
    pub email: Option<String>,
}

/// Stores a link to set a new password for the account with this address and replaces the one before.
/// `None` if no account has the address, or it is suspended.
pub async fn create_for_password(
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

/// As [`create_for_password`], for an operator: by user name, and for a suspended account too. `false`
/// if there is no such account.
pub async fn create_for_password_by_name(
    db: &PgPool,
    username: &Username,
    key: &str,
) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
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
    Ok(stored.rows_affected() > 0)
}

/// The link with this key; `None` once it is used, replaced or 30 minutes old.
pub async fn find(db: &PgPool, key: &str, purpose: Purpose) -> sqlx::Result<Option<MailedLink>> {
    sqlx::query_as!(
        MailedLink,
        r#"
        select l.key, u.id as "user: UserId", u.username as "username: Username", coalesce(l.email, u.email) as email
        from mailed_links l join users u on u.id = l.user_id
        where l.key = $1 and l.purpose = $2 and l.created_at > now() - interval '30 minutes'
            and u.suspended_at is null
        "#,
        key,
        purpose.as_str(),
    )
    .fetch_optional(db)
    .await
}

/// Uses a link to set a new password: ends every session and token of its owner, forgets their devices
/// and deletes their other links. `false` if the link is used, replaced or expired.
pub async fn set_password(db: &PgPool, key: &str, hash: &str) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    // Lock the user's row first: a concurrent log-in waits here or is seen below.
    sqlx::query!(
        "select from users where id = (select user_id from mailed_links where key = $1) for update",
        key
    )
    .execute(&mut *tx)
    .await?;
    let reset = sqlx::query!(
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
        "#,
        key,
        hash,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(reset.rows_affected() > 0)
}

/// Uses a link to confirm an e-mail address, which becomes its owner's; their other links are deleted.
/// Returns the previous address, which may be the same. The outer `None` means that the link is used,
/// replaced or expired; `Taken` means that another account has got the address meanwhile.
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
