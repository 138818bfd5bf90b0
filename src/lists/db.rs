//! Queries for lists of posts, a page at a time.

use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    database::{snapshot::Snapshot, views::visible_posts},
    identity::{PostId, UserId, Username},
    lists::{
        FeedEntry, Period, PostSummary, Scope,
        ranking::{CreatedAt, Hot, PageCursor},
    },
    markdown::Html,
    posts::Link,
    score::Score,
    web::list::Window,
};

/// The longest text that a feed has whole, in bytes of HTML: 40,000 characters of most scripts.
const WHOLE_IN_FEEDS: i32 = 128 * 1024;

/// What the whole texts of a feed have together, in bytes of HTML. The entries after that have excerpts.
const ALL_IN_FEEDS: i64 = 512 * 1024;

/// How many ids one part of the sitemap covers. The protocol allows 50,000; this many make a megabyte.
const PER_PART: i64 = 10_000;

/// The one query for posts as lists show them to a viewer; each order adds its condition, sorting and limit.
/// The aliases are `r` for the rank, `p` for the post, `u` for the author; `$1` is the viewer. (With an
/// `exists` the planner would read all that the viewer ever voted for.)
macro_rules! summaries {
    ($viewer:expr, $($rest:literal)+ $(, $argument:expr)* $(,)?) => {
        visible_posts!(query_as!(
            PostSummary,
            r#"
            select r.post_id as "id: PostId", u.username as "author: Username",
                p.title, p.url as "link: Link", p.excerpt,
                octet_length(p.body)::bigint + octet_length(p.body_html) as "text_bytes!",
                r.score as "score: Score", r.hot,
                r.created_at, p.edited_at,
                coalesce((select true from votes v where v.post_id = r.post_id and v.user_id = $1), false) as "voted!",
                pg_current_snapshot()::text as "snapshot!: Snapshot"
            from post_ranks r
            join visible_posts p on p.id = r.post_id
            join users u on u.id = p.author_id
            "# $(+ $rest)+,
            $viewer as Option<UserId>
            $(, $argument)*
        ))
    };
}

/// The hottest posts first. A scope adds its condition, with `$7` and on. Posts that fell past the
/// reader since the first page were shown on an earlier one.
macro_rules! hot_page {
    ($viewer:expr, $after:expr, $window:expr, $scope:literal $(, $argument:expr)*) => {{
        let (rank, id) =
            $after.map_or((f64::INFINITY, i64::MAX), |after| (after.rank.0, after.id.0));
        summaries!(
            $viewer,
            "where (r.hot, r.post_id) < ($2, $3)
                and (not coalesce(fell_since(r.fell_in, $6::text::pg_snapshot), false)
                    or (hot_rank(r.fell_from, r.created_at), r.post_id) < ($2, $3))"
            $scope
            " order by r.hot desc, r.post_id desc limit $4 offset $5",
            rank,
            id,
            $window.rows(),
            $window.skip,
            PageCursor::snapshot($after)
            $(, $argument)*
        )
    }};
}

/// As [`hot_page`], the most votes first.
macro_rules! top_page {
    ($viewer:expr, $after:expr, $window:expr, $scope:literal $(, $argument:expr)*) => {{
        let (score, id) = $after.map_or((i64::MAX, i64::MAX), |after| (after.rank.0, after.id.0));
        summaries!(
            $viewer,
            "where (r.score, r.post_id) < ($2, $3)
                and (not coalesce(fell_since(r.fell_in, $6::text::pg_snapshot), false)
                    or (r.fell_from, r.post_id) < ($2, $3))"
            $scope
            " order by r.score desc, r.post_id desc limit $4 offset $5",
            score,
            id,
            $window.rows(),
            $window.skip,
            PageCursor::snapshot($after)
            $(, $argument)*
        )
    }};
}

/// The hottest posts of a scope first, from `after` on; one more than a page.
pub async fn hot(
    db: &PgPool,
    viewer: Option<UserId>,
    scope: Scope,
    after: Option<&PageCursor<Hot>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    match scope {
        Scope::All => hot_page!(viewer, after, window, "").fetch_all(db).await,
        Scope::Author(author) => {
            let posts = hot_page!(viewer, after, window, " and p.author_id = $7", author as UserId);
            posts.fetch_all(db).await
        }
    }
}

/// The newest posts of a scope first, from `after` on; one more than a page.
pub async fn newest(
    db: &PgPool,
    viewer: Option<UserId>,
    scope: Scope,
    after: Option<&PageCursor<CreatedAt>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    let (at, id) = after.map_or((None, i64::MAX), |after| (Some(after.rank.0), after.id.0));
    match scope {
        Scope::All => {
            let posts = summaries!(
                viewer,
                "where (r.created_at, r.post_id) < (coalesce($2, 'infinity'::timestamptz), $3)
                order by r.created_at desc, r.post_id desc limit $4 offset $5",
                at,
                id,
                window.rows(),
                window.skip,
            );
            posts.fetch_all(db).await
        }
        // By the post's own columns, which are in the index by author.
        Scope::Author(author) => {
            let posts = summaries!(
                viewer,
                "where (p.created_at, p.id) < (coalesce($2, 'infinity'::timestamptz), $3)
                    and p.author_id = $6
                order by p.created_at desc, p.id desc limit $4 offset $5",
                at,
                id,
                window.rows(),
                window.skip,
                author as UserId,
            );
            posts.fetch_all(db).await
        }
    }
}

/// The posts of a scope and period with the most votes first, from `after` on; one more than a page.
pub async fn top(
    db: &PgPool,
    viewer: Option<UserId>,
    scope: Scope,
    period: Period,
    after: Option<&PageCursor<Score>>,
    window: Window,
) -> sqlx::Result<Vec<PostSummary>> {
    match (scope, period.days()) {
        (Scope::All, None) => top_page!(viewer, after, window, "").fetch_all(db).await,
        (Scope::All, Some(days)) => {
            let posts = top_page!(
                viewer,
                after,
                window,
                " and r.created_at > now() - make_interval(days => $7)",
                days
            );
            posts.fetch_all(db).await
        }
        (Scope::Author(author), None) => {
            let posts = top_page!(viewer, after, window, " and p.author_id = $7", author as UserId);
            posts.fetch_all(db).await
        }
        (Scope::Author(author), Some(days)) => {
            let posts = top_page!(
                viewer,
                after,
                window,
                " and p.author_id = $7 and r.created_at > now() - make_interval(days => $8)",
                author as UserId,
                days
            );
            posts.fetch_all(db).await
        }
    }
}

/// The feed entries of these posts, in the same order; posts that no longer exist are left out.
pub async fn feed_entries(db: &PgPool, ids: &[PostId]) -> sqlx::Result<Vec<FeedEntry>> {
    visible_posts!(query_as!(
        FeedEntry,
        r#"
        select p.id as "id: PostId", u.username as "author: Username", p.title, p.url as "link: Link",
            case when octet_length(p.body_html) <= $2 and sum(octet_length(p.body_html))
                filter (where octet_length(p.body_html) <= $2) over (order by wanted.place) <= $3
                then p.body_html end as "body_html: Html",
            p.excerpt, p.created_at, p.edited_at
        from unnest($1::bigint[]) with ordinality as wanted (id, place)
        join visible_posts p on p.id = wanted.id
        join users u on u.id = p.author_id
        order by wanted.place
        "#,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
        WHOLE_IN_FEEDS,
        ALL_IN_FEEDS,
    ))
    .fetch_all(db)
    .await
}

/// The numbers of the sitemap's parts that have a post, in order; at most 50,000.
///
/// One index lookup for each, however many posts there are and however large the gaps between their ids.
pub async fn sitemap_parts(db: &PgPool) -> sqlx::Result<Vec<i64>> {
    visible_posts!(query_scalar!(
        r#"
        select part as "part!" from (
            with recursive parts (part) as (
                select min(id) / $1::bigint from visible_posts
                union all
                select (select min(id) from visible_posts where id >= (part + 1) * $1::bigint) / $1::bigint
                from parts where part is not null
            )
            select part from parts where part is not null limit 50000
        ) as parts
        "#,
        PER_PART,
    ))
    .fetch_all(db)
    .await
}

/// The posts of one part of the sitemap, and when each was last changed.
pub async fn sitemap_part(db: &PgPool, part: i64) -> sqlx::Result<Vec<(PostId, OffsetDateTime)>> {
    let rows = visible_posts!(query!(
        r#"
        select id as "id: PostId", coalesce(edited_at, created_at) as "updated_at!" from visible_posts
        where id >= $1 and id < $1 + $2 order by id
        "#,
        part.saturating_mul(PER_PART),
        PER_PART,
    ))
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.updated_at)).collect())
}
