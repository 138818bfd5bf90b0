//! A site in a file and back, and what is no such file.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;
use social_post::{
    backup::{Client, db as backup_db},
    database::{
        local::{LocalPostgres, programs},
        migrations::{self, Target},
    },
    transfer::tables::{Backup, TABLES},
};
use sqlx::{Executor as _, PgPool};

use crate::{
    cli::complaint,
    program::social_post,
    support::{Caller, Database, PASSWORD, TestSite, database, empty_database, empty_directory},
};

fn run(database: &Database, arguments: &[&str]) -> Output {
    social_post(arguments, &[("DATABASE_URL", &database.url)])
}

#[track_caller]
fn done(output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words}{}", String::from_utf8_lossy(&output.stdout));
    words
}

/// Every row of every table that a backup keeps, as one number each.
async fn digests(db: &PgPool) -> Vec<(String, String)> {
    let mut digests = Vec::new();
    for table in TABLES.iter().filter(|table| !matches!(table.backup, Backup::LeftOut(_))) {
        // A restore ends all tokens.
        let columns = match table.name {
            "users" => {
                "id, username, email, email_key, password_hash, role, suspended_at, created_at, email_confirmed_at"
            }
            _ => "*",
        };
        let table = table.name;
        let digest = format!(
            "select count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' order by t::text)), '')
            from (select {columns} from {table}) t"
        );
        let digest = sqlx::query_scalar(&digest).fetch_one(db).await.unwrap();
        digests.push((table.to_owned(), digest));
    }
    digests
}

/// A member with a session and a token, posts and votes of many, and an imported file.
async fn furnished(database: &Database) -> (TestSite, Caller) {
    let site = TestSite::over(database.options(), "http://site.test");
    let ada = site.member("ada").await;
    let key = [("title", "With ünïcode ✓"), ("url", ""), ("body", "Some *words*\\\n\ttab")];
    assert_eq!(ada.post("/posts", &key).await.status, 303);
    for statement in [
        "insert into users (username) select 'p' || n from generate_series(1, 60) n",
        "insert into posts (author_id, title, body, body_html, excerpt, created_at)
            select u.id, 'Post ' || u.username, '', '', '', now() - u.id * interval '1 hour' from users u",
        "insert into post_ranks select p.id, 0, hot_rank(0, p.created_at), p.created_at from posts p on conflict do nothing",
        "insert into post_search select id, created_at, search_document(title, body) from posts on conflict do nothing",
        "insert into imported_posts select id, id from posts where id > 3",
        "insert into known_devices (user_id, key) select id, 'k' from users",
        "insert into mailed_links (user_id, purpose, key) values (1, 'password', 'k')",
    ] {
        site.db.execute(statement).await.unwrap();
    }
    assert_eq!(ada.post("/posts/1/vote", &[("value", "1")]).await.status, 303);
    let program = site.caller_of("ada").await;
    assert_eq!(program.get("/users/me").await.status, 200);
    (site, program)
}

fn file(name: &str) -> PathBuf {
    empty_directory("backup").join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_has_all_posts_votes_and_people_and_no_sessions() {
    let source = database().await;
    let (site, program) = furnished(&source).await;
    let file = file("site.dump");
    let path = file.to_str().unwrap();

    let words = done(&run(&source, &["backup", path]));
    assert!(words.contains("MB in"), "{words}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!file.with_added_extension("part").exists());
    let line = complaint(&run(&source, &["backup", path]), 2);
    assert!(line.contains("exists already"), "{line}");
    // Still a dump like any other.
    let bin = programs::clients(15).unwrap();
    let list = Command::new(bin.join("pg_restore")).args(["--list", path]).output().unwrap();
    assert!(
        list.status.success()
            && String::from_utf8_lossy(&list.stdout).contains("TABLE DATA public posts")
    );
    let whole =
        Command::new(bin.join("pg_restore")).args(["--file=/dev/null", path]).output().unwrap();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));

    let line = complaint(&run(&source, &["restore", path]), 1);
    assert!(line.contains("has tables already"), "{line}");

    let target = empty_database().await;
    let words = done(&run(&target, &["restore", path]));
    assert!(words.contains("restored 61 people, 62 posts, 1 vote in"), "{words}");
    assert_eq!(digests(&target.pool).await, digests(&source.pool).await);
    let restored = TestSite::over(target.options(), "http://site.test");
    for table in TABLES.iter().filter(|table| matches!(table.backup, Backup::LeftOut(_))) {
        let table = table.name;
        assert_eq!(restored.count(&format!("select count(*) from {table}")).await, 0, "{table}");
    }
    assert_eq!(restored.wrong_scores().await, []);
    let program = Caller { token: program.token, ..restored.caller() };
    assert_eq!(program.get("/users/me").await.status, 401, "the token is over");
    let fields = [("login", "ada"), ("password", PASSWORD)];
    assert_eq!(restored.visitor().post("/login", &fields).await.status, 303);
    // The next ids are free ones.
    let program = restored.caller_of("ada").await;
    let reply = program.post("/posts", &json!({ "title": "After the restore" })).await;
    assert_eq!(reply.status, 201, "{}", reply.body);

    // The same into a cluster of the program's own, which is made for it.
    let data = empty_directory("restored").join("data");
    let settings = [("DATA_DIR", data.to_str().unwrap())];
    done(&social_post(&["restore", path], &settings));
    let local = LocalPostgres::start(&data).await.unwrap();
    let db = PgPool::connect_lazy_with(local.connect_options());
    let same = digests(&db).await;
    let again = data.join("again.dump");
    let words = social_post(&["backup", again.to_str().unwrap()], &settings);
    db.close().await;
    local.stop().await;
    assert_eq!(same, digests(&site.db).await);
    done(&words);
    fs::remove_dir_all(&data).unwrap();

    let stream = run(&source, &["backup", "-"]);
    done(&stream);
    fs::write(again_in(&file), &stream.stdout).unwrap();
    let target = empty_database().await;
    done(&run(&target, &["restore", again_in(&file).to_str().unwrap()]));
}

fn again_in(file: &Path) -> PathBuf {
    file.with_file_name("streamed.dump")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_during_votes_is_one_consistent_snapshot() {
    let source = database().await;
    let (site, _) = furnished(&source).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let voting = tokio::spawn({
        let (bob, is_over) = (site.member("bob").await, is_over.clone());
        async move {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                for post in 1..=40 {
                    let value = if (count / 40) % 2 == 0 { "1" } else { "0" };
                    let reply = bob.post(&format!("/posts/{post}/vote"), &[("value", value)]).await;
                    assert_eq!(reply.status, 303);
                    count += 1;
                }
            }
            count
        }
    });
    let file = file("busy.dump");
    let (path, url) = (file.to_str().unwrap().to_owned(), source.url.clone());
    let output = tokio::task::spawn_blocking(move || {
        social_post(&["backup", &path], &[("DATABASE_URL", &url)])
    });
    done(&output.await.unwrap());
    is_over.store(true, Ordering::Relaxed);
    assert!(voting.await.unwrap() > 0);

    let target = empty_database().await;
    // Its own check of the counters would end it with 3.
    done(&run(&target, &["restore", file.to_str().unwrap()]));
    let restored = TestSite::over(target.options(), "http://site.test");
    assert_eq!(restored.wrong_scores().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_foreign_or_newer_backup_is_refused_and_nothing_is_touched() {
    let source = database().await;
    furnished(&source).await;
    let good = file("good.dump");
    done(&run(&source, &["backup", good.to_str().unwrap()]));
    let bytes = fs::read(&good).unwrap();
    let target = empty_database().await;
    let refused = async |name: &str, bytes: &[u8], says: &str| {
        let bad = file(name);
        fs::write(&bad, bytes).unwrap();
        let line = complaint(&run(&target, &["restore", bad.to_str().unwrap()]), 1);
        assert!(line.contains(says), "{name}: {line}");
        assert!(backup_db::is_empty(&target.pool).await.unwrap(), "{name}");
    };

    for keep in [5, 60, bytes.len() / 2, bytes.len() - 200, bytes.len() - 93, bytes.len() - 1] {
        refused("cut", &bytes[..keep], "cut off").await;
    }
    for at in [6, bytes.len() / 4, bytes.len() / 2, bytes.len() * 3 / 4, bytes.len() - 120] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        refused("flipped", &flipped, "damaged").await;
    }
    let mut seal = bytes.clone();
    *seal.iter_mut().nth_back(1).unwrap() ^= 1;
    refused("seal", &seal, "damaged").await;
    refused("longer", &[&bytes[..], b"more"].concat(), "cut off").await;
    refused("empty", b"", "not a backup").await;
    refused("text", b"insert into users", "not a backup").await;
    let nowhere = complaint(&run(&target, &["restore", "/nowhere/file"]), 1);
    assert!(nowhere.contains("/nowhere/file"), "{nowhere}");

    // Complete and with a correct checksum, but not a backup of this site.
    let foreign = empty_database().await;
    foreign.pool.execute("create table posts (id int)").await.unwrap();
    let line = complaint(&run(&foreign, &["backup", "/nowhere/file"]), 1);
    assert!(line.contains("no Social Post"), "{line}");
    let mut dump = Vec::new();
    let client = Client::new(&foreign.options(), 15).unwrap();
    client.dump(&mut dump, |_| {}).await.unwrap();
    refused("foreign", &dump, "not a backup").await;

    let newer = database().await;
    newer
        .pool
        .execute("insert into _sqlx_migrations values (9999, 'later', now(), true, 'x', 0)")
        .await
        .unwrap();
    let mut dump = Vec::new();
    let client = Client::new(&newer.options(), 15).unwrap();
    client.dump(&mut dump, |_| {}).await.unwrap();
    refused("newer", &dump, "newer Social Post").await;

    // An older one is brought up to date.
    let older = database().await;
    migrations::migrate(&older.pool, Target::To(6)).await.unwrap();
    let file = file("older.dump");
    done(&run(&older, &["backup", file.to_str().unwrap()]));
    done(&run(&target, &["restore", file.to_str().unwrap()]));
    assert_eq!(migrations::mismatch(&target.pool).await.unwrap(), None);
}
