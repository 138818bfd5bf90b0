//! Password hashes, known devices and the counts of password attempts.

use std::time::Duration;

use sqlx::{PgPool, postgres::types::PgInterval};

use crate::{
    identity::{UserId, Username},
    users::{
        Login,
        credentials::attempts::{
            self, Count, Counted, EVERYWHERE, EVERYWHERE_INTERVAL, LONGEST_WAIT, Next,
        },
    },
};

/// Known devices per user; the one unused for longest is forgotten first.
const MAX_DEVICES: i64 = 20;

/// What a password is checked against. Without a hash, no password is right.
#[derive(Debug)]
pub struct Credentials {
    pub id: UserId,
    pub username: Username,
    /// In its canonical form.
    pub email: Option<String>,
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
        select id as "id: UserId", username as "username: Username", email_key as email, password_hash,
            suspended_at is not null as "is_suspended!", auth_epoch as epoch,
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
        select id as "id: UserId", username as "username: Username", email_key as email, password_hash,
            suspended_at is not null as "is_suspended!", auth_epoch as epoch,
            exists (select from known_devices d where d.user_id = id and d.key = $2) as "is_known_device!"
        from users where id = $1
        "#,
        user as UserId,
        device,
    )
    .fetch_optional(db)
    .await
}

/// The algorithms and parameters of the password hashes that the site has, such as `$2b$12$`. Reads one
/// entry of an index for each.
pub async fn hash_kinds(db: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"
        with recursive kinds as (
            select min(substring(password_hash from '^\$2.\$..\$|^\$a[^$]*\$v[^$]*\$[^$]*\$')) as kind from users
            union all
            select (
                select min(substring(u.password_hash from '^\$2.\$..\$|^\$a[^$]*\$v[^$]*\$[^$]*\$')) from users u
                where substring(u.password_hash from '^\$2.\$..\$|^\$a[^$]*\$v[^$]*\$[^$]*\$') > kinds.kind
            ) from kinds where kinds.kind is not null
        )
        select kind as "kind!" from kinds where kind is not null
        "#
    )
    .fetch_all(db)
    .await
}

/// Counts an attempt before the password is checked, so that concurrent attempts are all counted. An
/// error of the inner result is how long the attempt has to wait; it is not counted then.
///
/// `clock_timestamp()` and not `now()`: a transaction that waited for a lock began before the attempt
/// that held it was counted.
pub async fn count_attempt(db: &PgPool, count: &Count) -> sqlx::Result<Result<(), Duration>> {
    let mut tx = db.begin().await?;
    // The attempts of a network are counted one after the other, because they count for each other.
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", count.network)
        .execute(&mut *tx)
        .await?;
    let counted = sqlx::query!(
        r#"
        select key, by_email as "is_email!", tries,
            extract(epoch from free_at - clock_timestamp())::float8 as "wait!"
        from password_tries where network = $1 and free_at > clock_timestamp() - $2::interval
        "#,
        count.network,
        interval(LONGEST_WAIT),
    )
    .fetch_all(&mut *tx)
    .await?;
    let counted: Vec<Counted> = counted
        .into_iter()
        .map(|row| Counted {
            key: row.key,
            is_email: row.is_email,
            tries: row.tries,
            wait: Duration::try_from_secs_f64(row.wait).unwrap_or_default(),
        })
        .collect();
    let Next { tries, delay } = match attempts::next(count, &counted) {
        Ok(next) => next,
        Err(wait) => return Ok(Err(wait)),
    };
    sqlx::query!(
        r#"
        insert into password_tries as t (key, login, network, by_email, tries, free_at)
        values ($1, $2, $3, $4, $5, clock_timestamp() + $6::interval)
        on conflict (key) do update set free_at = excluded.free_at,
            -- Not what was counted above, because an attempt may have been taken back since.
            tries = case when t.free_at > clock_timestamp() - $7::interval then t.tries + 1 else 1 end
        "#,
        count.key,
        count.login,
        count.network,
        count.is_email,
        tries,
        interval(delay),
        interval(LONGEST_WAIT),
    )
    .execute(&mut *tx)
    .await?;
    if let Some(everywhere) = &count.everywhere {
        // `free_at` is when one more may come; it lies at most `EVERYWHERE` intervals back.
        let taken = sqlx::query!(
            r#"
            insert into password_tries as t (key, login, tries, free_at)
            values ($1, $2, 1, clock_timestamp() - $3::interval * $4::int + $3::interval)
            on conflict (key) do update set tries = t.tries + 1,
                free_at = greatest(t.free_at, clock_timestamp() - $3::interval * $4::int) + $3::interval
            where t.free_at <= clock_timestamp()
            "#,
            everywhere,
            count.login,
            interval(EVERYWHERE_INTERVAL),
            EVERYWHERE as i32,
        )
        .execute(&mut *tx)
        .await?;
        if taken.rows_affected() == 0 {
            let seconds = sqlx::query_scalar!(
                r#"
                select extract(epoch from free_at - clock_timestamp())::float8 as "seconds!"
                from password_tries where key = $1
                "#,
                everywhere,
            )
            .fetch_one(&mut *tx)
            .await?;
            let wait = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            return Ok(Err(wait.max(Duration::from_secs(1))));
        }
    }
    tx.commit().await?;
    Ok(Ok(()))
}

/// An interval of Postgres, without the months and days that a duration does not have.
fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// Takes back one attempt that was counted and whose password could not be checked.
pub async fn uncount_attempt(db: &PgPool, count: &Count) -> sqlx::Result<()> {
    sqlx::query!(
        "update password_tries set tries = tries - 1, free_at = clock_timestamp() where key = $1 and tries > 0",
        count.key
    )
    .execute(db)
    .await?;
    give_back(db, count).await
}

/// Gives back one attempt to the count over all networks.
async fn give_back(db: &PgPool, count: &Count) -> sqlx::Result<()> {
    sqlx::query!(
        "update password_tries set tries = tries - 1, free_at = free_at - $2::interval where key = $1",
        count.everywhere,
        interval(EVERYWHERE_INTERVAL),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets the attempts under `keys`, and that `count` was an attempt, after a right password.
pub async fn clear_attempts(db: &PgPool, keys: &[String], count: &Count) -> sqlx::Result<()> {
    sqlx::query!("delete from password_tries where key = any($1)", keys).execute(db).await?;
    give_back(db, count).await
}

/// Forgets all attempts at these log-ins, from every network.
pub async fn forget_attempts(db: &PgPool, logins: &[String]) -> sqlx::Result<()> {
    sqlx::query!("delete from password_tries where login = any($1)", logins).execute(db).await?;
    Ok(())
}

/// Deletes up to a thousand expired counts; returns how many it deleted. A count over all networks
/// expires last: when none of its attempts counts any more.
pub async fn sweep_attempts(db: &PgPool) -> sqlx::Result<u64> {
    let swept = sqlx::query!(
        r#"
        delete from password_tries where key in (
            select key from password_tries where free_at < now() - $1::interval
            limit 1000
            for update skip locked
        )
        "#,
        interval(EVERYWHERE_INTERVAL * EVERYWHERE),
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
