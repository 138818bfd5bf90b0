use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use social_post::database::{
    MIGRATIONS,
    migrations::{self, Mismatch, State, Target},
};
use sqlx::PgPool;

use crate::{
    program::social_post,
    support::{Database, TestSite, Visitor, database, empty_database},
};

/// Everything that makes up the schema, as one text.
/// Without what the ways down from 0009 and 0012 leave, until its table goes, for programs that still run.
async fn schema(db: &PgPool) -> String {
    sqlx::query_scalar(
        "select coalesce(string_agg(line, E'\\n' order by line), '') from (
            select format('%s.%s.%s %s %s %s', table_schema, table_name, column_name, data_type, is_nullable, column_default)
            from information_schema.columns where table_schema in ('public', 'tower_sessions') and column_name not like 'fell\\_%'
            and (table_name, column_name) not in (('password_tries', 'login'), ('password_tries', 'network'), ('password_tries', 'by_email'))
            union all select indexdef from pg_indexes where schemaname in ('public', 'tower_sessions')
            union all select conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
            where connamespace::regnamespace::text in ('public', 'tower_sessions')
            union all select pg_get_functiondef(p.oid) from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname <> 'fell_since'
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
        migrations::migrate(db, Target::To(*version)).await.unwrap();
        schemas.push(schema(db).await);
    }
    assert!(schemas.windows(2).all(|pair| pair[0] != pair[1]), "each changes the schema");
    assert_eq!(migrations::mismatch(db).await.unwrap(), None);
    fill(db).await;

    for at in (0..versions.len()).rev() {
        migrations::migrate(db, Target::Down(1)).await.unwrap();
        assert_eq!(schema(db).await, schemas[at], "down from {}", versions[at]);
    }
    assert_eq!(migrations::mismatch(db).await.unwrap(), Some(Mismatch::Behind));
    migrations::migrate(db, Target::Up).await.unwrap();
    migrations::migrate(db, Target::Up).await.unwrap();
    assert_eq!(&schema(db).await, schemas.last().unwrap());
    fill(db).await;

    // To any recorded point, back and forth.
    for at in [2, 5, 0, 3, versions.len()] {
        let version = if at == 0 { 0 } else { versions[at - 1] };
        migrations::migrate(db, Target::To(version)).await.unwrap();
        assert_eq!(schema(db).await, schemas[at], "to {version}");
        let applied = migrations::status(db).await.unwrap();
        assert_eq!(applied.iter().filter(|step| step.state == State::Applied).count(), at);
    }
    migrations::migrate(db, Target::Down(99)).await.unwrap();
    assert_eq!(schema(db).await, schemas[0]);
    assert!(migrations::migrate(db, Target::To(4711)).await.is_err());
}

#[tokio::test]
async fn migrate_status_writes_nothing() {
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
async fn a_schema_that_is_ahead_changed_or_half_migrated_is_named() {
    let database = empty_database().await;
    let db = &database.pool;
    migrations::migrate(db, Target::Up).await.unwrap();
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
async fn concurrent_migrations_wait_for_each_other() {
    let database = empty_database().await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let db = database.pool.clone();
        all.spawn(async move { migrations::migrate(&db, Target::Up).await });
    }
    assert!(all.join_all().await.iter().all(Result::is_ok));
    assert_eq!(migrations::mismatch(&database.pool).await.unwrap(), None);
}

// --- While the site serves ---

const POSTS: i64 = 20_000;

async fn fill_a_lot(db: &PgPool) {
    for statement in [
        "insert into users (username) select 'p' || n from generate_series(1, 50) n".to_owned(),
        format!(
            "insert into posts (author_id, title, body, body_html, excerpt, created_at)
            select 1 + n % 50, 'Post number ' || n, '', '', '', now() - n * interval '1 minute'
            from generate_series(1, {POSTS}) n"
        ),
        "insert into votes (post_id, user_id) select p.id, u.id from posts p join users u on u.id <= p.id % 4".to_owned(),
        "insert into post_ranks select p.id, p.id % 4, hot_rank(p.id % 4, p.created_at), p.created_at from posts p".to_owned(),
        "insert into post_search select id, created_at, search_document(title, body) from posts".to_owned(),
        "insert into imported_posts select id, id from posts limit 100".to_owned(),
        "analyze".to_owned(),
    ] {
        sqlx::query(&statement).execute(db).await.unwrap();
    }
}

async fn migrate(database: &Database, arguments: &'static [&'static str]) -> (i32, String, String) {
    let url = database.url.clone();
    let run = move || social_post(&[&["migrate"], arguments].concat(), &[("DATABASE_URL", &url)]);
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[derive(Clone, Copy)]
enum Habit {
    Read(&'static str),
    Search,
    Vote,
    Publish,
}

impl Habit {
    async fn act(self, visitor: &Visitor, nth: usize) -> u16 {
        let reply = match self {
            Habit::Read(path) => visitor.get(path).await,
            Habit::Search => visitor.get(&format!("/search?q=number+{nth}")).await,
            Habit::Vote => {
                let value = if nth.is_multiple_of(2) { "0" } else { "1" };
                visitor.post(&format!("/posts/{}/vote", 5 + nth % 7), &[("value", value)]).await
            }
            Habit::Publish => {
                let title = format!("From the crowd {nth}");
                let fields = [("title", title.as_str()), ("url", ""), ("body", "")];
                let key = uuid::Uuid::now_v7().to_string();
                visitor.post("/posts", &[&fields[..], &[("key", key.as_str())]].concat()).await
            }
        };
        reply.status.as_u16()
    }

    fn name(self) -> &'static str {
        match self {
            Habit::Read(path) => path,
            Habit::Search => "searching",
            Habit::Vote => "voting",
            Habit::Publish => "publishing",
        }
    }
}

/// People who use the site until they are told to stop, and which of their requests failed.
struct Crowd {
    is_over: Arc<AtomicBool>,
    failures: Arc<Mutex<Vec<(&'static str, u16)>>>,
    served: Arc<AtomicUsize>,
    tasks: tokio::task::JoinSet<()>,
}

impl Crowd {
    async fn new(site: &TestSite) -> Crowd {
        let mut crowd = Crowd {
            is_over: Arc::default(),
            failures: Arc::default(),
            served: Arc::default(),
            tasks: tokio::task::JoinSet::new(),
        };
        for path in ["/", "/new", "/top?t=all", "/users/p2", "/posts/77"] {
            crowd.join(Habit::Read(path), site.visitor());
        }
        crowd.join(Habit::Search, site.visitor());
        crowd.join(Habit::Vote, site.member("bob").await);
        crowd.join(Habit::Publish, site.member("cy").await);
        crowd
    }

    fn join(&mut self, habit: Habit, visitor: Visitor) {
        let (is_over, failures) = (self.is_over.clone(), self.failures.clone());
        let served = self.served.clone();
        self.tasks.spawn(async move {
            for nth in 1.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                match habit.act(&visitor, nth).await {
                    status @ 500.. => failures.lock().unwrap().push((habit.name(), status)),
                    _ => _ = served.fetch_add(1, Ordering::Relaxed),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Lets another hundred requests come through.
    async fn go_on(&self) {
        let enough = self.served.load(Ordering::Relaxed) + 100;
        while self.served.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What failed since the last time, but for what may.
    fn failures(&self, may: &[&str]) -> Vec<(&'static str, u16)> {
        let mut failures = std::mem::take(&mut *self.failures.lock().unwrap());
        failures.retain(|(what, status)| !(may.contains(what) && *status == 503));
        failures
    }
}

/// Watches how long anybody's statement waits for a lock, in seconds, until it is told to stop.
fn watch_waits(db: PgPool, is_over: Arc<AtomicBool>) -> tokio::task::JoinHandle<f64> {
    tokio::spawn(async move {
        let mut longest = 0.0_f64;
        while !is_over.load(Ordering::Relaxed) {
            let wait: f64 = sqlx::query_scalar(
                "select coalesce(max(extract(epoch from clock_timestamp() - query_start)), 0)::float8
                from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock' and wait_event <> 'virtualxid'",
            )
            .fetch_one(&db)
            .await
            .unwrap();
            longest = longest.max(wait);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        longest
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_site_serves_while_migrations_go_down_and_up_on_a_filled_database() {
    let database = database().await;
    let db = &database.pool;
    fill_a_lot(db).await;
    let site = TestSite::over(database.options(), "http://site.test");
    let crowd = Crowd::new(&site).await;
    let longest = watch_waits(db.clone(), crowd.is_over.clone());
    crowd.go_on().await;
    assert_eq!(crowd.failures(&[]), []);

    // What the program of today can do without: only searching and publishing have to wait.
    let waits = &["searching", "publishing"][..];
    for (arguments, may) in [
        (&["down"][..], &["searching"][..]),
        (&["up"], &[]),
        (&["to", "7"], waits),
        (&["down"], waits),
        (&["to", "5"], waits),
        (&["up"], &[]),
    ] {
        let (code, _, words) = migrate(&database, arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {words}");
        crowd.go_on().await;
        if may.is_empty() {
            // Who came at the last moment before.
            crowd.failures(waits);
            crowd.go_on().await;
        }
        assert_eq!(crowd.failures(may), [], "after {arguments:?}");
    }

    // The search goes with its table, and finds everything again afterwards.
    assert_eq!(migrate(&database, &["to", "4"]).await.0, 0);
    crowd.go_on().await;
    assert_eq!(crowd.failures(&["publishing", "searching"]), []);
    let (code, _, words) = migrate(&database, &["up"]).await;
    assert_eq!(code, 0, "{words}");
    assert!(words.contains("search entries that were missing"), "{words}");
    crowd.failures(&["publishing", "searching"]);
    crowd.go_on().await;
    assert_eq!(crowd.failures(&[]), []);

    crowd.is_over.store(true, Ordering::Relaxed);
    crowd.tasks.join_all().await;
    let longest = longest.await.unwrap();
    assert!(longest < 2.0, "somebody waited {longest} s for a lock");
    site.visitor().get("/search?q=19999").await.has("Post number 19999");
    assert_eq!(site.wrong_scores().await, []);
    let unfound = "select count(*) from posts p where not exists (select from post_search s where s.post_id = p.id)";
    assert_eq!(site.count(unfound).await, 0);
    assert_eq!(site.count("select count(*) from posts where id <= 20000").await, POSTS);
    let valid = "select count(*) from pg_index where not indisvalid";
    assert_eq!(site.count(valid).await, 0);
    eprintln!("the longest wait for a lock: {longest} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_forecast_names_locks_and_losses_and_changes_nothing() {
    let database = database().await;
    let db = &database.pool;
    let before = schema(db).await;
    fill(db).await;
    assert_eq!(migrate(&database, &["up", "--check"]).await.1, "nothing to do\n");

    let (code, said, words) = migrate(&database, &["to", "4", "--check"]).await;
    assert_eq!(code, 0, "{said}{words}");
    for part in [
        "0008 publish keys down: AccessExclusiveLock on publish_keys: readers and writers wait",
        "0005 search down: loses the table post_search with 9 rows",
        "on posts: readers and writers wait",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert_eq!(schema(db).await, before);

    migrations::migrate(db, Target::To(4)).await.unwrap();
    let (code, said, _) = migrate(&database, &["up", "--check"]).await;
    assert_eq!(code, 0, "{said}");
    let beside = "0005 search up: builds posts_title_trgm_idx on posts beside readers and writers";
    assert!(said.contains(beside), "{said}");
    assert!(said.contains("up: ShareRowExclusiveLock on posts: writers wait"), "{said}");

    // Somebody sits on the table: the forecast says so and does not wait for them.
    let mut sitter = db.begin().await.unwrap();
    sqlx::query("select count(*) from posts").execute(&mut *sitter).await.unwrap();
    sqlx::query("lock table posts in row exclusive mode").execute(&mut *sitter).await.unwrap();
    let (code, said, _) = migrate(&database, &["up", "--check"]).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("problem: somebody holds what it has to lock"), "{said}");
    // And the way itself lets everybody pass while it waits.
    let waiting = tokio::spawn({
        let db = db.clone();
        async move { migrations::migrate(&db, Target::Up).await }
    });
    for _ in 0..10 {
        let other = tokio::time::timeout(
            Duration::from_secs(20),
            sqlx::query("update posts set title = title where id = 1").execute(db),
        );
        other.await.expect("it queued behind the migration for good").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    sitter.rollback().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(migrations::mismatch(db).await.unwrap(), None);
    assert_eq!(schema(db).await, before);
}

#[tokio::test]
async fn a_migration_keeps_an_index_until_its_replacement_exists_up_and_down() {
    let database = database().await;
    let db = &database.pool;
    fill(db).await;
    let before = schema(db).await;
    let indexes = async || -> Vec<String> {
        let asked = "select indexname::text from pg_indexes
            where tablename = 'post_search' and indexdef like '%gin%' order by 1";
        sqlx::query_scalar(asked).fetch_all(db).await.unwrap()
    };

    // Broken off on the way back: the old one is there again, and nothing is gone.
    sqlx::query("create index post_search_document_idx on post_search using gin (document) with (fastupdate = off)")
        .execute(db)
        .await
        .unwrap();
    assert_eq!(migrations::mismatch(db).await.unwrap(), None);
    let (_, said, _) = migrate(&database, &["to", "9", "--check"]).await;
    let beside = "0010 search bands down: builds post_search_document_idx on post_search beside readers and writers";
    assert!(said.contains(beside), "{said}");
    assert_eq!(migrate(&database, &["to", "9"]).await.0, 0);
    assert_eq!(indexes().await, ["post_search_document_idx"]);

    // Broken off on the way up: the old one waits for the next try.
    sqlx::query("create table post_search_spans_idx ()").execute(db).await.unwrap();
    let (code, _, words) = migrate(&database, &["to", "10"]).await;
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("post_search_spans_idx is not built"), "{words}");
    assert_eq!(indexes().await, ["post_search_document_idx"]);
    sqlx::query("drop table post_search_spans_idx").execute(db).await.unwrap();
    assert_eq!(migrate(&database, &["up"]).await.0, 0);
    assert_eq!(indexes().await, ["post_search_spans_idx"]);
    assert_eq!(schema(db).await, before);
}

#[tokio::test]
async fn a_migration_interrupted_before_its_index_was_built_is_finished_by_the_next_up() {
    let database = database().await;
    let db = &database.pool;
    fill(db).await;
    let before = schema(db).await;
    for statement in [
        "update _sqlx_migrations set success = false where version = 11",
        "drop index posts_title_spans_idx",
    ] {
        sqlx::query(statement).execute(db).await.unwrap();
    }
    assert_eq!(migrations::mismatch(db).await.unwrap(), Some(Mismatch::Unfinished));
    let (code, said, words) = migrate(&database, &["down"]).await;
    assert_eq!((code, said.as_str()), (2, ""), "{words}");
    assert!(words.contains("run `social-post migrate up` to finish it"), "{words}");
    assert_eq!(migrate(&database, &["up"]).await.0, 0);
    assert_eq!(migrations::mismatch(db).await.unwrap(), None);
    assert_eq!(schema(db).await, before);
}
