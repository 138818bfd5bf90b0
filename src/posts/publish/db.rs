//! Publishing, and the keys that make it idempotent.

use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;

use crate::{
    database::pool::refers_to_nothing,
    identity::{PostId, UserId},
    posts::{
        Draft, Link,
        publish::{IdempotencyKey, Publication},
    },
};

/// Publishes a post. With a `key`, the same draft sent again within a day, even at the same time, leads to
/// the same post.
///
/// A key is deleted with its post: the same draft sent after a deletion is published again.
pub async fn publish(
    db: &PgPool,
    author: UserId,
    draft: &Draft,
    key: Option<IdempotencyKey>,
) -> sqlx::Result<Publication> {
    loop {
        match insert(db, author, draft, key, None).await {
            Ok(Some(post)) => return Ok(Publication::Post(post)),
            Ok(None) => {}
            Err(err) if refers_to_nothing(&err) => return Ok(Publication::NoAuthor),
            Err(err) => return Err(err),
        }
        let Some(key) = key else { return Err(sqlx::Error::RowNotFound) };
        // `None` if the post was deleted just now, and its key with it: try again.
        if let Some((post, is_same)) = published_with(db, author, key, draft).await? {
            return Ok(if is_same { Publication::Post(post) } else { Publication::KeyTaken(post) });
        }
    }
}

/// Publishes a post with a given date, in a transaction if `db` is one.
pub async fn publish_at(
    db: impl PgExecutor<'_>,
    author: UserId,
    draft: &Draft,
    at: OffsetDateTime,
) -> sqlx::Result<PostId> {
    insert(db, author, draft, None, Some(at)).await?.ok_or(sqlx::Error::RowNotFound)
}

/// Inserts a post, its rank, its search entry and its key, in one statement. `None`, and no post, if the
/// author's key is taken already. A request with a key that another one is just using waits for it.
async fn insert(
    db: impl PgExecutor<'_>,
    author: UserId,
    draft: &Draft,
    key: Option<IdempotencyKey>,
    at: Option<OffsetDateTime>,
) -> sqlx::Result<Option<PostId>> {
    let (html, excerpt) = draft.body.render().await;
    sqlx::query_scalar!(
        r#"
        with fresh as materialized (
            select nextval(pg_get_serial_sequence('posts', 'id')) as id
        ), claim as (
            insert into publish_keys (author_id, key, post_id)
            select $1, $8::uuid, id from fresh where $8 is not null
            on conflict do nothing
            returning post_id
        ), post as (
            insert into posts (id, author_id, title, url, body, body_html, excerpt, created_at)
            select id, $1, $2, $3, $4, $5, $6, coalesce($7, now()) from fresh
            where $8 is null or exists (select from claim)
            returning id, created_at
        ), rank as (
            insert into post_ranks (post_id, score, hot, created_at)
            select id, 0, hot_rank(0, created_at), created_at from post
        ), entry as (
            insert into post_search (post_id, created_at, document)
            select id, created_at, search_document($2, $4) from post
        )
        select id as "id: PostId" from post
        "#,
        author as UserId,
        draft.title.as_str(),
        draft.link.as_ref().map(Link::as_str),
        draft.body.as_str(),
        html.as_str(),
        excerpt,
        at,
        key as Option<IdempotencyKey>,
    )
    .fetch_optional(db)
    .await
}

/// The post that was published with the author's key, and whether it has the text of `draft`.
async fn published_with(
    db: &PgPool,
    author: UserId,
    key: IdempotencyKey,
    draft: &Draft,
) -> sqlx::Result<Option<(PostId, bool)>> {
    let found = sqlx::query!(
        r#"
        select p.id as "id: PostId", (p.title, p.url, p.body) is not distinct from ($3, $4, $5) as "is_same!"
        from publish_keys k
        join posts p on p.id = k.post_id
        where k.author_id = $1 and k.key = $2
        "#,
        author as UserId,
        key as IdempotencyKey,
        draft.title.as_str(),
        draft.link.as_ref().map(Link::as_str),
        draft.body.as_str(),
    )
    .fetch_optional(db)
    .await?;
    Ok(found.map(|found| (found.id, found.is_same)))
}

/// Deletes up to a thousand keys older than a day, skipping locked rows; returns how many it deleted.
pub async fn sweep_keys(db: &PgPool) -> sqlx::Result<u64> {
    let swept = sqlx::query!(
        "delete from publish_keys where (author_id, key) in (
            select author_id, key from publish_keys
            where created_at < now() - interval '1 day'
            limit 1000
            for update skip locked
        )"
    )
    .execute(db)
    .await?;
    Ok(swept.rows_affected())
}
