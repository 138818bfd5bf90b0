//! Accounts as their owners see and change them.

use sqlx::PgPool;

use crate::{
    identity::{Role, UserId, Username},
    users::{Email, Taken, credentials::Authenticated},
};

/// Makes an account. The unique indexes decide between concurrent sign-ups for one name.
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

/// Which of the two belong to another account, to show all problems of a form at once. Only [`sign_up`]
/// itself decides.
pub async fn find_taken(
    db: &PgPool,
    username: &Username,
    email: &Email,
) -> sqlx::Result<Vec<Taken>> {
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

/// The details of an account that only its owner may see.
#[derive(Debug)]
pub struct PrivateDetails {
    pub email: Option<String>,
    pub is_email_confirmed: bool,
}

/// `None` once the account is gone.
pub async fn private_details(db: &PgPool, user: UserId) -> sqlx::Result<Option<PrivateDetails>> {
    sqlx::query_as!(
        PrivateDetails,
        r#"
        select email, email_confirmed_at is not null as "is_email_confirmed!" from users where id = $1
        "#,
        user as UserId,
    )
    .fetch_optional(db)
    .await
}

/// The user with this e-mail address, and the address as they wrote it.
pub async fn owner_of(db: &PgPool, email: &Email) -> sqlx::Result<Option<(Username, String)>> {
    let found = sqlx::query!(
        r#"select username as "username: Username", email as "email!" from users where email_key = $1"#,
        email.canonical(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(|found| (found.username, found.email)))
}

/// Sets a user's password, ends their sessions and tokens, deletes their links and forgets their
/// devices. Returns the user with the new epoch; `None`, without a change, if all sessions were ended
/// since they authenticated.
pub async fn change_password(
    db: &PgPool,
    authenticated: Authenticated,
    hash: &str,
) -> sqlx::Result<Option<Authenticated>> {
    let mut tx = db.begin().await?;
    // Lock the user's row first: a concurrent log-in waits here or is seen below.
    let is_current = sqlx::query!(
        "select from users where id = $1 and auth_epoch = $2 for update",
        authenticated.user as UserId,
        authenticated.epoch,
    )
    .fetch_optional(&mut *tx)
    .await?;
    if is_current.is_none() {
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

/// Sets a user's e-mail address, as not confirmed, and deletes their links. `Taken` if another account
/// has the address; `false`, without a change, if all sessions were ended since they authenticated.
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
