//! Posts: read in every order, written by their author.

use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;

use super::{
    Draft, Entry, Key, Link, Listed, Post, PostId, Score, Slice, Version,
    markdown::{self, Html},
    ranking::{After, Hot, Period, Written},
};
use crate::{
    database::{pool::refers_to_nothing, snapshot::Snapshot},
    users::{UserId, Username},
};

pub const PER_PAGE: i64 = 30;

/// Which texts a feed gives whole: forty thousand characters of most scripts, and never more than 4 MB
/// in thirty of them.
const WHOLE_IN_FEEDS: i32 = 128 * 1024;

/// How many ids go into one part of the sitemap. The protocol has 50,000; this many take a megabyte,
/// and no time.
const PER_PART: i64 = 10_000;

/// How much of a text lists show.
pub const EXCERPT: usize = 220;

/// One query for posts as lists show them to a viewer; each caller gives the filter, order and limit.
/// The names are `r` for the rank, `p` for the post, `u` for the author; `$1` is the viewer. (An `exists`
/// would be planned as a look at all the viewer ever voted for.)
macro_rules! listed {
    ($viewer:expr, $($rest:literal)+ $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Listed,
            r#"
            select r.post_id as "id: PostId", u.username as "author: Username",
                p.title, p.url as "link: Link", p.excerpt, r.score as "score: Score", r.hot,
                r.created_at, p.edited_at,
                coalesce((select true from votes v where v.post_id = r.post_id and v.user_id = $1), false) as "voted!",
                pg_current_snapshot()::text as "read_in!: Snapshot"
            from post_ranks r
            join posts p on p.id = r.post_id
            join users u on u.id = p.author_id
            "# $(+ $rest)+,
            $viewer as Option<UserId>
            $(, $argument)*
        )
    };
}

/// The hottest posts first; a caller may ask for more of them, in `$7` and on. What fell past the
/// reader was read further up.
macro_rules! hottest {
    ($viewer:expr, $after:expr, $slice:expr, $and:literal $(, $argument:expr)*) => {{
        let (rank, id) =
            $after.map_or((f64::INFINITY, i64::MAX), |after| (after.rank.0, after.id.0));
        listed!(
            $viewer,
            "where (r.hot, r.post_id) < ($2, $3)
                and (not coalesce(fell_since(r.fell_in, $6::text::pg_snapshot), false)
                    or (hot_rank(r.fell_from, r.created_at), r.post_id) < ($2, $3))"
            $and
            " order by r.hot desc, r.post_id desc limit $4 offset $5",
            rank,
            id,
            $slice.limit,
            $slice.skip,
            After::begun($after)
            $(, $argument)*
        )
    }};
}

/// As [`hottest`], those with the most votes first.
macro_rules! most_liked {
    ($viewer:expr, $after:expr, $slice:expr, $and:literal $(, $argument:expr)*) => {{
        let (score, id) = $after.map_or((i64::MAX, i64::MAX), |after| (after.rank.0, after.id.0));
        listed!(
            $viewer,
            "where (r.score, r.post_id) < ($2, $3)
                and (not coalesce(fell_since(r.fell_in, $6::text::pg_snapshot), false)
                    or (r.fell_from, r.post_id) < ($2, $3))"
            $and
            " order by r.score desc, r.post_id desc limit $4 offset $5",
            score,
            id,
            $slice.limit,
            $slice.skip,
            After::begun($after)
            $(, $argument)*
        )
    }};
}

/// The hottest posts first, from `after` on.
pub async fn hot(
    db: &PgPool,
    viewer: Option<UserId>,
    after: Option<&After<Hot>>,
    slice: Slice,
) -> sqlx::Result<Vec<Listed>> {
    hottest!(viewer, after, slice, "").fetch_all(db).await
}

/// The newest posts first, from `after` on.
pub async fn newest(
    db: &PgPool,
    viewer: Option<UserId>,
    after: Option<&After<Written>>,
    slice: Slice,
) -> sqlx::Result<Vec<Listed>> {
    let (at, id) = after.map_or((None, i64::MAX), |after| (Some(after.rank.0), after.id.0));
    listed!(
        viewer,
        "where (r.created_at, r.post_id) < (coalesce($2, 'infinity'::timestamptz), $3)
        order by r.created_at desc, r.post_id desc limit $4 offset $5",
        at,
        id,
        slice.limit,
        slice.skip,
    )
    .fetch_all(db)
    .await
}

/// The posts of a period with the most votes first, from `after` on.
pub async fn top(
    db: &PgPool,
    viewer: Option<UserId>,
    period: Period,
    after: Option<&After<Score>>,
    slice: Slice,
) -> sqlx::Result<Vec<Listed>> {
    match period.days() {
        None => most_liked!(viewer, after, slice, "").fetch_all(db).await,
        Some(days) => {
            let of_days = most_liked!(
                viewer,
                after,
                slice,
                " and r.created_at > now() - make_interval(days => $7)",
                days
            );
            of_days.fetch_all(db).await
        }
    }
}

/// One person's posts, the newest first, from `after` on.
pub async fn by_author(
    db: &PgPool,
    viewer: Option<UserId>,
    author: UserId,
    after: Option<&After<Written>>,
    slice: Slice,
) -> sqlx::Result<Vec<Listed>> {
    let (at, id) = after.map_or((None, i64::MAX), |after| (Some(after.rank.0), after.id.0));
    listed!(
        viewer,
        "where p.author_id = $2 and (p.created_at, p.id) < (coalesce($3, 'infinity'::timestamptz), $4)
        order by p.created_at desc, p.id desc limit $5 offset $6",
        author as UserId,
        at,
        id,
        slice.limit,
        slice.skip,
    )
    .fetch_all(db)
    .await
}

/// One person's posts, the hottest first, from `after` on.
pub async fn hot_by_author(
    db: &PgPool,
    viewer: Option<UserId>,
    author: UserId,
    after: Option<&After<Hot>>,
    slice: Slice,
) -> sqlx::Result<Vec<Listed>> {
    hottest!(viewer, after, slice, " and p.author_id = $7", author as UserId).fetch_all(db).await
}

/// One person's posts with the most votes first, from `after` on.
pub async fn top_by_author(
    db: &PgPool,
    viewer: Option<UserId>,
    author: UserId,
    after: Option<&After<Score>>,
    slice: Slice,
) -> sqlx::Result<Vec<Listed>> {
    most_liked!(viewer, after, slice, " and p.author_id = $7", author as UserId).fetch_all(db).await
}

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

/// The posts with these ids as feeds give them, in the same order; those that are gone are left out.
pub async fn entries(db: &PgPool, ids: &[PostId]) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"
        select p.id as "id: PostId", u.username as "author: Username", p.title, p.url as "link: Link",
            case when octet_length(p.body_html) <= $2 then p.body_html end as "body_html: Html",
            p.excerpt, p.created_at, p.edited_at
        from unnest($1::bigint[]) with ordinality as asked (id, place)
        join posts p on p.id = asked.id
        join users u on u.id = p.author_id
        order by asked.place
        "#,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
        WHOLE_IN_FEEDS,
    )
    .fetch_all(db)
    .await
}

/// The numbers of the sitemap's parts that have a post in them, in order; at most 50,000.
///
/// One look into the index for each, however many posts there are and whatever gaps their ids have.
pub async fn sitemap_parts(db: &PgPool) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"
        with recursive parts (part) as (
            select min(id) / $1::bigint from posts
            union all
            select (select min(id) from posts where id >= (part + 1) * $1::bigint) / $1::bigint
            from parts where part is not null
        )
        select part as "part!" from parts where part is not null limit 50000
        "#,
        PER_PART,
    )
    .fetch_all(db)
    .await
}

/// The posts of one part of the sitemap, and when each was last written.
pub async fn sitemap_part(db: &PgPool, part: i64) -> sqlx::Result<Vec<(PostId, OffsetDateTime)>> {
    let rows = sqlx::query!(
        r#"
        select id as "id: PostId", coalesce(edited_at, created_at) as "updated_at!" from posts
        where id >= $1 and id < $1 + $2 order by id
        "#,
        part.saturating_mul(PER_PART),
        PER_PART,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.updated_at)).collect())
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
    key: Option<Key>,
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
    key: Option<Key>,
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
        key as Option<Key>,
    )
    .fetch_optional(db)
    .await
}

/// The post that the author's key has made, and whether it has the text of `draft`.
async fn made_by(
    db: &PgPool,
    author: UserId,
    key: Key,
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
        key as Key,
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
