//! The export of an account's data: JSON (RFC 8259) that Postgres writes, in parts.

use sqlx::PgPool;
use time::OffsetDateTime;

use crate::identity::{PostId, UserId};

/// What the texts of one part have together, in bytes. A longer text is a part of its own.
const PART: i64 = 64 * 1024;

/// How many posts or votes one part has at most.
const PART_ROWS: i64 = 200;

/// The format, the time and the profile, as one object; `None` once the account is gone.
pub async fn export_profile(db: &PgPool, user: UserId) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"
        select json_build_object(
            'format', 'social-post-account-1',
            'exported_at', now(),
            'profile', json_build_object('username', u.username, 'email', u.email,
                'email_confirmed_at', u.email_confirmed_at, 'created_at', u.created_at)
        )::text as "document!"
        from users u where u.id = $1
        "#,
        user as UserId,
    )
    .fetch_optional(db)
    .await
}

/// The user's next posts after the one with this id, oldest first, each as an object; empty after the last.
pub async fn export_posts(
    db: &PgPool,
    user: UserId,
    after: PostId,
) -> sqlx::Result<Vec<(PostId, String)>> {
    let posts = sqlx::query!(
        r#"
        with part as materialized (
            select id from (
                select id, sum(octet_length(body)) over (order by id) - octet_length(body) as before
                from posts where author_id = $1 and id > $2 order by id limit $4
            ) as posts where before < $3
        )
        select p.id as "id: PostId", json_build_object('id', p.id, 'title', p.title, 'url', p.url,
            'body', p.body, 'score', r.score, 'created_at', p.created_at,
            'edited_at', p.edited_at)::text as "post!"
        from part join posts p on p.id = part.id join post_ranks r on r.post_id = p.id
        order by p.id
        "#,
        user as UserId,
        after as PostId,
        PART,
        PART_ROWS,
    )
    .fetch_all(db)
    .await?;
    Ok(posts.into_iter().map(|row| (row.id, row.post)).collect())
}

/// A vote as an object, and its place among the user's votes.
pub struct ExportedVote {
    pub created_at: OffsetDateTime,
    pub post: PostId,
    pub vote: String,
}

/// The user's next votes after this place, oldest first; empty after the last.
pub async fn export_votes(
    db: &PgPool,
    user: UserId,
    after: Option<(OffsetDateTime, PostId)>,
) -> sqlx::Result<Vec<ExportedVote>> {
    let (after, id) = after.map_or((None, PostId(i64::MIN)), |(after, id)| (Some(after), id));
    sqlx::query_as!(
        ExportedVote,
        r#"
        select v.created_at, v.post_id as "post: PostId", json_build_object('post_id', v.post_id,
            'title', p.title, 'created_at', v.created_at)::text as "vote!"
        from votes v join posts p on p.id = v.post_id
        where v.user_id = $1
            and (v.created_at, v.post_id) > (coalesce($2, '-infinity'::timestamptz), $3)
        order by v.created_at, v.post_id limit $4
        "#,
        user as UserId,
        after,
        id as PostId,
        PART_ROWS,
    )
    .fetch_all(db)
    .await
}
