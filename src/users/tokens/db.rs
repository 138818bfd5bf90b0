//! Whom a token still stands for.

use sqlx::PgPool;

use super::Bearing;
use crate::users::{UserId, Username, Viewer};

/// The person a token was made for; `None` once they are suspended or gone, or their tokens were ended.
pub async fn viewer(db: &PgPool, bearing: Bearing) -> sqlx::Result<Option<Viewer>> {
    let found = sqlx::query!(
        r#"
        select username as "username: Username" from users
        where id = $1 and auth_epoch = $2 and suspended_at is null
        "#,
        bearing.user as UserId,
        bearing.epoch,
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(|found| Viewer { id: bearing.user, username: found.username }))
}

/// The epoch in which a token for `user` is made; `None` once the account is gone.
pub async fn epoch(db: &PgPool, user: UserId) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!("select auth_epoch from users where id = $1", user as UserId)
        .fetch_optional(db)
        .await
}

/// Ends every token of `user`.
pub async fn end_all(db: &PgPool, user: UserId) -> sqlx::Result<()> {
    sqlx::query!("update users set auth_epoch = auth_epoch + 1 where id = $1", user as UserId)
        .execute(db)
        .await?;
    Ok(())
}
