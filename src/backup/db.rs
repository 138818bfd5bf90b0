//! What a backup asks of the database, and what a restored database must not keep.

use sqlx::PgPool;

use crate::transfer::tables::{Backup, TABLES};

/// The server's version, such as 15.
pub async fn server(db: &PgPool) -> sqlx::Result<u32> {
    let version: i32 =
        sqlx::query_scalar("select current_setting('server_version_num')::int / 10000")
            .fetch_one(db)
            .await?;
    Ok(version.unsigned_abs())
}

/// Whether the database is one of Social Post.
pub async fn is_ours(db: &PgPool) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "select to_regclass('_sqlx_migrations') is not null and to_regclass('users') is not null",
    )
    .fetch_one(db)
    .await
}

/// Whether the database has no table, view, function or schema, except those of extensions.
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

/// Clears the tables that a backup leaves out, and ends every token. Our own files have no such rows;
/// other dumps may have them.
pub async fn end_sessions(db: &PgPool) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    for table in TABLES.iter().filter(|table| matches!(table.backup, Backup::LeftOut(_))) {
        let delete = format!("delete from {}", table.name);
        sqlx::query(&delete).execute(&mut *tx).await?;
    }
    sqlx::query("update users set auth_epoch = auth_epoch + 1").execute(&mut *tx).await?;
    tx.commit().await
}

/// How many rows there are of what a restore reports, with the names for one and for many.
pub async fn counts(db: &PgPool) -> sqlx::Result<Vec<(i64, &'static str, &'static str)>> {
    let mut counts = Vec::new();
    for table in TABLES {
        if let Backup::Counted(one, many) = table.backup {
            let count = format!("select count(*) from {}", table.name);
            counts.push((sqlx::query_scalar(&count).fetch_one(db).await?, one, many));
        }
    }
    Ok(counts)
}
