use social_post::database::{
    MIGRATIONS,
    migrations::{self, Course, Mismatch, State},
};
use sqlx::PgPool;

use crate::support::empty_database;

/// Everything that makes up the schema, as one text.
async fn schema(db: &PgPool) -> String {
    sqlx::query_scalar(
        "select coalesce(string_agg(line, E'\\n' order by line), '') from (
            select format('%s.%s.%s %s %s %s', table_schema, table_name, column_name, data_type, is_nullable, column_default)
            from information_schema.columns where table_schema in ('public', 'tower_sessions')
            union all select indexdef from pg_indexes where schemaname in ('public', 'tower_sessions')
            union all select conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
            where connamespace::regnamespace::text in ('public', 'tower_sessions')
            union all select pg_get_functiondef(p.oid) from pg_proc p where p.pronamespace = 'public'::regnamespace
            and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
            union all select nspname from pg_namespace where nspname = 'tower_sessions'
        ) as schema(line) where line not like '%\\_sqlx\\_migrations%'",
    )
    .fetch_one(db)
    .await
    .unwrap()
}

/// Rows in every table there is at the end.
async fn fill(db: &PgPool) {
    for statement in [
        "insert into users (username, email, email_key) select 'p' || n, n || '@x.org', n || '@x.org' from generate_series(1, 9) n",
        "insert into tower_sessions.session values ('s', 'x', now() + interval '1 day')",
        "insert into user_sessions (session_id, user_id, user_agent) values ('s', 1, '')",
        "insert into posts (author_id, title, body, body_html, excerpt) select 1, 'T' || n, '', '', '' from generate_series(1, 9) n",
        "insert into post_ranks select id, 0, hot_rank(0, created_at), created_at from posts",
        "insert into post_search select id, created_at, search_document(title, body) from posts",
        "insert into votes (post_id, user_id) select 1, id from users",
        "insert into imported_posts select id, id from posts",
        "insert into publish_keys (author_id, key, post_id) select 1, gen_random_uuid(), id from posts",
    ] {
        sqlx::query(statement).execute(db).await.unwrap();
    }
}

#[tokio::test]
async fn every_migration_goes_up_down_and_up_again_on_a_database_with_rows() {
    let database = empty_database().await;
    let db = &database.pool;
    let versions: Vec<i64> = MIGRATIONS
        .iter()
        .filter(|m| m.migration_type.is_up_migration())
        .map(|m| m.version)
        .collect();
    let mut schemas = vec![schema(db).await];
    for version in &versions {
        migrations::go(db, Course::To(*version)).await.unwrap();
        schemas.push(schema(db).await);
    }
    assert!(schemas.windows(2).all(|pair| pair[0] != pair[1]), "each changes the schema");
    assert_eq!(migrations::mismatch(db).await.unwrap(), None);
    fill(db).await;

    for at in (0..versions.len()).rev() {
        migrations::go(db, Course::Down(1)).await.unwrap();
        assert_eq!(schema(db).await, schemas[at], "down from {}", versions[at]);
    }
    assert_eq!(migrations::mismatch(db).await.unwrap(), Some(Mismatch::Behind));
    migrations::go(db, Course::Up).await.unwrap();
    migrations::go(db, Course::Up).await.unwrap();
    assert_eq!(&schema(db).await, schemas.last().unwrap());
    fill(db).await;

    // To any recorded point, back and forth.
    for at in [2, 5, 0, 3, versions.len()] {
        let version = if at == 0 { 0 } else { versions[at - 1] };
        migrations::go(db, Course::To(version)).await.unwrap();
        assert_eq!(schema(db).await, schemas[at], "to {version}");
        let applied = migrations::status(db).await.unwrap();
        assert_eq!(applied.iter().filter(|step| step.state == State::Applied).count(), at);
    }
    migrations::go(db, Course::Down(99)).await.unwrap();
    assert_eq!(schema(db).await, schemas[0]);
    assert!(migrations::go(db, Course::To(4711)).await.is_err());
}

#[tokio::test]
async fn to_look_at_the_state_writes_nothing() {
    let database = empty_database().await;
    let steps = migrations::status(&database.pool).await.unwrap();
    assert!(steps.iter().all(|step| step.state == State::Pending));
    let history: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert!(!history);
}

#[tokio::test]
async fn a_schema_that_is_ahead_changed_or_half_done_is_named() {
    let database = empty_database().await;
    let db = &database.pool;
    migrations::go(db, Course::Up).await.unwrap();
    let with = async |change: &str, undo: &str| {
        sqlx::query(change).execute(db).await.unwrap();
        let found = migrations::mismatch(db).await.unwrap();
        sqlx::query(undo).execute(db).await.unwrap();
        found
    };
    let ahead = with(
        "insert into _sqlx_migrations values (9999, 'later', now(), true, '', 0)",
        "delete from _sqlx_migrations where version = 9999",
    );
    assert_eq!(ahead.await, Some(Mismatch::Ahead));
    let half = with(
        "update _sqlx_migrations set success = false where version = 6",
        "update _sqlx_migrations set success = true where version = 6",
    );
    assert_eq!(half.await, Some(Mismatch::Unfinished));
    let changed = with("update _sqlx_migrations set checksum = 'x' where version = 6", "select 1");
    assert_eq!(changed.await, Some(Mismatch::Foreign));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_that_migrate_at_once_wait_for_each_other() {
    let database = empty_database().await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let db = database.pool.clone();
        all.spawn(async move { migrations::go(&db, Course::Up).await });
    }
    assert!(all.join_all().await.iter().all(Result::is_ok));
    assert_eq!(migrations::mismatch(&database.pool).await.unwrap(), None);
}
