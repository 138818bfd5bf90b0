//! Bringing in the posts of a file: people, posts and votes in bulk, all of it or nothing.

use std::collections::HashSet;

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{
    identity::UserId,
    posts::Link,
    transfer::import::{
        Batch, Row, SourceId, Step, Tally, cast_at,
        copy::{CopyIn, Field},
        db::{People, begin_alone, try_vacuum},
        voters,
    },
};

/// How many votes go into one statement. Postgres remembers each until its end, to check that its
/// post and its person are there.
const VOTES_AT_ONCE: u64 = 100_000;

/// Brings in the posts of `batch` that were never imported before, with their authors and their votes,
/// dated `now` at the latest: all of them in one transaction, or nothing.
///
/// Repeating it adds nothing, a post that was deleted since stays deleted, and of two imports at once
/// the second waits for the first. No post goes to an account that can log in: an author of the same
/// name gets a name with a number.
pub async fn bring_in(
    db: &PgPool,
    batch: &Batch,
    now: OffsetDateTime,
    mut progress: impl FnMut(Step),
) -> sqlx::Result<Tally> {
    let mut tx = begin_alone(db, &mut progress).await?;
    let rows = unseen(&mut tx, batch).await?;
    if rows.is_empty() {
        return Ok(Tally::default());
    }
    let votes: u64 = rows.iter().map(|row| u64::from(row.points)).sum();
    progress(Step::Started { posts: rows.len() as u64, votes });

    let mut people = People::default();
    let authors = people.authors(&mut tx, batch, &rows).await?;
    let since = rows.iter().map(|row| row.created_at).min().unwrap_or(now);
    let most = rows.iter().map(|row| row.points).max().unwrap_or_default();
    let pool = people.voters(&mut tx, &authors, most, since).await?;

    let ids = new_ids(&mut tx, rows.len()).await?;
    let posts = copy_posts(&mut tx, &rows, &ids, &authors).await?;
    copy_sources(&mut tx, &rows, &ids).await?;
    let votes = copy_votes(&mut tx, &rows, &ids, &pool, now, &mut progress).await?;
    progress(Step::Finishing);
    rank(&mut tx, &ids).await?;
    index(&mut tx, &ids).await?;
    tx.commit().await?;

    try_vacuum(db).await;
    Ok(Tally { posts, people: people.created, votes })
}

/// The rows that were never imported before, the oldest post first, so that ids rise with time.
async fn unseen<'b>(db: &mut PgConnection, batch: &'b Batch) -> sqlx::Result<Vec<&'b Row>> {
    let ids: Vec<i64> = batch.rows.iter().map(|row| row.source_id.0).collect();
    let seen: HashSet<SourceId> = sqlx::query_scalar!(
        r#"select source_id as "source_id: SourceId" from imported_posts where source_id = any($1)"#,
        &ids,
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .collect();
    let mut rows: Vec<&Row> =
        batch.rows.iter().filter(|row| !seen.contains(&row.source_id)).collect();
    rows.sort_by_key(|row| (row.created_at, row.source_id));
    Ok(rows)
}

/// Ids for so many posts, in ascending order.
async fn new_ids(db: &mut PgConnection, count: usize) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"
        select nextval(pg_get_serial_sequence('posts', 'id')) as "id!"
        from generate_series(1, $1::bigint)
        "#,
        count as i64,
    )
    .fetch_all(db)
    .await
}

async fn copy_posts(
    db: &mut PgConnection,
    rows: &[&Row],
    ids: &[i64],
    authors: &[Option<UserId>],
) -> sqlx::Result<u64> {
    let mut copy = CopyIn::begin(
        db,
        "copy posts (id, author_id, title, url, body, body_html, excerpt, created_at) from stdin",
    )
    .await?;
    for (row, id) in rows.iter().zip(ids) {
        copy.row(&[
            Field::Number(*id),
            authors[row.author].map_or(Field::Null, |author| Field::Number(author.0)),
            Field::Text(row.title.as_str()),
            row.link.as_ref().map(Link::as_str).map_or(Field::Null, Field::Text),
            Field::Text(""),
            Field::Text(""),
            Field::Text(""),
            Field::Date(row.created_at),
        ])
        .await?;
    }
    copy.finish().await
}

async fn copy_sources(db: &mut PgConnection, rows: &[&Row], ids: &[i64]) -> sqlx::Result<u64> {
    let mut copy = CopyIn::begin(db, "copy imported_posts (source_id, post_id) from stdin").await?;
    for (row, id) in rows.iter().zip(ids) {
        copy.row(&[Field::Number(row.source_id.0), Field::Number(*id)]).await?;
    }
    copy.finish().await
}

async fn copy_votes(
    db: &mut PgConnection,
    rows: &[&Row],
    ids: &[i64],
    pool: &[UserId],
    now: OffsetDateTime,
    progress: &mut impl FnMut(Step),
) -> sqlx::Result<u64> {
    let mut copied = 0;
    let mut rows = rows.iter().zip(ids).peekable();
    while rows.peek().is_some() {
        let mut copy =
            CopyIn::begin(&mut *db, "copy votes (post_id, user_id, created_at) from stdin").await?;
        let mut count = 0;
        while count < VOTES_AT_ONCE
            && let Some((row, id)) = rows.next()
        {
            // In the order of the primary key the table takes half again as many rows a second.
            let mut voters: Vec<usize> = voters(row.source_id, row.points, pool.len()).collect();
            voters.sort_unstable();
            for (nth, voter) in voters.into_iter().enumerate() {
                copy.row(&[
                    Field::Number(*id),
                    Field::Number(pool[voter].0),
                    Field::Date(cast_at(row.source_id, nth, row.created_at, now)),
                ])
                .await?;
            }
            count += u64::from(row.points);
        }
        copied += copy.finish().await?;
        progress(Step::Votes(copied));
    }
    Ok(copied)
}

/// Adds the ranks of new posts, counted from the votes themselves so that the two agree.
async fn rank(db: &mut PgConnection, posts: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into post_ranks (post_id, score, hot, created_at)
        select p.id, v.score, hot_rank(v.score, p.created_at), p.created_at
        from posts p
        cross join lateral (select count(*) as score from votes where post_id = p.id) v
        where p.id = any($1)",
        posts,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds the search entries of new posts.
async fn index(db: &mut PgConnection, posts: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into post_search (post_id, created_at, document)
        select id, created_at, search_document(title, body) from posts where id = any($1)",
        posts,
    )
    .execute(db)
    .await?;
    Ok(())
}
