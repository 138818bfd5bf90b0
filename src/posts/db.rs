//! Reading, editing and deleting posts.

use sqlx::PgPool;

use crate::{
    database::views::visible_posts,
    identity::{PostId, UserId, Username},
    markdown::Html,
    posts::{Draft, Link, Post, Version},
    score::Score,
};

/// How many characters of a text lists show.
pub const EXCERPT: usize = 220;

/// A post as its page shows it, and whether `viewer` voted for it. `None` if it does not exist or may not
/// be shown.
pub async fn find(db: &PgPool, id: PostId, viewer: Option<UserId>) -> sqlx::Result<Option<Post>> {
    visible_posts!(query_as!(
        Post,
        r#"
        select p.id as "id: PostId", p.author_id as "author_id: UserId", u.username as "author: Username",
            p.title, p.url as "link: Link", p.body, p.body_html as "body_html: Html", r.score as "score: Score",
            exists (select from votes v where v.post_id = p.id and v.user_id = $2) as "voted!",
            p.created_at, p.edited_at
        from visible_posts p
        join post_ranks r on r.post_id = p.id
        join users u on u.id = p.author_id
        where p.id = $1
        "#,
        id as PostId,
        viewer as Option<UserId>,
    ))
    .fetch_optional(db)
    .await
}

/// The posts with these ids as their pages show them, in the same order. Posts that do not exist or may
/// not be shown are left out.
pub async fn find_all(
    db: &PgPool,
    ids: &[PostId],
    viewer: Option<UserId>,
) -> sqlx::Result<Vec<Post>> {
    visible_posts!(query_as!(
        Post,
        r#"
        select p.id as "id: PostId", p.author_id as "author_id: UserId", u.username as "author: Username",
            p.title, p.url as "link: Link", p.body, p.body_html as "body_html: Html", r.score as "score: Score",
            exists (select from votes v where v.post_id = p.id and v.user_id = $2) as "voted!",
            p.created_at, p.edited_at
        from unnest($1::bigint[]) with ordinality as wanted (id, place)
        join visible_posts p on p.id = wanted.id
        join post_ranks r on r.post_id = p.id
        join users u on u.id = p.author_id
        order by wanted.place
        "#,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
        viewer as Option<UserId>,
    ))
    .fetch_all(db)
    .await
}

/// Replaces the text of a post of `author`. `false` if there is no such post, if it is another author's,
/// or if it has changed since `version`; without a version the last save wins.
///
/// A text that is the same as before does not count as an edit, and is never refused, so saving twice is
/// harmless.
pub async fn edit(
    db: &PgPool,
    id: PostId,
    author: UserId,
    draft: &Draft,
    version: Option<Version>,
) -> sqlx::Result<bool> {
    let (html, excerpt) = draft.body.render().await;
    // An edit is always later than the one before, even if the clock went back: no version comes twice.
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
        excerpt,
        version as Option<Version>,
    )
    .fetch_optional(db)
    .await?;
    Ok(edited.is_some())
}

/// Deletes a post of `author` with everything that refers to it. `false` if there is no such post or it is
/// another author's.
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
