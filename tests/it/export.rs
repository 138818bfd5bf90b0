//! A whole site as a file, and the file as a whole site again.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use proptest::{
    prelude::{Just, Strategy, any, prop_oneof},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use sha2::{Digest as _, Sha256};
use social_post::{
    identity::Username,
    posts::{Body, Title},
};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    program,
    support::{self, Database, PASSWORD, TestSite},
};

#[tokio::test]
async fn an_export_of_a_random_site_imports_as_it_was_and_the_site_goes_on() {
    let mut chance = TestRunner::deterministic();
    for round in 0..4 {
        let first = support::database().await;
        let ada = TestSite {
            db: first.pool.clone(),
            ..TestSite::over(first.options(), "http://site.test")
        };
        ada.member("ada").await;
        populate(&first.pool, &mut chance, round * 40).await;
        let (file, again) = (path(), path());

        let told = export(&first, &file);
        assert!(last_line(&told).ends_with(" exported"), "{}", last_line(&told));
        let second = support::database().await;
        let told = import(&second, &file);
        assert_eq!(told.status.code(), Some(0), "{}", last_line(&told));
        export(&second, &again);

        assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap(), "round {round} differs");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let moved = TestSite {
            db: second.pool.clone(),
            ..TestSite::over(second.options(), "http://site.test")
        };
        assert!(moved.wrong_scores().await.is_empty());
        for what in [
            "select string_agg(p::text, ' ' order by id) from (select id, body_html, excerpt from posts) p",
            "select string_agg(s::text, ' ' order by post_id) from post_search s",
            "select string_agg(r::text, ' ' order by post_id) from post_ranks r",
            "select string_agg(u::text, ' ' order by id) from users u",
        ] {
            let of = async |db: &PgPool| -> Option<String> {
                sqlx::query_scalar(what).fetch_one(db).await.unwrap()
            };
            assert_eq!(of(&first.pool).await, of(&second.pool).await, "{what}");
        }
        let visitor = moved.visitor();
        let reply = visitor.post("/login", &[("login", "ada"), ("password", PASSWORD)]).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let next = |site: &TestSite| {
            let db = site.db.clone();
            async move {
                let next = "select nextval('posts_id_seq'), nextval('users_id_seq')";
                sqlx::query_as::<_, (i64, i64)>(next).fetch_one(&db).await.unwrap()
            }
        };
        assert_eq!(
            next(&ada).await,
            next(&moved).await,
            "no id is given twice, not even one of what is gone"
        );

        let refused = crate::cli::complaint(&import(&second, &file), 1);
        assert!(refused.starts_with("this site has people or posts already"), "{refused}");
    }
}

#[tokio::test]
async fn an_export_is_one_consistent_snapshot_despite_concurrent_writes() {
    let db = support::database().await;
    run(
        &db.pool,
        "insert into users (username) select 'voter-' || n from generate_series(1, 50) n;
        insert into posts (author_id, title, body, body_html, excerpt) select 1, 'Title ' || n, repeat('word ', 400), '', '' from generate_series(1, 400) n;
        insert into votes select p, u from generate_series(1, 400) p, generate_series(1, 50) u",
    )
    .await;
    let mut child = program::command(&["export"], &[("DATABASE_URL", &db.url)])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    // By now it has begun, and it cannot end before somebody reads on.
    output.read_line(&mut text).unwrap();
    run(&db.pool, "delete from votes where user_id = 7; delete from posts where id > 200; insert into users (username) values ('late')").await;
    output.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());

    let second = support::database().await;
    let mut child = program::command(&["import", "export", "-"], &[("DATABASE_URL", &second.url)])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let told = child.wait_with_output().unwrap();

    let last = last_line(&told);
    assert!(last.starts_with("400 posts, 50 people and 20000 votes imported in "), "{last}");
}

#[tokio::test]
async fn a_damaged_truncated_or_foreign_export_is_refused_with_its_line_and_nothing_is_touched() {
    let db = support::database().await;
    let at = r#""2026-01-02T03:04:05.000006Z""#;
    let hash = "$2b$04$abcdefghijklmnopqrstuuNEKbR2W1rTNxbFZpRj1Vx0KxkLzP3yG";
    let person = |id: i64, name: &str, email: &str| {
        format!(
            r#"{{"kind":"person","id":{id},"username":"{name}","email":{email},"email_confirmed_at":null,"password_hash":"{hash}","auth_epoch":0,"role":"member","suspended_at":null,"created_at":{at}}}"#
        )
    };
    let post = |id: i64, author: i64, title: &str| {
        format!(
            r#"{{"kind":"post","id":{id},"author":{author},"title":"{title}","url":null,"body":"","created_at":{at},"edited_at":null}}"#
        )
    };
    let vote = |post: i64, voter: i64| {
        format!(r#"{{"kind":"vote","post":{post},"voter":{voter},"created_at":{at}}}"#)
    };
    let import_of = |source: i64, post: &str| {
        format!(r#"{{"kind":"import","source_id":{source},"post":{post}}}"#)
    };
    let good = vec![
        r#"{"kind":"header","format":"social-post","version":1,"last_person":9,"last_post":9}"#
            .to_owned(),
        person(1, "ada", r#""ada@a.test""#),
        person(2, "bob", "null"),
        post(3, 1, "First"),
        post(4, 2, "Second"),
        vote(3, 2),
        vote(4, 1),
        import_of(70, "3"),
    ];
    // A line put in the place of another, with a sum that fits: only the line itself is wrong.
    let with = |line: usize, text: &str| {
        let mut lines = good.clone();
        lines[line - 1] = text.to_owned();
        sealed(&lines)
    };
    let whole = sealed(&good);
    let cut = |lines: usize| {
        whole.lines().take(lines).fold(String::new(), |text, line| text + line + "\n")
    };
    let nul = format!("Nul{}u0000", '\\');
    let cases: Vec<(String, &str)> = vec![
        (String::new(), "line 1: this is not an export of Social Post"),
        ("id,title\n1,x\n".to_owned(), "line 1: this is not an export of Social Post"),
        ("{}\n".to_owned(), "line 1: this is not an export of Social Post"),
        (
            with(1, &good[0].replace("social-post", "other")),
            "line 1: this is not an export of Social Post",
        ),
        (
            with(1, &good[0].replace(":1,", ":2,")),
            "line 1: the export is of version 2, and this program reads version 1",
        ),
        (with(1, &good[0].replace(":9,", ":-9,")), "line 1: the header's last ids are not numbers"),
        (cut(1), "line 2: the export ends before its last line: it was cut off"),
        (cut(8), "line 9: the export ends before its last line: it was cut off"),
        (
            whole[..whole.len() - 5].to_owned(),
            "line 9: the export ends before its last line: it was cut off",
        ),
        (format!("{whole}\n"), "line 10: there is something after the last line"),
        (
            whole.replacen("First", "Fjrst", 1),
            "line 9: the checksum does not fit the lines before: the file is damaged",
        ),
        (
            whole.replacen(&format!("{}\n", vote(3, 2)), "", 1),
            "line 8: the counts do not fit the lines before",
        ),
        (whole.replacen("\"version\":1", "\"version\":1 ", 1), "line 9: the checksum does not fit"),
        (with(3, "{\"kind\":\"person\""), "line 3: EOF while parsing"),
        (
            with(
                3,
                &person(2, "bob", "null").replace("null,\"pass", "null,\"is_god\":true,\"pass"),
            ),
            "line 3: unknown field `is_god`",
        ),
        (
            with(3, &person(2, "bob", "null").replace("member", "root")),
            "line 3: unknown variant `root`",
        ),
        (
            with(3, &person(2, "b b", "null")),
            "line 3: username: A user name has 2 to 30 characters",
        ),
        (with(3, &person(2, "ADA", "null")), "line 3: username is taken already"),
        (with(3, &person(2, "bob", r#""ADA@a.TEST""#)), "line 3: email is taken already"),
        (
            with(3, &person(2, "bob", r#""a\r\n@a.test""#)),
            "line 3: email: This is not an e-mail address",
        ),
        (
            with(3, &person(2, "bob", "null").replace(hash, "plain")),
            "line 3: password_hash is not a hash that this program can check",
        ),
        (
            with(3, &person(2, "bob", "null").replace("2026-01", "1926-01")),
            "line 3: a time is not a date since 1970",
        ),
        (with(3, &person(1, "bob", "null")), "line 3: ids do not rise"),
        (with(3, &person(0, "bob", "null")), "line 3: an id is not a number from 1"),
        (
            with(3, &person(10, "bob", "null")),
            "line 3: the id is larger than the header's last one",
        ),
        (with(3, &good[0]), "line 3: does not belong here"),
        (with(4, &post(3, 7, "First")), "line 4: there is no such author before it"),
        (with(4, &post(3, 1, " ")), "line 4: title: Give your post a title."),
        (
            with(4, &post(3, 1, &nul)),
            "line 4: title: The title has a character that cannot be stored",
        ),
        (
            with(4, &post(3, 1, "T").replace("null,\"body", "\"javascript:alert(1)\",\"body")),
            "line 4: url: Enter a full address",
        ),
        (
            with(
                4,
                &post(3, 1, "T").replace("body\":\"", &format!("body\":\"{}", "x".repeat(40_001))),
            ),
            "line 4: body: Keep the text",
        ),
        (
            with(
                4,
                &post(3, 1, "T").replace("body\":\"", &format!("body\":\"{}", "x".repeat(1 << 20))),
            ),
            "line 4: is longer than any line",
        ),
        (
            with(4, &post(3, 1, "T").replace("\"body", "\"body_html\":\"<script>\",\"body")),
            "line 4: unknown field `body_html`",
        ),
        (with(6, &vote(5, 2)), "line 6: there is no such post before it"),
        (with(6, &vote(3, 3)), "line 6: there is no such voter before it"),
        (with(7, &vote(3, 2)), "line 7: ids do not rise"),
        (with(7, &person(5, "late", "null")), "line 7: does not belong here"),
        (with(8, &import_of(70, "9")), "line 8: there is no such post before it"),
        (with(8, &import_of(0, "3")), "line 8: an id is not a number"),
    ];
    for (text, words) in &cases {
        let file = path();
        fs::write(&file, text).unwrap();
        let refused = crate::cli::complaint(&import(&db, &file), 1);
        let is_named = refused.starts_with(&format!("{}, {words}", file.display()));
        assert!(is_named && refused.ends_with("; nothing was imported"), "{words}: {refused}");
    }
    let file = path();
    fs::write(&file, b"{\"kind\":\"header\"\xFF}\n").unwrap();
    assert!(crate::cli::complaint(&import(&db, &file), 1).contains("this is not an export"));
    assert!(
        crate::cli::complaint(&import(&db, Path::new("nowhere.ndjson")), 1)
            .contains("there is no file /")
    );
    assert!(crate::cli::complaint(&import(&db, Path::new("/")), 1).contains("/ is a directory"));
    let state: (i64, bool) =
        sqlx::query_as("select (select count(*) from users), is_called from users_id_seq")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(state, (0, false));

    fs::write(&file, &whole).unwrap();
    let told = import(&db, &file);
    assert!(
        last_line(&told).starts_with("2 posts, 2 people and 2 votes imported"),
        "{}",
        last_line(&told)
    );
}

/// The lines with a last one that fits them.
fn sealed(lines: &[String]) -> String {
    let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
    let of = |kind: &str| {
        lines.iter().filter(|line| line.starts_with(&format!(r#"{{"kind":"{kind}""#))).count()
    };
    let (people, posts, votes, imports) = (of("person"), of("post"), of("vote"), of("import"));
    let sum = format!("{:x}", Sha256::digest(&text));
    format!(
        "{text}{{\"kind\":\"end\",\"people\":{people},\"posts\":{posts},\"votes\":{votes},\"imports\":{imports},\"sha256\":\"{sum}\"}}\n"
    )
}

/// People, posts, votes and ids of imports as chance has them, beside the one person who is there.
async fn populate(db: &PgPool, chance: &mut TestRunner, posts: usize) {
    let moment = (0_i64..1_790_000_000_000_000).prop_map(|micros| {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap()
    });
    let name = "[A-Za-z0-9_-]{2,30}".prop_filter("a name", |name| Username::parse(name).is_ok());
    let title = prop_oneof!["\\PC{1,150}", any::<String>()]
        .prop_filter_map("a title", |text| Title::parse(&text).ok())
        .prop_map(|title| title.as_str().to_owned());
    let body = prop_oneof![
        any::<String>(),
        "(\\PC|[\n\t*_#`\\\\\"<>&]){0,300}",
        Just("🦀".repeat(40_000))
    ]
    .prop_filter_map("a body", |text| Body::parse(&text).ok())
    .prop_map(|body| body.as_str().to_owned());
    let mut any_of = |most: usize| (0..most.max(1)).new_tree(chance).unwrap().current();
    let people = any_of(30) + 1;
    let picks: Vec<usize> = (0..posts * 8).map(|_| any_of(1_000_000)).collect();
    let mut ids = vec![1_i64];
    for nth in 0..people {
        let (at, name) =
            (moment.new_tree(chance).unwrap().current(), name.new_tree(chance).unwrap().current());
        let email = (nth % 3 > 0).then(|| format!("Né.{nth}+x@Bücher.example"));
        let key = (nth % 3 > 0).then(|| format!("né.{nth}+x@xn--bcher-kva.example"));
        let hash = (nth % 4 > 0).then(|| bcrypt::hash("password1", 4).unwrap());
        let id = sqlx::query_scalar(
            "insert into users (username, email, email_key, password_hash, role, suspended_at, email_confirmed_at, auth_epoch, created_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing returning id",
        )
        .bind(name)
        .bind(email)
        .bind(key)
        .bind(hash)
        .bind(if nth % 7 == 3 { "admin" } else { "member" })
        .bind((nth % 5 == 1).then_some(at))
        .bind((nth % 3 == 2).then_some(at))
        .bind(i32::try_from(nth % 4).unwrap())
        .bind(at)
        .fetch_optional(db)
        .await
        .unwrap();
        ids.extend::<Option<i64>>(id);
    }
    for nth in 0..posts {
        let pick = |which: usize| picks[nth * 8 + which];
        let (title, body) =
            (title.new_tree(chance).unwrap().current(), body.new_tree(chance).unwrap().current());
        let draft = social_post::posts::Draft {
            title: Title::parse(&title).unwrap(),
            link: social_post::posts::Link::parse(
                ["", "https://bücher.example/ü?q=\"\\u0000#é"][pick(0) % 2],
            )
            .unwrap(),
            body: Body::parse(&body).unwrap(),
        };
        let author = social_post::identity::UserId(ids[pick(1) % ids.len()]);
        let at = moment.new_tree(chance).unwrap().current();
        let post =
            social_post::posts::publish::db::publish_at(db, author, &draft, at).await.unwrap();
        if pick(2) % 4 == 0 {
            let sql = "update posts set edited_at = $2 where id = $1";
            let at = moment.new_tree(chance).unwrap().current();
            sqlx::query(sql).bind(post).bind(at).execute(db).await.unwrap();
        }
        if pick(3) % 3 == 0 {
            let sql = "insert into imported_posts values ($1, $2)";
            sqlx::query(sql).bind((nth * 7 + 1) as i64).bind(post).execute(db).await.unwrap();
        }
        for voter in (4..8).map(|which| ids[pick(which) % ids.len()]) {
            let at = moment.new_tree(chance).unwrap().current();
            let sql = "insert into votes values ($1, $2, $3) on conflict do nothing";
            sqlx::query(sql).bind(post).bind(voter).bind(at).execute(db).await.unwrap();
        }
    }
    // The newest post is gone, and with it what it was called elsewhere; so is somebody.
    run(
        db,
        "delete from posts where id = (select max(id) from posts);
        update post_ranks r set score = v.score, hot = hot_rank(v.score, r.created_at)
            from (select post_id, count(*) as score from votes group by 1) v where v.post_id = r.post_id",
    )
    .await;
}

async fn run(db: &PgPool, sql: &str) {
    sqlx::raw_sql(sql).execute(db).await.unwrap();
}

fn path() -> PathBuf {
    support::empty_directory("export").join("site.ndjson")
}

fn export(db: &Database, file: &Path) -> Output {
    program::social_post(&["export", file.to_str().unwrap()], &[("DATABASE_URL", &db.url)])
}

fn import(db: &Database, file: &Path) -> Output {
    program::social_post(
        &["import", "export", file.to_str().unwrap()],
        &[("DATABASE_URL", &db.url)],
    )
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}
