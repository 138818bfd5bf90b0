//! Rebuilding rows from what they are made from. Not checked when compiled: the schema may be at any
//! version.

use sqlx::{Acquire as _, Executor as _, PgConnection, PgPool};

use crate::{database::pool::retrying, transfer::tables::TABLES};

/// An arbitrary key that nothing else in the database locks.
const LOCK: i64 = 0x646F_6374_6F72;

/// Whether all these tables exist.
pub async fn exist(db: &PgPool, tables: &[&str]) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select bool_and(to_regclass(name) is not null) from unnest($1::text[]) as t (name)",
    )
    .bind(tables)
    .fetch_one(db)
    .await
}

/// Takes the lock of repairs for this connection; `false` where another has it. Two repairs at once
/// would both correct a score by the same difference.
pub async fn try_lock(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK).fetch_one(db).await
}

/// Adds the missing ranks of these posts, from their votes, and returns how many were missing. Votes on
/// them wait: a vote locks its post as this does.
pub async fn rank(db: &mut PgConnection, posts: &[i64]) -> sqlx::Result<u64> {
    let mut tx = db.begin().await?;
    sqlx::query("select from posts where id = any($1) order by id for update")
        .bind(posts)
        .execute(&mut *tx)
        .await?;
    // A statement of its own, to see the votes that were cast before the lock was granted.
    let made = sqlx::query(
        "insert into post_ranks (post_id, score, hot, created_at)
        select p.id, v.votes, hot_rank(v.votes, p.created_at), p.created_at
        from posts p
        cross join lateral (select count(*) as votes from votes where post_id = p.id) v
        where p.id = any($1)
        on conflict do nothing",
    )
    .bind(posts)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(made.rows_affected())
}

/// Makes the ranks of these posts agree with their votes and their dates, and returns how many did not.
///
/// No vote is lost, and none waits for longer than this statement: it corrects a score by its
/// difference to the votes in one snapshot, and votes cast meanwhile move both the rows and the score.
pub async fn rerank(db: &PgPool, posts: &[i64]) -> sqlx::Result<u64> {
    retrying(|| try_rerank(db, posts)).await
}

async fn try_rerank(db: &PgPool, posts: &[i64]) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "with off as materialized (
            select r.post_id, v.votes - r.score as by, p.created_at
            from post_ranks r
            join posts p on p.id = r.post_id
            cross join lateral (select count(*) as votes from votes where post_id = p.id) v
            where r.post_id = any($1) and (r.score <> v.votes or r.created_at <> p.created_at
                or r.hot is distinct from hot_rank(r.score, r.created_at))
        ), locked as materialized (
            -- In one order, as every deletion takes them.
            select r.post_id from post_ranks r where r.post_id in (select post_id from off)
            order by r.post_id for update
        )
        update post_ranks r
        set score = r.score + off.by, hot = hot_rank(r.score + off.by, off.created_at),
            created_at = off.created_at
        from off join locked using (post_id)
        where r.post_id = off.post_id",
    )
    .bind(posts)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Rebuilds the search entries of these posts. Edits and deletions wait meanwhile; votes do not.
pub async fn reindex(db: &mut PgConnection, posts: &[i64]) -> sqlx::Result<u64> {
    let mut tx = db.begin().await?;
    sqlx::query("select from posts where id = any($1) order by id for share")
        .bind(posts)
        .execute(&mut *tx)
        .await?;
    let made = sqlx::query(
        "insert into post_search (post_id, created_at, document)
        select id, created_at, search_document(title, body) from posts where id = any($1) order by id
        on conflict (post_id) do update
        set created_at = excluded.created_at, document = excluded.document",
    )
    .bind(posts)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(made.rows_affected())
}

/// Deletes the rows of repaired tables whose post does not exist.
pub async fn delete_orphans(db: &PgPool) -> sqlx::Result<u64> {
    let mut deleted = 0;
    for table in TABLES.iter().filter(|table| table.check.is_repaired()) {
        let table = table.name;
        let delete = format!(
            "delete from {table} t where not exists (select from posts p where p.id = t.post_id)"
        );
        deleted += db.execute(delete.as_str()).await?.rows_affected();
    }
    Ok(deleted)
}
