//! Password hashes, known devices and the count of password attempts.

use std::time::Duration;

use sqlx::PgPool;

use crate::{identity::UserId, users::Login};

/// Known devices per user; the one unused for longest is forgotten first.
const MAX_DEVICES: i64 = 20;

/// What a password is checked against. Without a hash, no password is right.
#[derive(Debug)]
pub struct Credentials {
    pub id: UserId,
    pub password_hash: Option<String>,
    pub is_suspended: bool,
    pub epoch: i32,
    /// Whether this user has logged in on the client's device before.
    pub is_known_device: bool,
}

/// The credentials of the user with that log-in.
pub async fn by_login(
    db: &PgPool,
    login: &Login,
    device: Option<&str>,
) -> sqlx::Result<Option<Credentials>> {
    let (username, email) = match login {
        Login::Name(username) => (Some(username.as_str()), None),
        Login::Email(email) => (None, Some(email.canonical())),
    };
    sqlx::query_as!(
        Credentials,
        r#"
        select id as "id: UserId", password_hash, suspended_at is not null as "is_suspended!",
            auth_epoch as epoch,
            exists (select from known_devices d where d.user_id = id and d.key = $3) as "is_known_device!"
        from users where lower(username) = lower($1) or email_key = $2
        "#,
        username,
        email,
        device,
    )
    .fetch_optional(db)
    .await
}

/// The credentials of a user who is logged in.
pub async fn by_user_id(
    db: &PgPool,
    user: UserId,
    device: Option<&str>,
) -> sqlx::Result<Option<Credentials>> {
    sqlx::query_as!(
        Credentials,
        r#"
        select id as "id: UserId", password_hash, suspended_at is not null as "is_suspended!",
            auth_epoch as epoch,
            exists (select from known_devices d where d.user_id = id and d.key = $2) as "is_known_device!"
        from users where id = $1
        "#,
        user as UserId,
        device,
    )
    .fetch_optional(db)
    .await
}

/// Counts an attempt under `key` before the password is checked, so that concurrent attempts are all
/// counted. Five are free; after that each has to wait longer for the next, up to 15 minutes. `Some` is
/// how long this one has to wait. The count starts again after 15 minutes without an attempt.
///
/// `clock_timestamp()` and not `now()`: a transaction that waited for the row began before the attempt
/// that held it was counted.
pub async fn count_attempt(db: &PgPool, key: &str) -> sqlx::Result<Option<Duration>> {
    let taken = sqlx::query!(
        r#"
        insert into password_tries as t (key, tries, free_at) values ($1, 1, clock_timestamp())
        on conflict (key) do update set
            tries = case when t.free_at < clock_timestamp() - interval '15 minutes' then 1 else t.tries + 1 end,
            free_at = clock_timestamp() + case
                when t.free_at < clock_timestamp() - interval '15 minutes' or t.tries < 4 then interval '0'
                else least(interval '15 minutes', interval '1 minute' * 2 ^ least(t.tries - 4, 4))
            end
        where t.free_at <= clock_timestamp()
        "#,
        key,
    )
    .execute(db)
    .await?;
    if taken.rows_affected() > 0 {
        return Ok(None);
    }
    let seconds = sqlx::query_scalar!(
        r#"select extract(epoch from free_at - clock_timestamp())::float8 as "seconds!" from password_tries where key = $1"#,
        key,
    )
    .fetch_optional(db)
    .await?;
    Ok(Some(Duration::try_from_secs_f64(seconds.unwrap_or(1.0)).unwrap_or(Duration::from_secs(1))))
}

/// Takes back one attempt that was counted and whose password could not be checked.
pub async fn uncount_attempt(db: &PgPool, key: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update password_tries set tries = tries - 1, free_at = clock_timestamp() where key = $1 and tries > 0",
        key
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Clears the attempts under `key` after a right password.
pub async fn clear_attempts(db: &PgPool, key: &str) -> sqlx::Result<()> {
    sqlx::query!("delete from password_tries where key = $1", key).execute(db).await?;
    Ok(())
}

/// Deletes up to a thousand expired counts; returns how many it deleted.
pub async fn sweep_attempts(db: &PgPool) -> sqlx::Result<u64> {
    let swept = sqlx::query!(
        r#"
        delete from password_tries where key in (
            select key from password_tries where free_at < now() - interval '15 minutes'
            limit 1000
            for update skip locked
        )
        "#
    )
    .execute(db)
    .await?;
    Ok(swept.rows_affected())
}

/// Replaces `old` by a stronger hash of the same password, unless the hash has changed meanwhile.
pub async fn replace_hash(db: &PgPool, user: UserId, old: &str, new: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "update users set password_hash = $3 where id = $1 and password_hash = $2",
        user as UserId,
        old,
        new,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Remembers the device `key` as one of the user's, in place of `old`. Beyond [`MAX_DEVICES`] those
/// unused for longest are forgotten.
pub async fn remember_device(
    db: &PgPool,
    user: UserId,
    key: &str,
    old: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with known as (
            insert into known_devices (user_id, key) values ($1, $2)
        )
        delete from known_devices where user_id = $1 and (key = $3 or key in (
            select key from known_devices where user_id = $1 order by seen_at desc offset $4
        ))
        "#,
        user as UserId,
        key,
        old,
        MAX_DEVICES - 1,
    )
    .execute(db)
    .await?;
    Ok(())
}
