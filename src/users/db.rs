//! People and their accounts.

use sqlx::PgPool;

use crate::{
    database::pool::retrying,
    identity::{Role, UserId, Username},
    users::{Email, Person, Taken, credentials::Authenticated},
};

pub const PER_PAGE: i64 = 50;

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

/// People, the newest first, from the one after `after` on, at most `limit`.
pub async fn list(db: &PgPool, after: Option<UserId>, limit: i64) -> sqlx::Result<Vec<Person>> {
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
        limit,
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

/// Gives a person another password, and ends every session and token of theirs. `false` if there is
/// no such person.
pub async fn reset_password(db: &PgPool, username: &Username, hash: &str) -> sqlx::Result<bool> {
    // The operator's word is proof. Again, where something was ended in this moment.
    loop {
        let found = sqlx::query_as!(
            Authenticated,
            r#"select id as "user: UserId", auth_epoch as epoch from users where lower(username) = lower($1)"#,
            username.as_str(),
        )
        .fetch_optional(db)
        .await?;
        let Some(authenticated) = found else { return Ok(false) };
        if change_password(db, authenticated, hash).await?.is_some() {
            return Ok(true);
        }
    }
}

/// Gives somebody another password; ends every session and token, voids every link, and forgets every
/// device of theirs. Whoever knows it has authenticated from now on who they are; `None`, and nothing, if all
/// that was theirs has been ended since they proved it.
pub async fn change_password(
    db: &PgPool,
    authenticated: Authenticated,
    hash: &str,
) -> sqlx::Result<Option<Authenticated>> {
    let mut tx = db.begin().await?;
    // First their row: a log-in that is on its way waits here or is seen below.
    let is_proven = sqlx::query!(
        "select from users where id = $1 and auth_epoch = $2 for update",
        authenticated.user as UserId,
        authenticated.epoch,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if is_proven.is_none() {
        return Ok(None);
    }
    let epoch = sqlx::query_scalar!(
        r#"
        with links as (
            delete from mailed_links where user_id = $1
        ), devices as (
            delete from known_devices where user_id = $1
        ), sessions as (
            delete from tower_sessions.session where id in (
                select session_id from user_sessions where user_id = $1
            )
        )
        update users set password_hash = $2, auth_epoch = auth_epoch + 1 where id = $1
        returning auth_epoch
        "#,
        authenticated.user as UserId,
        hash,
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(epoch.map(|epoch| Authenticated { user: authenticated.user, epoch }))
}

/// Gives somebody another address, which nobody has confirmed yet, and voids every link. Refused where
/// somebody else has it; `false`, and nothing, if all that was theirs has been ended since they proved
/// who they are.
pub async fn change_email(
    db: &PgPool,
    authenticated: Authenticated,
    email: &Email,
) -> sqlx::Result<Result<bool, Taken>> {
    let changed = sqlx::query!(
        r#"
        with changed as (
            update users set email = $2, email_key = $3, email_confirmed_at = null
            where id = $1 and auth_epoch = $4
            returning id
        ), links as (
            delete from mailed_links where user_id in (select id from changed)
        )
        select id from changed
        "#,
        authenticated.user as UserId,
        email.as_written(),
        email.canonical(),
        authenticated.epoch,
    )
    .fetch_optional(db)
    .await;
    match changed {
        Ok(changed) => Ok(Ok(changed.is_some())),
        Err(sqlx::Error::Database(err)) if err.is_unique_violation() => Ok(Err(Taken::Email)),
        Err(err) => Err(err),
    }
}

/// What only the person themselves may see of their account.
#[derive(Debug)]
pub struct Own {
    pub email: Option<String>,
    pub is_email_confirmed: bool,
}

/// `None` once the account is gone.
pub async fn own(db: &PgPool, user: UserId) -> sqlx::Result<Option<Own>> {
    sqlx::query_as!(
        Own,
        r#"
        select email, email_confirmed_at is not null as "is_email_confirmed!" from users where id = $1
        "#,
        user as UserId,
    )
    .fetch_optional(db)
    .await
}

/// Who has the address, and how they wrote it.
pub async fn owner_of(db: &PgPool, email: &Email) -> sqlx::Result<Option<(Username, String)>> {
    let found = sqlx::query!(
        r#"select username as "username: Username", email as "email!" from users where email_key = $1"#,
        email.canonical(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(|found| (found.username, found.email)))
}

/// All that the site knows of `user` and they may take along: one JSON document (RFC 8259) with their
/// profile, posts and votes, the oldest first. `None` once the account is gone.
pub async fn export(db: &PgPool, user: UserId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"
        select json_build_object(
            'format', 'social-post-account-1',
            'exported_at', now(),
            'profile', json_build_object('username', u.username, 'email', u.email,
                'email_confirmed_at', u.email_confirmed_at, 'created_at', u.created_at),
            'posts', coalesce((
                select json_agg(json_build_object('id', p.id, 'title', p.title, 'url', p.url,
                    'body', p.body, 'score', r.score, 'created_at', p.created_at,
                    'edited_at', p.edited_at) order by p.id)
                from posts p join post_ranks r on r.post_id = p.id where p.author_id = u.id), '[]'),
            'votes', coalesce((
                select json_agg(json_build_object('post_id', v.post_id, 'title', p.title,
                    'created_at', v.created_at) order by v.created_at, v.post_id)
                from votes v join posts p on p.id = v.post_id where v.user_id = u.id), '[]')
        )::text as "document!"
        from users u where u.id = $1
        "#,
        user as UserId,
    )
    .fetch_optional(db)
    .await
}

/// Why an account stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRefused {
    #[error("You are the only admin. Make another one first, then delete this account.")]
    LastAdmin,
    /// All that was theirs has been ended since they proved who they are.
    #[error("Log in first.")]
    NotProven,
}

/// Deletes the account with its posts, votes, sessions and links, and takes its votes off the scores
/// of other people's posts. Repeating it changes nothing.
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
    // First the person's own row: a vote of theirs that is on its way waits here or is seen below, so
    // that no score counts it. All admins too, so that of two who leave at once one stays.
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
    let stays = sqlx::query!(
        r#"
        with leaver as (
            select id from users where id = $1 and auth_epoch = $2 and (role <> 'admin'
                or exists (select from users where role = 'admin' and suspended_at is null and id <> $1))
        ), unvoted as (
            -- In one order, as every other deletion takes them. The votes too: one that is just being
            -- taken back is waited for, and not taken off twice.
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
        select auth_epoch = $2 as "is_proven!" from users
        where id = $1 and not exists (select from leaver)
        "#,
        authenticated.user as UserId,
        authenticated.epoch,
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(match stays {
        None => Ok(()),
        Some(stays) if stays.is_proven => Err(DeleteRefused::LastAdmin),
        Some(_) => Err(DeleteRefused::NotProven),
    })
}

/// Keeps a person out until [`restore`]: ends every session and token. `false` if there is no such
/// person. Repeating it changes nothing.
pub async fn suspend(db: &PgPool, username: &Username) -> sqlx::Result<bool> {
    let mut tx = db.begin().await?;
    // First their row: a log-in that is on its way waits here or is seen below.
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

/// Lets a suspended person in again. `false` if there is no such person.
pub async fn restore(db: &PgPool, username: &Username) -> sqlx::Result<bool> {
    let restored = sqlx::query!(
        "update users set suspended_at = null where lower(username) = lower($1)",
        username.as_str(),
    )
    .execute(db)
    .await?;
    Ok(restored.rows_affected() > 0)
}
