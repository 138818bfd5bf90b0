//! What the database knows of its tables without counting them.

use sqlx::PgPool;

/// What has come and gone in a table, since its statistics were last reset.
pub struct Activity {
    pub name: String,
    /// An estimate.
    pub rows: i64,
    pub inserted: i64,
    pub deleted: i64,
}

/// Of the tables whose numbers tell how the site is used; the collector's view, which costs the same
/// however much is in them, and is a moment old.
pub async fn activity(db: &PgPool) -> sqlx::Result<Vec<Activity>> {
    sqlx::query_as!(
        Activity,
        r#"
        select relname as "name!", n_live_tup as "rows!", n_tup_ins as "inserted!",
               n_tup_del as "deleted!"
        from pg_stat_user_tables
        where schemaname = 'public' and relname in ('users', 'posts', 'votes', 'user_sessions')
        "#
    )
    .fetch_all(db)
    .await
}
