//! What the doctor asks, and how it mends. Not checked when compiled: most of it is about Postgres
//! itself, and it looks at databases whose schema may be any.
//!
//! It compares and writes the tables of every feature, which only `import` does beside it.

use sqlx::{Acquire as _, Executor as _, PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{config::Site, database::pool::retrying};

/// Any number will do, as long as nothing else in the database locks it.
const LOCK: i64 = 0x646F_6374_6F72;

/// The tables of the site, where they are.
pub const SCHEMAS: &str = "('public', 'tower_sessions')";

/// What a server says of itself and of the database the site is in.
#[derive(Debug, sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "a row of answers to yes-or-no questions")]
pub struct Server {
    pub encoding: String,
    pub ctype: String,
    pub is_by_libc: bool,
    /// Whether the system sorts texts otherwise than when the indexes were made.
    pub has_other_collation: bool,
    pub name: String,
    pub fsync: String,
    pub synchronous_commit: String,
    pub full_page_writes: String,
    pub data_checksums: String,
    pub is_standby: bool,
    pub is_superuser: bool,
    /// The least of what the server, the database and the role allow.
    pub most_connections: i32,
    pub connections: i32,
    /// Whether statements land in the server's log together with their values.
    pub logs_values: bool,
}

/// The server's version, such as 150018. Asked alone: an older one knows less than we ask next.
pub async fn version(db: &PgPool) -> sqlx::Result<i32> {
    sqlx::query_scalar("select current_setting('server_version_num')::int").fetch_one(db).await
}

pub async fn server(db: &PgPool) -> sqlx::Result<Server> {
    sqlx::query_as(
        "select pg_encoding_to_char(d.encoding) as encoding, d.datctype::text as ctype,
            d.datlocprovider = 'c' as is_by_libc, d.datname::text as name,
            coalesce(d.datcollversion <> pg_database_collation_actual_version(d.oid), false) as has_other_collation,
            current_setting('fsync') as fsync,
            current_setting('synchronous_commit') as synchronous_commit,
            current_setting('full_page_writes') as full_page_writes,
            current_setting('data_checksums') as data_checksums,
            pg_is_in_recovery() as is_standby, r.rolsuper as is_superuser,
            least(
                current_setting('max_connections')::int
                    - case when r.rolsuper then 0 else current_setting('superuser_reserved_connections')::int end,
                nullif(d.datconnlimit, -1), nullif(r.rolconnlimit, -1)
            ) as most_connections,
            (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections,
            current_setting('log_parameter_max_length') <> '0' and (
                current_setting('log_min_duration_statement') <> '-1'
                or current_setting('log_statement') in ('mod', 'all')
            ) as logs_values
        from pg_database d, pg_roles r
        where d.datname = current_database() and r.rolname = current_user",
    )
    .fetch_one(db)
    .await
}

/// What time it is for the database.
pub async fn clock(db: &PgPool) -> sqlx::Result<OffsetDateTime> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(db).await
}

/// A session of somebody's that holds on to something.
#[derive(Debug, sqlx::FromRow)]
pub struct Lingering {
    pub pid: i32,
    pub application: String,
    pub is_idle: bool,
    pub seconds: i64,
}

/// Transactions that do nothing for a minute, or do something for five; the oldest first.
pub async fn lingering(db: &PgPool) -> sqlx::Result<Vec<Lingering>> {
    sqlx::query_as(
        "select pid, coalesce(application_name, '') as application,
            state like 'idle in transaction%' as is_idle,
            extract(epoch from now() - case when state = 'active' then xact_start else state_change end)::bigint as seconds
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
            and backend_type = 'client backend' and (
                (state like 'idle in transaction%' and state_change < now() - interval '1 minute')
                or (state = 'active' and xact_start < now() - interval '5 minutes')
            )
        order by xact_start limit 10",
    )
    .fetch_all(db)
    .await
}

/// Indexes of ours that no query uses because their making was broken off.
pub async fn invalid_indexes(db: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(&format!(
        "select indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid
        where not i.indisvalid and c.relnamespace::regnamespace::text in {SCHEMAS} order by 1"
    ))
    .fetch_all(db)
    .await
}

/// The extension of the search: the version that is installed and the one that could be; `None` where
/// it is not installed.
pub async fn trigrams(db: &PgPool) -> sqlx::Result<Option<(String, Option<String>)>> {
    sqlx::query_as(
        "select e.extversion, a.default_version from pg_extension e
        left join pg_available_extensions a on a.name = e.extname where e.extname = 'pg_trgm'",
    )
    .fetch_optional(db)
    .await
}

/// Rows that `serve` should have cleared away an hour ago.
#[derive(Debug, sqlx::FromRow)]
pub struct Overdue {
    pub sessions: i64,
    pub tries: i64,
    pub keys: i64,
}

pub async fn overdue(db: &PgPool, site: &Site) -> sqlx::Result<Overdue> {
    sqlx::query_as(
        "select
            (select count(*) from tower_sessions.session s left join user_sessions us on us.session_id = s.id
            where s.expiry_date < now() - interval '1 hour'
                or us.last_seen_at < now() - make_interval(days => $1) - interval '1 hour') as sessions,
            (select count(*) from password_tries where free_at < now() - interval '75 minutes') as tries,
            (select count(*) from publish_keys where created_at < now() - interval '25 hours') as keys",
    )
    .bind(site.session_idle_days)
    .fetch_one(db)
    .await
}

/// People whose password is kept in another form than the one of today.
pub async fn old_hashes(db: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select count(*) from users where password_hash is not null
            and password_hash not like '$argon2id$v=19$m=19456,t=2,p=1$%'",
    )
    .fetch_one(db)
    .await
}

/// A post whose rank is not what it should be.
#[derive(Debug, sqlx::FromRow)]
pub struct Misranked {
    pub post: i64,
    pub has_rank: bool,
    pub score: i64,
    pub votes: i64,
    pub is_hot_wrong: bool,
    pub is_date_wrong: bool,
}

/// Compares every rank with the post and the votes it is made from, all at one moment.
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

/// The posts among up to `most`, the newest and as many of the others as chance has it, whose words
/// are not those of their search entry; and how many were compared.
pub async fn misworded(db: &PgPool, most: i64) -> sqlx::Result<(i64, Vec<i64>)> {
    // Reading a text anew is the slow part of it, and a hundred times slower than reading its entry.
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

/// Rows that refer to nothing, which the tables' keys rule out unless somebody switched them off.
#[derive(Debug, sqlx::FromRow)]
pub struct Orphans {
    pub ranks: i64,
    pub entries: i64,
    pub votes: i64,
}

pub async fn orphans(db: &PgPool) -> sqlx::Result<Orphans> {
    sqlx::query_as(
        "select
            (select count(*) from post_ranks r where not exists (select from posts p where p.id = r.post_id)) as ranks,
            (select count(*) from post_search s where not exists (select from posts p where p.id = s.post_id)) as entries,
            (select count(*) from votes v left join posts p on p.id = v.post_id
            left join users u on u.id = v.user_id where p.id is null or u.id is null) as votes",
    )
    .fetch_one(db)
    .await
}

/// Whether the tables of the ranks, the votes and the search are there.
pub async fn tables(db: &PgPool) -> sqlx::Result<(bool, bool)> {
    sqlx::query_as(
        "select to_regclass('post_ranks') is not null and to_regclass('votes') is not null,
            to_regclass('post_search') is not null",
    )
    .fetch_one(db)
    .await
}

/// Makes this connection the only one that repairs; `false` where another is at it. Two at once would
/// both take the same drift off a score.
pub async fn alone(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK).fetch_one(db).await
}

/// Gives these posts the ranks they lack, from their votes, and returns how many lacked one. Nobody
/// votes on them meanwhile: a vote locks its post as this does.
pub async fn rank(db: &mut PgConnection, posts: &[i64]) -> sqlx::Result<u64> {
    let mut tx = db.begin().await?;
    sqlx::query("select from posts where id = any($1) order by id for update")
        .bind(posts)
        .execute(&mut *tx)
        .await?;
    // A statement of its own, to see what was voted until the lock was there.
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

/// Makes the ranks of these posts agree with their votes and their dates, and returns how many did
/// not.
///
/// No vote is lost and none waits for more than this statement: it adds to a score by how much the
/// score was off at one moment, and votes that come meanwhile move both the rows and the score.
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

/// Writes the search entries of these posts anew. Nobody edits or deletes them meanwhile; votes go on.
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

/// Up to `most` posts after `last`, in order, and whether their search entries have other words than
/// they have.
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

/// Deletes ranks and search entries of posts that are not there.
pub async fn forget_orphans(db: &PgPool) -> sqlx::Result<u64> {
    let mut gone = 0;
    for table in ["post_ranks", "post_search"] {
        let delete = format!(
            "delete from {table} t where not exists (select from posts p where p.id = t.post_id)"
        );
        gone += db.execute(delete.as_str()).await?.rows_affected();
    }
    Ok(gone)
}
