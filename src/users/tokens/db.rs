//! The user a token was issued for.

use sqlx::PgPool;

use crate::{
    identity::{Role, UserId, Username, Viewer},
    users::credentials::Authenticated,
};

/// The user a token was issued for; `None` once they are suspended or deleted, or their tokens were
/// ended.
pub async fn viewer(db: &PgPool, authenticated: Authenticated) -> sqlx::Result<Option<Viewer>> {
    let found = sqlx::query!(
        r#"
        select username as "username: Username", role as "role: Role" from users
        where id = $1 and auth_epoch = $2 and suspended_at is null
        "#,
        authenticated.user as UserId,
        authenticated.epoch,
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
