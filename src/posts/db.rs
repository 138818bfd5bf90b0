//! Posts: read in every order, written by their author.

use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;

use crate::{
    database::pool::refers_to_nothing,
    identity::{PostId, UserId, Username},
    markdown::{self, Html},
    posts::{Draft, IdempotencyKey, Link, Post, Version},
    score::Score,
};

/// How much of a text lists show.
pub const EXCERPT: usize = 220;

/// A post as its page shows it, and whether `viewer` voted for it; `None` if there is no such post.
pub async fn find(db: &PgPool, id: PostId, viewer: Option<UserId>) -> sqlx::Result<Option<Post>> {
    sqlx::query_as!(
        Post,
        r#"
        select p.id as "id: PostId", p.author_id as "author_id: UserId", u.username as "author: Username",
            p.title, p.url as "link: Link", p.body, p.body_html as "body_html: Html", r.score as "score: Score",
            exists (select from votes v where v.post_id = p.id and v.user_id = $2) as "voted!",
            p.created_at, p.edited_at
        from posts p
        join post_ranks r on r.post_id = p.id
        join users u on u.id = p.author_id
        where p.id = $1
        "#,
        id as PostId,
        viewer as Option<UserId>,
    )
    .fetch_optional(db)
    .await
}

/// The posts with these ids as their pages show them, in the same order; those that are gone are left
/// out.
pub async fn find_all(
    db: &PgPool,
    ids: &[PostId],
    viewer: Option<UserId>,
) -> sqlx::Result<Vec<Post>> {
    sqlx::query_as!(
        Post,
        r#"
        select p.id as "id: PostId", p.author_id as "author_id: UserId", u.username as "author: Username",
            p.title, p.url as "link: Link", p.body, p.body_html as "body_html: Html", r.score as "score: Score",
            exists (select from votes v where v.post_id = p.id and v.user_id = $2) as "voted!",
            p.created_at, p.edited_at
        from unnest($1::bigint[]) with ordinality as asked (id, place)
        join posts p on p.id = asked.id
        join post_ranks r on r.post_id = p.id
        join users u on u.id = p.author_id
        order by asked.place
        "#,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
        viewer as Option<UserId>,
    )
    .fetch_all(db)
    .await
}

/// What came of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publication {
    /// It is this post, made now or by an earlier try with the same key.
    Post(PostId),
    /// Its key has made this post, which has another text; nothing was published.
    KeyTaken(PostId),
    /// Its author's account is gone.
    NoAuthor,
}

/// Publishes a post. With a `key`, sending the same draft again within a day, also at the same time,
/// leads to the post it made.
///
/// A key is forgotten with its post: what comes again after a deletion is published anew.
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
        // None where the post was deleted in this moment, and its key with it: once more, then.
        if let Some((post, is_same)) = made_by(db, author, key, draft).await? {
            return Ok(if is_same { Publication::Post(post) } else { Publication::KeyTaken(post) });
        }
    }
}

/// Publishes a post with a date of its own, and where it is wanted in a transaction.
pub async fn publish_at(
    db: impl PgExecutor<'_>,
    author: UserId,
    draft: &Draft,
    at: OffsetDateTime,
) -> sqlx::Result<PostId> {
    insert(db, author, draft, None, Some(at)).await?.ok_or(sqlx::Error::RowNotFound)
}

/// A post's text, its rank, its search entry and its key, in one statement; `None`, and nothing, if
/// the author's key has made a post already. Who comes with a key that is just being used waits.
async fn insert(
    db: impl PgExecutor<'_>,
    author: UserId,
    draft: &Draft,
    key: Option<IdempotencyKey>,
    at: Option<OffsetDateTime>,
) -> sqlx::Result<Option<PostId>> {
    let html = markdown::to_html(draft.body.as_str());
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
        markdown::excerpt(draft.body.as_str(), EXCERPT),
        at,
        key as Option<IdempotencyKey>,
    )
    .fetch_optional(db)
    .await
}

/// The post that the author's key has made, and whether it has the text of `draft`.
async fn made_by(
    db: &PgPool,
    author: UserId,
    key: IdempotencyKey,
    draft: &Draft,
) -> sqlx::Result<Option<(PostId, bool)>> {
    let made = sqlx::query!(
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
    Ok(made.map(|made| (made.id, made.is_same)))
}

/// Forgets up to a thousand keys older than a day, passing over rows in use; returns how many it
/// found.
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

/// Replaces what `author` wrote. `false` if there is no such post, if it is another's, or if it has
/// changed since `version`; without a version the last one to save wins.
///
/// A text that is the same as before does not count as edited, and is never refused: saving twice is
/// harmless.
pub async fn edit(
    db: &PgPool,
    id: PostId,
    author: UserId,
    draft: &Draft,
    version: Option<Version>,
) -> sqlx::Result<bool> {
    let html = markdown::to_html(draft.body.as_str());
    // An edit is later than the one before whatever the clock says: no version comes twice.
    let edited = sqlx::query_scalar!(
        r#"
        with post as (
            update posts
            set title = $3, url = $4, body = $5, body_html = $6, excerpt = $7,
                edited_at = case when (title, url, body) is distinct from ($3, $4, $5)
                    then greatest(now(), edited_at + interval '1 microsecond') else edited_at end
            where id = $1 and author_id = $2 and (
                $8::bigint is null
                or $8 = coalesce(extract(epoch from edited_at) * 1000000, 0)
                or (title, url, body) is not distinct from ($3, $4, $5)
            )
            returning id
        ), entry as (
            update post_search set document = search_document($3, $5) from post where post_id = post.id
        )
        select id from post
        "#,
        id as PostId,
        author as UserId,
        draft.title.as_str(),
        draft.link.as_ref().map(Link::as_str),
        draft.body.as_str(),
        html.as_str(),
        markdown::excerpt(draft.body.as_str(), EXCERPT),
        version as Option<Version>,
    )
    .fetch_optional(db)
    .await?;
    Ok(edited.is_some())
}

/// Deletes a post of `author` with all that hangs on it. `false` if there is no such post or it is
/// another's.
pub async fn delete(db: &PgPool, id: PostId, author: UserId) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "delete from posts where id = $1 and author_id = $2",
        id as PostId,
        author as UserId
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Whether the site has any post at all.
pub async fn is_empty(db: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select not exists (select from posts) as "empty!""#).fetch_one(db).await
}
