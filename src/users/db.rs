//! People and their sessions.

use sqlx::PgPool;

use super::{Email, Login, Person, Role, Taken, UserId, Username, Viewer};
use crate::config::Site;

pub const PER_PAGE: i64 = 50;

/// How many sessions one person has at most; the oldest goes first.
const MAX_SESSIONS: i64 = 20;

/// Makes an account. The unique indexes decide, so of two who race for a name one has it.
pub async fn sign_up(
    db: &PgPool,
    username: &Username,
    email: &Email,
    password_hash: &str,
    role: Role,
) -> sqlx::Result<Result<UserId, Taken>> {
    let inserted = sqlx::query_scalar!(
        r#"
        insert into users (username, email, email_key, password_hash, role)
        values ($1, $2, $3, $4, $5)
        returning id as "id: UserId"
        "#,
        username.as_str(),
        email.as_written(),
        email.canonical(),
        password_hash,
        role as Role,
    )
    .fetch_one(db)
    .await;
    match inserted {
        Ok(id) => Ok(Ok(id)),
        Err(sqlx::Error::Database(err)) if err.is_unique_violation() => match err.constraint() {
            Some("users_email_key_key") => Ok(Err(Taken::Email)),
            _ => Ok(Err(Taken::Username)),
        },
        Err(err) => Err(err),
    }
}

/// Which of the two somebody has already; asked to tell all errors of a form at once. Only
/// [`sign_up`] itself decides.
pub async fn taken(db: &PgPool, username: &Username, email: &Email) -> sqlx::Result<Vec<Taken>> {
    let found = sqlx::query!(
        r#"
        select exists (select from users where lower(username) = lower($1)) as "username!",
            exists (select from users where email_key = $2) as "email!"
        "#,
        username.as_str(),
        email.canonical(),
    )
    .fetch_one(db)
    .await?;
    let taken = [(found.username, Taken::Username), (found.email, Taken::Email)];
    Ok(taken.into_iter().filter_map(|(is_taken, what)| is_taken.then_some(what)).collect())
}

/// What a log-in is checked against. Without a hash, no password fits.
#[derive(Debug)]
pub struct Credentials {
    pub id: UserId,
    pub password_hash: Option<String>,
    pub is_suspended: bool,
}

pub async fn credentials(db: &PgPool, login: &Login) -> sqlx::Result<Option<Credentials>> {
    let (username, email) = match login {
        Login::Name(username) => (Some(username.as_str()), None),
        Login::Email(email) => (None, Some(email.canonical())),
    };
    sqlx::query_as!(
        Credentials,
        r#"
        select id as "id: UserId", password_hash, suspended_at is not null as "is_suspended!"
        from users where lower(username) = lower($1) or email_key = $2
        "#,
        username,
        email,
    )
    .fetch_optional(db)
    .await
}

/// Gives a session to a person; beyond twenty the oldest of theirs end.
pub async fn open_session(
    db: &PgPool,
    key: &str,
    user: UserId,
    user_agent: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into user_sessions (session_id, user_id, user_agent) values ($1, $2, $3)",
        key,
        user as UserId,
        user_agent,
    )
    .execute(db)
    .await?;
    // A statement of its own: one that both adds and counts would not see who comes in beside it.
    sqlx::query!(
        r#"
        delete from tower_sessions.session where id in (
            select session_id from user_sessions where user_id = $1
            order by created_at desc, session_id offset $2
        )
        "#,
        user as UserId,
        MAX_SESSIONS,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whose the session is, if it is anybody's and neither it nor its owner's account has ended. The
/// database's clock decides. Notes the visit, at most every five minutes.
pub async fn viewer(db: &PgPool, key: &str, site: &Site) -> sqlx::Result<Option<Viewer>> {
    let found = sqlx::query!(
        r#"
        select u.id as "id: UserId", u.username as "username: Username",
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
    Ok(Some(Viewer { id: found.id, username: found.username }))
}

/// Ends one session. Repeating it changes nothing.
pub async fn close_session(db: &PgPool, key: &str) -> sqlx::Result<()> {
    sqlx::query!("delete from tower_sessions.session where id = $1", key).execute(db).await?;
    Ok(())
}

/// Deletes up to a thousand sessions that have ended, passing over rows in use; returns how many
/// it found.
pub async fn sweep_sessions(db: &PgPool, site: &Site) -> sqlx::Result<u64> {
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

/// People, the newest first, from the one after `after` on; one more than a page, where there is
/// one.
pub async fn list(db: &PgPool, after: Option<UserId>) -> sqlx::Result<Vec<Person>> {
    sqlx::query_as!(
        Person,
        r#"
        select u.id as "id: UserId", u.username as "username: Username", u.created_at,
            (select count(*) from posts p where p.author_id = u.id) as "post_count!"
        from users u
        where u.id < $1
        order by u.id desc
        limit $2
        "#,
        after.map_or(i64::MAX, |after| after.0),
        PER_PAGE + 1,
    )
    .fetch_all(db)
    .await
}

/// The person of that name, in whatever case it is asked for.
pub async fn find(db: &PgPool, username: &Username) -> sqlx::Result<Option<Person>> {
    sqlx::query_as!(
        Person,
        r#"
        select u.id as "id: UserId", u.username as "username: Username", u.created_at,
            (select count(*) from posts p where p.author_id = u.id) as "post_count!"
        from users u
        where lower(u.username) = lower($1)
        "#,
        username.as_str(),
    )
    .fetch_optional(db)
    .await
}

/// A person as an operator sees them.
#[derive(Debug)]
pub struct Account {
    pub username: Username,
    pub email: Option<String>,
    pub role: Role,
    pub is_suspended: bool,
    pub created_at: time::OffsetDateTime,
}

/// Everyone, the oldest first.
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

/// Gives a person another password and ends all their sessions. `false` if there is no such person.
pub async fn reset_password(db: &PgPool, username: &Username, hash: &str) -> sqlx::Result<bool> {
    let reset = sqlx::query_scalar!(
        r#"
        with person as (
            update users set password_hash = $2, auth_epoch = auth_epoch + 1
            where lower(username) = lower($1)
            returning id
        ), ended as (
            delete from tower_sessions.session where id in (
                select session_id from user_sessions us join person on person.id = us.user_id
            )
        )
        select id from person
        "#,
        username.as_str(),
        hash,
    )
    .fetch_optional(db)
    .await?;
    Ok(reset.is_some())
}
