//! The doctor: each damage is named, and nothing else; what can be mended is, also while people vote.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use social_post::{
    database::{
        local::LocalPostgres,
        migrations::{self, Target},
    },
    doctor::repair,
    identity::{PostId, UserId},
    votes::{self, Ballot},
};
use sqlx::{Executor as _, PgPool};

use crate::{
    program::{command, social_post},
    support::{TestSite, empty_directory},
};

/// A cluster of the site's own, with nothing switched off for speed.
struct Local {
    data: PathBuf,
    cluster: Option<LocalPostgres>,
    /// As the superuser, in the site's database.
    db: PgPool,
}

impl Local {
    async fn new() -> Local {
        let data = empty_directory("doctor").join("data");
        let cluster = LocalPostgres::start(&data).await.unwrap();
        let app = PgPool::connect_lazy_with(cluster.connect_options());
        migrations::migrate(&app, Target::Up).await.unwrap();
        app.close().await;
        let db = PgPool::connect_lazy_with(cluster.admin_options().database("social_post"));
        Local { data, cluster: Some(cluster), db }
    }

    fn doctor(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        let all = [&["doctor"], arguments].concat();
        let data = ("DATA_DIR", self.data.to_str().unwrap());
        social_post(&all, &[&[data], settings].concat())
    }

    async fn end(mut self) {
        self.db.close().await;
        if let Some(cluster) = self.cluster.take() {
            cluster.stop().await;
        }
    }
}

/// Also where a test fails half way, nothing is left running.
impl Drop for Local {
    fn drop(&mut self) {
        let file = fs::read_to_string(self.data.join("postgres/postmaster.pid"));
        let pid = file.ok().and_then(|file| file.lines().next()?.trim().parse().ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// What was looked at in each problem named, but for the machine's own disk; held against the exit
/// code.
#[track_caller]
fn problems(output: &Output) -> Vec<String> {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    let named = |kind: &str| -> Vec<String> {
        let lines = said.lines().filter_map(|line| line.strip_prefix(kind));
        lines.map(|line| line.split_once(": ").unwrap().0.to_owned()).collect()
    };
    let problems = named("problem: ");
    for line in
        said.lines().filter(|line| line.starts_with("problem: ") || line.starts_with("note: "))
    {
        assert!(line.contains("; mend it: "), "{line}");
    }
    let code = if problems.is_empty() { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(code), "{said}{words}");
    assert_eq!(
        said.lines().last().is_some_and(|line| line.starts_with("all is well")),
        code == 0,
        "{said}"
    );
    problems.into_iter().filter(|check| check != "disk").collect()
}

const FILL: &str = "
    insert into users (username) select 'p' || n from generate_series(1, 9) n;
    insert into posts (author_id, title, body, body_html, excerpt, created_at)
        select 1 + n % 9, 'Post ' || n, 'About ' || n, '', '', now() - n * interval '1 hour' from generate_series(1, 30) n;
    insert into votes (post_id, user_id) select p.id, u.id from posts p join users u on u.id <= p.id % 9;
    insert into post_ranks select p.id, count(v.user_id), hot_rank(count(v.user_id), p.created_at), p.created_at
        from posts p left join votes v on v.post_id = p.id group by p.id;
    insert into post_search select id, created_at, search_document(title, body) from posts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_names_each_damage_and_repairs_what_is_stored_twice() {
    let local = Local::new().await;
    local.db.execute(FILL).await.unwrap();
    assert_eq!(problems(&local.doctor(&[], &[])), Vec::<String>::new());

    let damages = [
        (
            "scores",
            "update post_ranks set score = score + 3, hot = hot_rank(score + 3, created_at) where post_id = 1",
        ),
        ("scores", "delete from votes where post_id = 8 and user_id = 1"),
        ("hot", "update post_ranks set hot = hot + 1 where post_id = 2"),
        ("hot", "update post_ranks set hot = 'NaN' where post_id = 2"),
        (
            "rank-dates",
            "update post_ranks set created_at = created_at - interval '1 day',
            hot = hot_rank(score, created_at - interval '1 day') where post_id = 3",
        ),
        ("ranks", "delete from post_ranks where post_id = 4"),
        ("search", "delete from post_search where post_id = 5"),
        ("search-words", "update post_search set document = 'other' where post_id = 6"),
        ("search-dates", "update post_search set created_at = now() where post_id = 7"),
        (
            "orphans",
            "set session_replication_role = replica;
            insert into post_ranks values (999, 0, 0, now());
            insert into post_search values (998, now(), '');
            set session_replication_role = origin",
        ),
    ];
    for (check, damage) in damages {
        local.db.execute(damage).await.unwrap();
        assert_eq!(problems(&local.doctor(&[], &[])), [check], "{damage}");
        let mended = local.doctor(&["--repair"], &[]);
        assert_eq!(problems(&mended), Vec::<String>::new(), "{damage}");
        assert!(String::from_utf8_lossy(&mended.stdout).contains("mended: "), "{damage}");
    }
    // All of it at once.
    for (_, damage) in damages {
        local.db.execute(damage).await.unwrap();
    }
    assert_eq!(problems(&local.doctor(&["--repair"], &[])), Vec::<String>::new());
    assert_eq!(problems(&local.doctor(&[], &[])), Vec::<String>::new());

    // What only the operator can mend, and how it is put right again.
    for (check, damage, undo) in [
        (
            "orphan-votes",
            "set session_replication_role = replica; insert into votes values (997, 1);
            set session_replication_role = origin",
            "delete from votes where post_id = 997",
        ),
        (
            "sweep",
            "insert into tower_sessions.session values ('s', '', now() - interval '2 hours')",
            "delete from tower_sessions.session",
        ),
        (
            "indexes",
            "update pg_index set indisvalid = false where indexrelid = 'votes_user_id_idx'::regclass",
            "update pg_index set indisvalid = true where indexrelid = 'votes_user_id_idx'::regclass",
        ),
        (
            "connections",
            "alter role social_post connection limit 5",
            "alter role social_post connection limit -1",
        ),
        (
            "durability",
            "alter database social_post set synchronous_commit = off",
            "alter database social_post reset synchronous_commit",
        ),
        (
            "server-log",
            "alter database social_post set log_statement = 'mod';
            alter database social_post set log_parameter_max_length = -1",
            "alter database social_post reset all",
        ),
        (
            "schema",
            "update _sqlx_migrations set success = false where version = 8",
            "update _sqlx_migrations set success = true",
        ),
        (
            "schema",
            "insert into _sqlx_migrations values (9999, 'later', now(), true, '', 0)",
            "delete from _sqlx_migrations where version = 9999",
        ),
    ] {
        local.db.execute(damage).await.unwrap();
        assert_eq!(problems(&local.doctor(&[], &[])), [check], "{damage}");
        local.db.execute(undo).await.unwrap();
    }

    // And outside of the database.
    assert_eq!(problems(&local.doctor(&[], &[("RATE_LIMITS", "off")])), ["rate-limits"]);
    let secret = local.data.join("jwt-secret");
    fs::write(&secret, "x").unwrap();
    chmod(&secret, 0o644);
    assert_eq!(problems(&local.doctor(&[], &[])), ["secret-files"]);
    chmod(&secret, 0o600);
    chmod(&local.data, 0o777);
    assert_eq!(problems(&local.doctor(&[], &[])), ["data-dir"]);
    chmod(&local.data, 0o711);
    let cwd = empty_directory("dotenv");
    let env = cwd.join(".env");
    fs::write(&env, "JWT_SECRET=5b1c0d9f7e3a48266f1e8c7b0a9d3e52\n").unwrap();
    for (mode, found) in [(0o644, &["secret-files"][..]), (0o600, &[])] {
        chmod(&env, mode);
        let data = [("DATA_DIR", local.data.to_str().unwrap())];
        let output = command(&["doctor"], &data).current_dir(&cwd).output().unwrap();
        assert_eq!(problems(&output), found);
    }
    assert_eq!(problems(&local.doctor(&[], &[])), Vec::<String>::new());
    local.end().await;
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn doctor_reports_a_database_that_is_away_or_not_created_yet() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let url = format!("postgres://canary7f3a:canary7f3a@127.0.0.1:{port}/nothing");
    let output = social_post(&["doctor"], &[("DATABASE_URL", &url)]);
    assert_eq!(problems(&output), ["database"]);
    let said = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8_lossy(&said).contains("canary7f3a"));

    let data = empty_directory("nothing").join("data");
    let output = social_post(&["doctor"], &[("DATA_DIR", data.to_str().unwrap())]);
    assert_eq!(problems(&output), Vec::<String>::new());
    assert!(!data.exists(), "to look makes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_during_many_votes_loses_no_vote_and_ends_exact() {
    let site = TestSite::new().await;
    let mut posts = Vec::new();
    for nth in 1..=40 {
        posts.push(site.post_by("ada", &format!("Post {nth}")).await);
    }
    let fill = "insert into users (username) select 'v' || n from generate_series(1, 40) n;
        insert into votes (post_id, user_id) select p.id, u.id from posts p join users u on u.username in ('v1', 'v2', 'v3');
        update post_ranks set score = 3, hot = hot_rank(3, created_at)";
    site.db.execute(fill).await.unwrap();
    let voters: Vec<i64> =
        sqlx::query_scalar("select id from users where username like 'v%' order by id offset 3")
            .fetch_all(&site.db)
            .await
            .unwrap();

    let is_over = Arc::new(AtomicBool::new(false));
    let mut crowd = tokio::task::JoinSet::new();
    for chunk in voters.chunks(10) {
        let (db, chunk, posts) = (site.app.db.clone(), chunk.to_vec(), posts.clone());
        let is_over = is_over.clone();
        crowd.spawn(async move {
            for nth in 0_usize.. {
                if is_over.load(Ordering::Relaxed) {
                    return nth;
                }
                let post = PostId(posts[(nth * 7) % posts.len()]);
                let voter = UserId(chunk[nth % chunk.len()]);
                let ballot = if (nth / 40) % 2 == 0 { Ballot::Cast } else { Ballot::TakeBack };
                votes::db::set(&db, voter, votes::Target::Post(post), ballot).await.unwrap();
            }
            0
        });
    }
    for round in 0..12 {
        // Off in both directions, and some without a rank at all.
        let damage = format!(
            "update post_ranks set score = score + 2, hot = 0 where post_id % 3 = {};
            update post_ranks set score = score - 1 where post_id % 3 = {};
            delete from post_search where post_id % 4 = {}",
            round % 3,
            (round + 1) % 3,
            round % 4
        );
        site.db.execute(damage.as_str()).await.unwrap();
        if round % 4 == 0 {
            site.db.execute("delete from post_ranks where post_id % 5 = 0").await.unwrap();
        }
        let (one, other) = tokio::join!(repair::all(&site.db), repair::all(&site.db));
        one.unwrap();
        other.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    let cast: usize = crowd.join_all().await.into_iter().sum();

    assert!(cast > 100, "only {cast} votes came in between");
    assert_eq!(site.wrong_scores().await, []);
    for table in ["post_ranks", "post_search"] {
        assert_eq!(site.count(&format!("select count(*) from {table}")).await, 40, "{table}");
    }
}
