//! Whose a session is, and when it ends.

use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    config::Site,
    identity::{Role, UserId, Username, Viewer},
    users::credentials::Authenticated,
};

/// How many sessions one person has at most; the oldest goes first.
const MAX_SESSIONS: i64 = 20;

/// Gives a session to a person; beyond twenty the oldest of theirs end. `false` if all of theirs were
/// ended since they proved who they are, or they are suspended. Whatever ends them locks their row first,
/// so that it either sees this one or is seen here.
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
    // A statement of its own: of many log-ins at once the last one here sees all of them.
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

/// Whose the session is, if it is anybody's and neither it nor its owner's account has ended. The
/// database's clock decides. Notes the visit, at most every five minutes.
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

/// A place where somebody is logged in, as they themselves see it.
#[derive(Debug, Clone)]
pub struct Place {
    pub handle: Uuid,
    pub user_agent: String,
    pub created_at: OffsetDateTime,
    /// To about five minutes.
    pub last_seen_at: OffsetDateTime,
    /// The session that asks.
    pub is_this: bool,
}

/// Where `user` is logged in: the session `key` first, then the latest seen.
pub async fn places(db: &PgPool, user: UserId, key: &str, site: &Site) -> sqlx::Result<Vec<Place>> {
    sqlx::query_as!(
        Place,
        r#"
        select us.handle, us.user_agent, us.created_at, us.last_seen_at,
            us.session_id = $2 as "is_this!"
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
pub async fn close(db: &PgPool, key: &str) -> sqlx::Result<()> {
    sqlx::query!("delete from tower_sessions.session where id = $1", key).execute(db).await?;
    Ok(())
}

/// Ends the session of `user` with that handle and returns its key; `None` if it is another's or
/// nobody's.
pub async fn revoke(db: &PgPool, user: UserId, handle: Uuid) -> sqlx::Result<Option<String>> {
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
pub async fn revoke_others(db: &PgPool, user: UserId, key: &str) -> sqlx::Result<()> {
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

/// Deletes up to a thousand sessions that have ended, passing over rows in use; returns how many
/// it found.
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
