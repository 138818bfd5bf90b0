//! What a backup asks of the database, and what a restored one must not keep.
//!
//! It writes to tables of `users`, which no other feature's `db.rs` does: all of these at once, and
//! for everybody.

use sqlx::PgPool;

/// The server's version, such as 15.
pub async fn server(db: &PgPool) -> sqlx::Result<u32> {
    let version: i32 =
        sqlx::query_scalar("select current_setting('server_version_num')::int / 10000")
            .fetch_one(db)
            .await?;
    Ok(version.unsigned_abs())
}

/// Whether a Social Post is in the database.
pub async fn is_ours(db: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select to_regclass('_sqlx_migrations') is not null and to_regclass('users') is not null",
    )
    .fetch_one(db)
    .await
}

/// Whether the database has no table, view, function or schema of anybody's.
pub async fn is_empty(db: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "with ours as (
            select oid from pg_namespace
            where nspname !~ '^pg_' and nspname <> 'information_schema'
        )
        select not exists (select from pg_class c join ours on ours.oid = c.relnamespace
                where not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e'))
            and not exists (select from pg_proc p join ours on ours.oid = p.pronamespace
                where not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e'))
            and not exists (select from pg_namespace n join ours using (oid) where n.nspname <> 'public'
                and not exists (select from pg_depend d where d.objid = n.oid and d.deptype = 'e'))",
    )
    .fetch_one(db)
    .await
}

/// Ends every session and every token, and voids every link and every known device. In a file of our
/// own there are none but tokens; other dumps may have them all.
pub async fn end_everything(db: &PgPool) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    for statement in [
        "delete from tower_sessions.session",
        "delete from mailed_links",
        "delete from known_devices",
        "delete from password_tries",
        "update users set auth_epoch = auth_epoch + 1",
    ] {
        sqlx::query(statement).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// How many people, posts and votes there are.
pub async fn tally(db: &PgPool) -> sqlx::Result<(i64, i64, i64)> {
    sqlx::query_as(
        "select (select count(*) from users), (select count(*) from posts), (select count(*) from votes)",
    )
    .fetch_one(db)
    .await
}

/// Tells the planner what the tables hold now, and spares their first readers some work.
pub async fn tidy(db: &PgPool) -> sqlx::Result<()> {
    let statement = "vacuum (analyze) users, posts, post_ranks, post_search, votes, imported_posts";
    sqlx::raw_sql(statement).execute(db).await.map(drop)
}
