//! Posts in every order, a page at a time.

use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    database::snapshot::Snapshot,
    identity::{PostId, UserId, Username},
    lists::{
        FeedEntry, PostSummary, Window,
        ranking::{CreatedAt, Hot, PageCursor, Period},
    },
    markdown::Html,
    posts::Link,
    score::Score,
};

/// Which texts a feed gives whole: forty thousand characters of most scripts, and never more than 4 MB
/// in thirty of them.
const WHOLE_IN_FEEDS: i32 = 128 * 1024;

/// How many ids go into one part of the sitemap. The protocol has 50,000; this many take a megabyte,
/// and no time.
const PER_PART: i64 = 10_000;

/// One query for posts as lists show them to a viewer; each caller gives the filter, order and limit.
/// The names are `r` for the rank, `p` for the post, `u` for the author; `$1` is the viewer. (An `exists`
/// would be planned as a look at all the viewer ever voted for.)
macro_rules! listed {
    ($viewer:expr, $($rest:literal)+ $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            PostSummary,
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
    ($viewer:expr, $after:expr, $window:expr, $and:literal $(, $argument:expr)*) => {{
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
            $window.limit,
            $window.skip,
            PageCursor::begun($after)
            $(, $argument)*
        )
    }};
}

/// As [`hottest`], those with the most votes first.
macro_rules! most_liked {
    ($viewer:expr, $after:expr, $window:expr, $and:literal $(, $argument:expr)*) => {{
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
            $window.limit,
            $window.skip,
            PageCursor::begun($after)
            $(, $argument)*
        )
    }};
}

/// The hottest posts first, from `after` on.
pub async fn hot(
    db: &PgPool,
    viewer: Option<UserId>,
    after: Option<&PageCursor<Hot>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    hottest!(viewer, after, window, "").fetch_all(db).await
}

/// The newest posts first, from `after` on.
pub async fn newest(
    db: &PgPool,
    viewer: Option<UserId>,
    after: Option<&PageCursor<CreatedAt>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    let (at, id) = after.map_or((None, i64::MAX), |after| (Some(after.rank.0), after.id.0));
    listed!(
        viewer,
        "where (r.created_at, r.post_id) < (coalesce($2, 'infinity'::timestamptz), $3)
        order by r.created_at desc, r.post_id desc limit $4 offset $5",
        at,
        id,
        window.limit,
        window.skip,
    )
    .fetch_all(db)
    .await
}

/// The posts of a period with the most votes first, from `after` on.
pub async fn top(
    db: &PgPool,
    viewer: Option<UserId>,
    period: Period,
    after: Option<&PageCursor<Score>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    match period.days() {
        None => most_liked!(viewer, after, window, "").fetch_all(db).await,
        Some(days) => {
            let of_days = most_liked!(
                viewer,
                after,
                window,
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
    after: Option<&PageCursor<CreatedAt>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    let (at, id) = after.map_or((None, i64::MAX), |after| (Some(after.rank.0), after.id.0));
    listed!(
        viewer,
        "where p.author_id = $2 and (p.created_at, p.id) < (coalesce($3, 'infinity'::timestamptz), $4)
        order by p.created_at desc, p.id desc limit $5 offset $6",
        author as UserId,
        at,
        id,
        window.limit,
        window.skip,
    )
    .fetch_all(db)
    .await
}

/// One person's posts, the hottest first, from `after` on.
pub async fn hot_by_author(
    db: &PgPool,
    viewer: Option<UserId>,
    author: UserId,
    after: Option<&PageCursor<Hot>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    hottest!(viewer, after, window, " and p.author_id = $7", author as UserId).fetch_all(db).await
}

/// One person's posts with the most votes first, from `after` on.
pub async fn top_by_author(
    db: &PgPool,
    viewer: Option<UserId>,
    author: UserId,
    after: Option<&PageCursor<Score>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    most_liked!(viewer, after, window, " and p.author_id = $7", author as UserId)
        .fetch_all(db)
        .await
}

/// The posts with these ids as feeds give them, in the same order; those that are gone are left out.
pub async fn feed_entries(db: &PgPool, ids: &[PostId]) -> sqlx::Result<Vec<FeedEntry>> {
    sqlx::query_as!(
        FeedEntry,
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
