//! Comparing tables with what their rows are made from. Not checked when compiled: the schema may be at
//! any version.

use sqlx::PgPool;

use crate::{
    config::Site,
    transfer::tables::{self, TABLES},
};

/// Of each kind of rows in [`tables::swept`], how many should have been deleted an hour ago.
pub async fn overdue(db: &PgPool, site: &Site) -> sqlx::Result<Vec<(&'static str, i64)>> {
    let counts: Vec<_> = tables::swept().map(|ended| format!("({})", ended.overdue)).collect();
    let sql = format!("select array[{}]", counts.join(", "));
    let counts: Vec<i64> =
        sqlx::query_scalar(&sql).bind(site.session_idle_days).fetch_one(db).await?;
    Ok(tables::swept().map(|ended| ended.rows).zip(counts).collect())
}

/// How many passwords are stored in another form than today's.
pub async fn old_hashes(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select count(*) from users where password_hash is not null
            and password_hash not like '$argon2id$v=19$m=19456,t=2,p=1$%'",
    )
    .fetch_one(db)
    .await
}

/// A post whose rank is wrong or missing.
#[derive(Debug, sqlx::FromRow)]
pub struct Misranked {
    pub post: i64,
    pub has_rank: bool,
    pub score: i64,
    pub votes: i64,
    pub is_hot_wrong: bool,
    pub is_date_wrong: bool,
}

/// Compares every rank with the post and the votes it is made from, in one statement.
pub async fn misranked(db: &PgPool) -> sqlx::Result<Vec<Misranked>> {
    sqlx::query_as(
        "select p.id as post, r.post_id is not null as has_rank, coalesce(r.score, 0) as score,
            coalesce(v.votes, 0) as votes,
            coalesce(r.hot is distinct from hot_rank(r.score, r.created_at), false) as is_hot_wrong,
            coalesce(r.created_at <> p.created_at, false) as is_date_wrong
        from posts p
        left join post_ranks r on r.post_id = p.id
        left join (select post_id, count(*) as votes from votes group by post_id) v on v.post_id = p.id
        where r.post_id is null or r.score <> coalesce(v.votes, 0) or r.created_at <> p.created_at
            or r.hot is distinct from hot_rank(r.score, r.created_at)
        order by p.id",
    )
    .fetch_all(db)
    .await
}

/// A post whose search entry is missing or has another date.
#[derive(Debug, sqlx::FromRow)]
pub struct Misindexed {
    pub post: i64,
    pub has_entry: bool,
}

pub async fn misindexed(db: &PgPool) -> sqlx::Result<Vec<Misindexed>> {
    sqlx::query_as(
        "select p.id as post, s.post_id is not null as has_entry
        from posts p left join post_search s on s.post_id = p.id
        where s.post_id is null or s.created_at <> p.created_at order by p.id",
    )
    .fetch_all(db)
    .await
}

/// Compares up to `most` posts with their search entries: half of them the newest, half a random
/// sample. Returns how many were compared, and the posts whose entry has other words.
pub async fn misworded(db: &PgPool, most: i64) -> sqlx::Result<(i64, Vec<i64>)> {
    // Parsing a text is the slow part, a hundred times slower than reading its entry.
    let share: f32 = sqlx::query_scalar(
        "select least(100, 50.0 * $1 / greatest(reltuples, 1))::float4 from pg_class where oid = 'posts'::regclass",
    )
    .bind(most)
    .fetch_one(db)
    .await?;
    sqlx::query_as(
        "with looked_at as (
            (select id, title, body from posts order by id desc limit $1 / 2)
            union
            (select id, title, body from posts tablesample system ($2) limit $1 / 2)
        )
        select count(*), coalesce(array_agg(l.id order by l.id)
            filter (where s.document <> search_document(l.title, l.body)), '{}')
        from looked_at l join post_search s on s.post_id = l.id",
    )
    .bind(most)
    .bind(share)
    .fetch_one(db)
    .await
}

/// How many rows of each table that can be rebuilt are of posts that do not exist. Foreign keys rule
/// them out unless they were disabled.
pub async fn orphans(db: &PgPool) -> sqlx::Result<Vec<(&'static str, i64)>> {
    let tables = || TABLES.iter().filter(|table| table.check.is_repaired()).map(|table| table.name);
    let counts: Vec<_> = tables()
        .map(|table| {
            format!(
                "(select count(*) from {table} t
                where not exists (select from posts p where p.id = t.post_id))"
            )
        })
        .collect();
    let sql = format!("select array[{}]", counts.join(", "));
    let counts: Vec<i64> = sqlx::query_scalar(&sql).fetch_one(db).await?;
    Ok(tables().zip(counts).collect())
}

/// How many votes are for posts or by people that do not exist.
pub async fn orphan_votes(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select count(*) from votes v left join posts p on p.id = v.post_id
        left join users u on u.id = v.user_id where p.id is null or u.id is null",
    )
    .fetch_one(db)
    .await
}

/// Up to `most` posts after `last`, in order, and whether their search entries have other words.
pub async fn compared_after(db: &PgPool, last: i64, most: i64) -> sqlx::Result<Vec<(i64, bool)>> {
    sqlx::query_as(
        "select p.id, s.document <> search_document(p.title, p.body)
        from posts p join post_search s on s.post_id = p.id
        where p.id > $1 order by p.id limit $2",
    )
    .bind(last)
    .bind(most)
    .fetch_all(db)
    .await
}
