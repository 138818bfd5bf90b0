//! Users as everyone may see them.

use sqlx::PgPool;

use crate::{
    database::views::visible_posts,
    identity::{UserId, Username},
    users::Person,
};

/// Users per page.
pub const PER_PAGE: i64 = 50;

/// At most `limit` users, newest first, starting after `after`.
pub async fn list(db: &PgPool, after: Option<UserId>, limit: i64) -> sqlx::Result<Vec<Person>> {
    visible_posts!(query_as!(
        Person,
        r#"
        select u.id as "id: UserId", u.username as "username: Username", u.created_at,
            (select count(*) from visible_posts p where p.author_id = u.id) as "post_count!"
        from users u
        where u.id < $1
        order by u.id desc
        limit $2
        "#,
        after.map_or(i64::MAX, |after| after.0),
        limit,
    ))
    .fetch_all(db)
    .await
}

/// The user of that name, without regard to case.
pub async fn find(db: &PgPool, username: &Username) -> sqlx::Result<Option<Person>> {
    visible_posts!(query_as!(
        Person,
        r#"
        select u.id as "id: UserId", u.username as "username: Username", u.created_at,
            (select count(*) from visible_posts p where p.author_id = u.id) as "post_count!"
        from users u
        where lower(u.username) = lower($1)
        "#,
        username.as_str(),
    ))
    .fetch_optional(db)
    .await
}
