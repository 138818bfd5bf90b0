//! The user a token was issued for.

use sqlx::PgPool;

use crate::{
    identity::{Role, UserId, Username, Viewer},
    users::tokens::Verified,
};

/// Tolerated difference between the clocks of two database servers, as after a failover, in seconds.
pub const LEEWAY: i32 = 5;

/// The database's time in seconds since 1970.
pub async fn now(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select extract(epoch from now())::bigint as "now!""#).fetch_one(db).await
}

/// The user a token was issued for; `None` while it has not begun, and once it has expired, the user
/// is suspended or deleted, or their tokens were ended. The database's clock decides.
pub async fn viewer(db: &PgPool, token: Verified) -> sqlx::Result<Option<Viewer>> {
    let Verified { authenticated, begins, ends } = token;
    let found = sqlx::query!(
        r#"
        select username as "username: Username", role as "role: Role" from users
        where id = $1 and auth_epoch = $2 and suspended_at is null
            and $3::bigint <= extract(epoch from now()) + $5::int
            and $4::bigint > extract(epoch from now()) - $5::int
        "#,
        authenticated.user as UserId,
        authenticated.epoch,
        begins,
        ends,
        LEEWAY,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(|found| Viewer {
        id: authenticated.user,
        username: found.username,
        role: found.role,
    }))
}

/// Ends every token of `user`.
pub async fn end_all(db: &PgPool, user: UserId) -> sqlx::Result<()> {
    sqlx::query!("update users set auth_epoch = auth_epoch + 1 where id = $1", user as UserId)
        .execute(db)
        .await?;
    Ok(())
}
