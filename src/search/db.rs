//! Full-text search with bounded work.

use std::mem;

use sqlx::PgPool;

use crate::{
    cpu,
    database::{snapshot::Snapshot, views::visible_posts},
    identity::{PostId, UserId, Username},
    lists::{
        PAGE, PostSummary,
        highlight::{Highlights, pieces, snippet},
        ranking::PageCursor,
    },
    markdown,
    posts::Link,
    score::Score,
    search::{Found, Hit, MAX_RANKED, Match, MatchRank, Sort, Words},
    web::list::Window,
};

/// How many characters of a text are searched for the snippet to show. Postgres takes 40 ms to mark the
/// words in thirty texts of this length; most are much shorter.
const SNIPPET_SOURCE: i32 = 8000;

/// How many of the newest posts a search reads first. A common word has enough matches among them, and
/// Postgres takes a few milliseconds to rank them all. Older posts are read only if more are needed.
const FIRST_WINDOW: i64 = 4000;

/// How many of the newest titles, in whole days, are compared with words that no post has.
const COMPARED: i64 = 10_000;

/// Posts that have all the words, in the given order, from `after` on; one more than a page. If there
/// is no match, the most similar of the newest titles.
///
/// At most [`MAX_RANKED`] matches are ranked, the newest ones; newest-first goes on through all of
/// them. However common a word is, few more posts are read than are needed: `search_newest` begins with
/// the newest days. A word that no post has costs a few index lookups: the search table has no index by
/// date that the planner could walk instead. A query that only excludes words would match every post,
/// and finds none.
///
/// How similar a title must be is a setting of the pool's connections. (The condition on the title that
/// is always true is there for its cost: the planner underestimates the comparison, and would otherwise
/// compare every title, which takes twenty times as long as the index.)
pub async fn find(
    db: &PgPool,
    viewer: Option<UserId>,
    words: &Words,
    sort: Sort,
    after: Option<&PageCursor<MatchRank>>,
) -> sqlx::Result<Found> {
    let (rank, id) = after.map_or((f64::INFINITY, i64::MAX), |after| (after.rank.0, after.id.0));
    let mut rows = visible_posts!(query!(
        r#"
        , asked as materialized (
            select query from search_query($1) as query where querytree(query) not in ('', 'T')
        ), hits as materialized (
            select n.post_id, n.created_at, n.document
            from asked, search_newest(asked.query, $5::bigint + 1,
                case $2 when 'new' then $3::float8 else 'infinity' end, $4, null, $10) n
        ), ranked as (
            select h.post_id, case $2
                when 'new' then extract(epoch from h.created_at)::float8
                when 'top' then r.score::float8
                else ts_rank(h.document, asked.query)::float8 end as rank
            from hits h join post_ranks r on r.post_id = h.post_id, asked
            where ($2 <> 'top' or not coalesce(fell_since(r.fell_in, $9::text::pg_snapshot), false)
                or (r.fell_from::float8, h.post_id) < ($3, $4))
        ), page as materialized (
            (select post_id, rank, false as is_similar from ranked
            where (rank, post_id) < ($3, $4) order by rank desc, post_id desc limit $6)
            union all
            (select id, word_similarity($1, title)::float8, true from visible_posts
            where $1 <% title and to_tsvector('simple', title) is not null and $3 = 'infinity' and not exists (select from hits)
                and search_spans(created_at) && (
                    select search_cover(search_day(min(created_at)), search_day(max(created_at))) from (
                        select created_at from post_ranks order by created_at desc, post_id desc limit $11
                    ) as newest
                )
            order by $1 <<-> title, id desc limit 10)
        )
        select r.post_id as "id: PostId", u.username as "author: Username", p.title,
            p.url as "link: Link", p.excerpt,
            octet_length(p.body)::bigint + octet_length(p.body_html) as "text_bytes!",
            r.score as "score: Score", r.hot, r.created_at, p.edited_at,
            page.rank as "rank!", page.is_similar as "is_similar!",
            coalesce((select true from votes v where v.post_id = page.post_id and v.user_id = $7), false)
                as "voted!",
            (select count(*) from hits) as "total!",
            ts_headline('english', p.title, asked.query,
                E'StartSel=\x02, StopSel=\x03, HighlightAll=true') as "marked_title!",
            left(p.body, $8) as "start!", pg_current_snapshot()::text as "snapshot!: Snapshot"
        from page
        join post_ranks r on r.post_id = page.post_id
        join visible_posts p on p.id = page.post_id
        join users u on u.id = p.author_id, asked
        order by page.rank desc, page.post_id desc
        "#,
        words.as_str(),
        sort.as_str(),
        rank,
        id,
        MAX_RANKED,
        PAGE.rows(),
        viewer as Option<UserId>,
        SNIPPET_SOURCE,
        PageCursor::snapshot(after),
        FIRST_WINDOW,
        COMPARED,
    ))
    .fetch_all(db)
    .await?;
    let starts: Vec<String> = rows.iter_mut().map(|row| mem::take(&mut row.start)).collect();
    let starts = cpu::run(move || starts.iter().map(|start| plain_start(start)).collect()).await;
    let texts = marked(db, words, starts).await?;

    let snippets =
        cpu::run(move || texts.iter().map(|text| snippet(text)).collect::<Vec<_>>()).await;

    let total = rows.first().map_or(0, |row| row.total);
    let is_similar = rows.first().is_some_and(|row| row.is_similar);
    let hits = rows.into_iter().zip(snippets).map(|(row, snippet)| Hit {
        highlights: Highlights {
            title: pieces(&row.marked_title),
            text: if snippet.is_empty() { pieces(&row.excerpt) } else { snippet },
        },
        rank: MatchRank(row.rank),
        post: PostSummary {
            id: row.id,
            author: row.author,
            title: row.title,
            link: row.link,
            excerpt: row.excerpt,
            text_bytes: row.text_bytes,
            score: row.score,
            hot: row.hot,
            created_at: row.created_at,
            edited_at: row.edited_at,
            voted: row.voted,
            snapshot: row.snapshot,
        },
    });
    Ok(Found { hits: hits.collect(), total, is_similar })
}

/// As [`find`], without the texts: ids and ranks only, of one author or of all, one more than the window
/// shows, and never titles that are only similar.
pub async fn matches(
    db: &PgPool,
    words: &Words,
    sort: Sort,
    author: Option<UserId>,
    after: Option<&PageCursor<MatchRank>>,
    window: Window,
) -> sqlx::Result<Vec<Match>> {
    let (rank, id) = after.map_or((f64::INFINITY, i64::MAX), |after| (after.rank.0, after.id.0));
    let rows = visible_posts!(query!(
        r#"
        , asked as materialized (
            select query from search_query($1) as query where querytree(query) not in ('', 'T')
        ), hits as materialized (
            select n.post_id, n.created_at, n.document
            from asked, search_newest(asked.query, $6::bigint + $8,
                case $2 when 'new' then $3::float8 else 'infinity' end, $4, $5, $10) n
        ), ranked as (
            select h.post_id, case $2
                when 'new' then extract(epoch from h.created_at)::float8
                when 'top' then r.score::float8
                else ts_rank(h.document, asked.query)::float8 end as rank
            from hits h join post_ranks r on r.post_id = h.post_id, asked
            where ($2 <> 'top' or not coalesce(fell_since(r.fell_in, $9::text::pg_snapshot), false)
                or (r.fell_from::float8, h.post_id) < ($3, $4))
        )
        , page as materialized (
            select post_id, rank from ranked
            where (rank, post_id) < ($3, $4) order by rank desc, post_id desc limit $7 offset $8
        )
        select page.post_id as "id!: PostId", page.rank as "rank!",
            octet_length(p.body)::bigint + octet_length(p.body_html) as "text_bytes!",
            pg_current_snapshot()::text as "snapshot!: Snapshot"
        from page
        join visible_posts p on p.id = page.post_id
        order by page.rank desc, page.post_id desc
        "#,
        words.as_str(),
        sort.as_str(),
        rank,
        id,
        author as Option<UserId>,
        MAX_RANKED,
        window.rows(),
        window.skip,
        PageCursor::snapshot(after),
        FIRST_WINDOW,
    ))
    .fetch_all(db)
    .await?;
    let matches = rows.into_iter().map(|row| Match {
        post: row.id,
        rank: MatchRank(row.rank),
        text_bytes: row.text_bytes,
        snapshot: row.snapshot,
    });
    Ok(matches.collect())
}

/// The plain text of the beginning of a Markdown text.
fn plain_start(markdown: &str) -> String {
    let mut text = markdown::plain(markdown);
    if markdown.chars().count() >= SNIPPET_SOURCE.unsigned_abs() as usize {
        // Its last word may be cut off.
        text.truncate(text.rfind(' ').unwrap_or(text.len()));
        text.push('…');
    }
    text
}

/// The whole texts with the words marked, in the same order. Postgres marks them, because only it knows
/// which forms of a word it treats as the same.
async fn marked(db: &PgPool, words: &Words, texts: Vec<String>) -> sqlx::Result<Vec<String>> {
    if texts.iter().all(String::is_empty) {
        return Ok(texts);
    }
    sqlx::query_scalar!(
        r#"
        select ts_headline('english', text, query, E'StartSel=\x02, StopSel=\x03, HighlightAll=true') as "marked!"
        from search_query($1) as query, unnest($2::text[]) with ordinality as given (text, place)
        order by place
        "#,
        words.as_str(),
        &texts,
    )
    .fetch_all(db)
    .await
}
