//! Accounts as an operator sees and changes them.

use sqlx::PgPool;

use crate::{
    identity::{Role, UserId, Username},
    users::{credentials::Authenticated, db::change_password},
};

/// A user as an operator sees them.
#[derive(Debug)]
pub struct Account {
    pub username: Username,
    pub email: Option<String>,
    pub role: Role,
    pub is_suspended: bool,
    pub created_at: time::OffsetDateTime,
}

/// All accounts, oldest first.
pub async fn accounts(db: &PgPool) -> sqlx::Result<Vec<Account>> {
    sqlx::query_as!(
        Account,
        r#"
        select username as "username: Username", email, role as "role: Role",
            suspended_at is not null as "is_suspended!", created_at
        from users order by id
        "#
    )
    .fetch_all(db)
    .await
}

/// Sets a user's password, and ends all their sessions and tokens. `None` if there is no such user.
pub async fn reset_password(
    db: &PgPool,
    username: &Username,
    hash: &str,
) -> sqlx::Result<Option<UserId>> {
    // The operator needs no password. Retry if the sessions were ended in between.
    loop {
        let found = sqlx::query_as!(
            Authenticated,
            r#"select id as "user: UserId", auth_epoch as epoch from users where lower(username) = lower($1)"#,
            username.as_str(),
        )
        .fetch_optional(db)
        .await?;
        let Some(authenticated) = found else { return Ok(None) };
        if change_password(db, authenticated, hash).await?.is_some() {
            return Ok(Some(authenticated.user));
        }
    }
}

/// Suspends a user until [`restore`], and ends all their sessions and tokens. `false` if there is no
/// such user. Idempotent.
pub async fn suspend(db: &PgPool, username: &Username) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    // Lock the user's row first: a concurrent log-in waits here or is seen below.
    sqlx::query!(
        "select from users where lower(username) = lower($1) for update",
        username.as_str()
    )
    .execute(&mut *tx)
    .await?;
    let suspended = sqlx::query_scalar!(
        r#"
        with person as (
            update users set suspended_at = coalesce(suspended_at, now()), auth_epoch = auth_epoch + 1
            where lower(username) = lower($1)
            returning id
        ), links as (
            delete from mailed_links where user_id in (select id from person)
        ), sessions as (
            delete from tower_sessions.session where id in (
                select session_id from user_sessions us join person on person.id = us.user_id
            )
        )
        select id from person
        "#,
        username.as_str(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(suspended.is_some())
}

/// Ends a suspension. `false` if there is no such user.
pub async fn restore(db: &PgPool, username: &Username) -> sqlx::Result<bool> {
    let restored = sqlx::query!(
        "update users set suspended_at = null where lower(username) = lower($1)",
        username.as_str(),
    )
    .execute(db)
    .await?;
    Ok(restored.rows_affected() > 0)
}
