//! Which user a session belongs to, and when it ends.

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    config::Site,
    identity::{Role, UserId, Username, Viewer},
    users::credentials::Authenticated,
};

/// Sessions per user; the oldest ends first.
const MAX_SESSIONS: i64 = 20;

/// Stores a session's data for `days` from now. Repeating it replaces the data.
pub async fn save(db: &PgPool, key: &str, data: &[u8], days: i32) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into tower_sessions.session (id, data, expiry_date)
        values ($1, $2, now() + make_interval(days => $3))
        on conflict (id) do update set data = excluded.data, expiry_date = excluded.expiry_date
        "#,
        key,
        data,
        days,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The data of a session; `None` if it has expired or there is none.
pub async fn load(db: &PgPool, key: &str) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar!(
        "select data from tower_sessions.session where id = $1 and expiry_date > now()",
        key
    )
    .fetch_optional(db)
    .await
}

/// Makes a session the user's. Beyond [`MAX_SESSIONS`] the oldest end. `false` if all sessions of the
/// user were ended since they authenticated, or the user is suspended. Every statement that ends all
/// sessions locks the user's row first, so it either sees this session or is seen here.
pub async fn open(
    db: &PgPool,
    key: &str,
    authenticated: Authenticated,
    user_agent: &str,
) -> sqlx::Result<bool> {
    let opened = sqlx::query!(
        r#"
        insert into user_sessions (session_id, user_id, user_agent)
        select $1, id, $3 from users where id = $2 and auth_epoch = $4 and suspended_at is null
        for share
        "#,
        key,
        authenticated.user as UserId,
        user_agent,
        authenticated.epoch,
    )
    .execute(db)
    .await?;
    if opened.rows_affected() == 0 {
        return Ok(false);
    }
    // A separate statement: of several concurrent log-ins the last one sees all of them.
    sqlx::query!(
        r#"
        delete from tower_sessions.session where id in (
            select session_id from user_sessions where user_id = $1
            order by created_at desc, session_id offset $2
        )
        "#,
        authenticated.user as UserId,
        MAX_SESSIONS,
    )
    .execute(db)
    .await?;
    Ok(true)
}

/// The user of a session that has not expired, unless they are suspended. The database's clock decides.
/// Updates `last_seen_at` at most every five minutes.
pub async fn viewer(db: &PgPool, key: &str, site: &Site) -> sqlx::Result<Option<Viewer>> {
    let found = sqlx::query!(
        r#"
        select u.id as "id: UserId", u.username as "username: Username", u.role as "role: Role",
            us.last_seen_at < now() - interval '5 minutes' as "is_stale!"
        from user_sessions us
        join tower_sessions.session s on s.id = us.session_id
        join users u on u.id = us.user_id
        where us.session_id = $1 and s.expiry_date > now() and u.suspended_at is null
            and us.last_seen_at > now() - make_interval(days => $2)
            and us.created_at > now() - make_interval(days => $3)
        "#,
        key,
        site.session_idle_days,
        site.session_absolute_days(),
    )
    .fetch_optional(db)
    .await?;
    let Some(found) = found else { return Ok(None) };
    if found.is_stale {
        sqlx::query!("update user_sessions set last_seen_at = now() where session_id = $1", key)
            .execute(db)
            .await?;
    }
    Ok(Some(Viewer { id: found.id, username: found.username, role: found.role }))
}

/// A session as its user sees it.
#[derive(Debug, Clone)]
pub struct ActiveSession {
    pub handle: Uuid,
    pub user_agent: String,
    pub created_at: OffsetDateTime,
    /// Accurate to about five minutes.
    pub last_seen_at: OffsetDateTime,
    /// Whether the request came with this session.
    pub is_current: bool,
}

/// The sessions of `user`: the one called `key` first, then the latest seen.
pub async fn list(
    db: &PgPool,
    user: UserId,
    key: &str,
    site: &Site,
) -> sqlx::Result<Vec<ActiveSession>> {
    sqlx::query_as!(
        ActiveSession,
        r#"
        select us.handle, us.user_agent, us.created_at, us.last_seen_at,
            us.session_id = $2 as "is_current!"
        from user_sessions us
        join tower_sessions.session s on s.id = us.session_id
        where us.user_id = $1 and s.expiry_date > now()
            and us.last_seen_at > now() - make_interval(days => $3)
            and us.created_at > now() - make_interval(days => $4)
        order by us.session_id = $2 desc, us.last_seen_at desc, us.handle
        "#,
        user as UserId,
        key,
        site.session_idle_days,
        site.session_absolute_days(),
    )
    .fetch_all(db)
    .await
}

/// Ends one session. Repeating it changes nothing.
pub async fn end(db: &PgPool, key: &str) -> sqlx::Result<()> {
    sqlx::query!("delete from tower_sessions.session where id = $1", key).execute(db).await?;
    Ok(())
}

/// Ends the session of `user` with that handle and returns its key; `None` if `user` has no such
/// session.
pub async fn end_by_handle(
    db: &PgPool,
    user: UserId,
    handle: Uuid,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"
        delete from tower_sessions.session s using user_sessions us
        where us.session_id = s.id and us.user_id = $1 and us.handle = $2
        returning s.id
        "#,
        user as UserId,
        handle,
    )
    .fetch_optional(db)
    .await
}

/// Ends every session of `user` but the one called `key`, and every token.
pub async fn end_others(db: &PgPool, user: UserId, key: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with person as (
            update users set auth_epoch = auth_epoch + 1 where id = $1
        )
        delete from tower_sessions.session where id in (
            select session_id from user_sessions where user_id = $1 and session_id <> $2
        )
        "#,
        user as UserId,
        key,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes up to a thousand expired sessions and skips locked rows; returns how many it deleted.
pub async fn sweep(db: &PgPool, site: &Site) -> sqlx::Result<u64> {
    let swept = sqlx::query!(
        r#"
        delete from tower_sessions.session where id in (
            select s.id from tower_sessions.session s
            left join user_sessions us on us.session_id = s.id
            where s.expiry_date < now() or us.last_seen_at < now() - make_interval(days => $1)
            limit 1000
            for update of s skip locked
        )
        "#,
        site.session_idle_days,
    )
    .execute(db)
    .await?;
    Ok(swept.rows_affected())
}
