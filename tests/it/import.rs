//! Files and the demo, imported from the command line.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Output, Stdio},
};

use sqlx::PgPool;
use time::{OffsetDateTime, macros::datetime};

use crate::{
    program,
    support::{self, Database},
};

const HEADER: &str = "id,title,url,points,comments,author,created_at\n";

#[tokio::test]
async fn a_csv_import_is_whole_and_idempotent() {
    let db = support::database().await;
    let first = file(&posts(1..=40));

    let output = import(&db, &first, &[]);

    let last = last_line(&output);
    // Eleven authors and, for the post with 25 points, fourteen voters.
    assert!(
        last.starts_with("40 posts, 25 people and 433 votes imported, 0 rows skipped, in "),
        "{last}"
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(state(&db.pool).await, (40, 25, 433));
    assert_all_is_right(&db.pool).await;
    let (title, url, at): (String, Option<String>, OffsetDateTime) = sqlx::query_as(
        "select title, url, created_at from posts join imported_posts on post_id = id where source_id = 7",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(
        (title.as_str(), url.as_deref()),
        (r#"A \N "post", the 7th"#, Some("https://a.test/7?x=%22"))
    );
    assert_eq!(at, datetime!(2016-01-07 05:56:00.25 UTC));
    assert_eq!(
        count(
            &db.pool,
            "select count(*) from users where password_hash is not null or email is not null"
        )
        .await,
        0
    );
    assert_eq!(
        count(&db.pool, "select count(*) from users where username = 'author7' and created_at = '2016-01-01 05:56:00.25Z'").await,
        1,
        "people are here since their earliest post"
    );

    let again = import(&db, &first, &[]);
    assert_eq!(last_line(&again), "nothing new: all 40 posts exist already");
    assert_eq!(state(&db.pool).await, (40, 25, 433));

    sqlx::query("delete from posts where title like '%the 7th'").execute(&db.pool).await.unwrap();
    sqlx::query("delete from users where username = 'author9'").execute(&db.pool).await.unwrap();
    let before = state(&db.pool).await;
    let grown = import(&db, &file(&posts(1..=41)), &[]);
    let last = last_line(&grown);
    assert!(
        last.starts_with("1 post, 0 people and 3 votes imported, 40 existed already"),
        "{last}"
    );
    assert_eq!(
        state(&db.pool).await,
        (before.0 + 1, before.1, before.2 + 3),
        "what is gone stays gone"
    );
    let wrong = "select count(*) from post_ranks r join imported_posts using (post_id) where source_id = 41 \
        and score <> (select count(*) from votes v where v.post_id = r.post_id)";
    assert_eq!(count(&db.pool, wrong).await, 0);
}

#[tokio::test]
async fn bad_csv_rows_are_named_by_line_and_the_others_are_imported() {
    let db = support::database().await;
    let mut text = HEADER.replace(",author", ",extra,author").into_bytes();
    let at = "2015-09-06T05:56:00Z";
    let rows = [
        format!("1,\"Over\r\ntwo lines\",,2,0,,ada,{at}"),
        format!("2,Points,,many,0,,ada,{at}"),
        format!("3,Points,,-1,0,,ada,{at}"),
        format!("4,Points,,1000001,0,,ada,{at}"),
        format!("x,Id,,1,0,,ada,{at}"),
        format!("0,Id,,1,0,,ada,{at}"),
        format!("1,Id,,1,0,,ada,{at}"),
        format!("5,\u{AD}\u{85},,1,0,,ada,{at}"),
        format!("6,{},,1,0,,ada,{at}", "x".repeat(151)),
        format!("7,Url,javascript:alert(1),1,0,,ada,{at}"),
        format!("8,Url,https://a:b@c.test,1,0,,ada,{at}"),
        format!("9,Author,,1,0,,a b,{at}"),
        "10,Date,,1,0,,ada,06.09.2015".to_owned(),
        "11,Date,,1,0,,ada,9999-01-01T00:00:00Z".to_owned(),
        "12,Date,,1,0,,ada,1969-12-31T23:59:59Z".to_owned(),
        "13,Fields".to_owned(),
    ];
    text.extend(rows.join("\r\n").into_bytes());
    text.extend(b"\r\n14,\xFF,,1,0,,ada,2015-09-06T05:56:00Z\r\n\r\n");
    text.extend(format!("15,Stray\u{9D} and soft\u{AD}hyphen,,2,0,,bob,{at}").into_bytes());
    let file = file_of(&text);

    let strict = import(&db, &file, &["--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    let last = last_line(&strict);
    assert!(last.contains("line 4: points is not a number; nothing was imported"), "{last}");
    assert_eq!(state(&db.pool).await, (0, 0, 0));

    let output = import(&db, &file, &[]);

    let named: Vec<String> = stderr(&output)
        .lines()
        .filter_map(|line| line.strip_prefix("line ").map(str::to_owned))
        .collect();
    let expected = [
        "4: points is not a number",
        "5: points is negative",
        "6: points is over 1000000",
        "7: id is not a positive number",
        "8: id is not a positive number",
        "9: id 1 is in the file already",
        "10: title is empty",
        "11: title is longer than 150 characters",
        "12: url is not an http or https address",
        "13: url has a user name or password in it",
        "14: author is not a user name: 2 to 30 letters a to z, digits, - and _",
        "15: created_at is not a date such as 2026-11-23T15:04:05Z",
        "16: created_at is in the future",
        "17: created_at is before 1970",
        "18: number of fields is 2, the header has 8",
        "19: not UTF-8",
    ];
    assert_eq!(named, expected);
    let last = last_line(&output);
    assert!(last.starts_with("2 posts, 2 people and 4 votes imported, 16 rows skipped"), "{last}");
    assert_eq!(output.status.code(), Some(0));
    let titles: Vec<String> = sqlx::query_scalar("select title from posts order by id")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(titles, ["Over  two lines", "Stray and soft\u{AD}hyphen"]);
    assert_all_is_right(&db.pool).await;
}

#[tokio::test]
async fn an_import_gives_no_posts_or_votes_to_members_who_can_log_in() {
    let db = support::database().await;
    sqlx::query(
        "insert into users (username, email, email_key, password_hash) values \
         ('ADA', 'a@b.test', 'a@b.test', 'x'), ('voter-1', null, null, 'x'), ('Bob', null, null, null)",
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let mut text = HEADER.to_owned();
    for (id, author) in [(1, "Ada"), (2, "ada-2"), (3, "bob")] {
        let _ = writeln!(text, "{id},Post {id},,5,0,{author},2015-09-06T05:56:00Z");
    }

    import(&db, &file(&text), &[]);
    text.push_str("4,Post 4,,5,0,aDA,2015-09-07T05:56:00Z\n");
    import(&db, &file(&text), &[]);

    let authors: Vec<(String, String)> = sqlx::query_as(
        "select p.title, u.username from posts p join users u on u.id = author_id order by title",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let named = |title: &str, author: &str| (title.to_owned(), author.to_owned());
    let expected = [
        named("Post 1", "Ada-3"),
        named("Post 2", "ada-2"),
        named("Post 3", "Bob"),
        named("Post 4", "Ada-3"),
    ];
    assert_eq!(authors, expected);
    let real =
        "select count(*) from votes join users on id = user_id where password_hash is not null";
    assert_eq!(count(&db.pool, real).await, 0);
    assert_eq!(state(&db.pool).await, (4, 7, 20), "voter-2 and voter-3 make the five");
    assert_all_is_right(&db.pool).await;
}

#[tokio::test]
async fn two_concurrent_imports_duplicate_nothing() {
    let db = support::database().await;
    let file = file(&posts(1..=400));
    let arguments = ["import", "csv", file.to_str().unwrap()];
    let settings = [("DATABASE_URL", db.url.as_str())];
    let start = || program::command(&arguments, &settings).stderr(Stdio::piped()).spawn().unwrap();

    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());

    let mut words = both.map(|output| last_line(&output));
    words.sort();
    assert!(words[0].starts_with("400 posts, 25 people and "), "{words:?}");
    assert_eq!(words[1], "nothing new: all 400 posts exist already");
    assert_eq!(count(&db.pool, "select count(*) from posts").await, 400);
    assert_all_is_right(&db.pool).await;
}

#[tokio::test]
async fn an_import_that_is_killed_leaves_nothing() {
    let db = support::database().await;
    let large = file(&format!("{HEADER}9,Large,,1000000,0,zoe,2015-09-06T05:56:00Z\n"));
    let arguments = ["import", "csv", large.to_str().unwrap()];
    let settings = [("DATABASE_URL", db.url.as_str())];
    let mut child = program::command(&arguments, &settings).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = lines.find_map(|line| line.ok().filter(|line| line.starts_with("importing")));
    assert_eq!(begun.unwrap(), "importing 1 post with 1000000 votes");
    child.kill().unwrap();
    child.wait().unwrap();

    let output = import(&db, &file(&posts(1..=3)), &[]);

    assert!(
        last_line(&output).starts_with("3 posts, 9 people and 18 votes"),
        "{}",
        stderr(&output)
    );
    assert_eq!(state(&db.pool).await, (3, 9, 18));
}

#[tokio::test]
async fn a_file_of_another_format_is_one_error_line() {
    let db = support::database().await;
    let directory = support::empty_directory("import");
    for (file, words) in [
        (directory.join("nowhere.csv"), "there is no file "),
        ("nowhere.csv".into(), "/nowhere.csv"),
        (directory, " is a directory"),
        (file(""), "the file is empty"),
        (file("id,title,url,comments,author,created_at\n"), "the header has no column points"),
    ] {
        let output = import(&db, &file, &[]);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
    assert_eq!(
        last_line(&import(&db, &file(HEADER), &[])),
        "nothing to import: the file has no posts"
    );
}

#[tokio::test]
async fn the_demo_is_imported_once_and_never_beside_accounts_of_the_same_names() {
    let db = support::database().await;
    let settings = [("DATABASE_URL", db.url.as_str())];

    let first = program::social_post(&["demo"], &settings);
    let second = program::social_post(&["demo"], &settings);

    let (posts, people, votes) = state(&db.pool).await;
    assert_eq!((posts, people), (40, 42));
    assert_eq!(
        last_line(&first),
        format!(
            "40 posts, 42 people and {votes} votes added. They cannot log in; sign up to join them."
        )
    );
    assert!(last_line(&second).ends_with("nothing was added."), "{}", last_line(&second));
    assert_eq!((first.status.code(), second.status.code()), (Some(0), Some(0)));
    assert_all_is_right(&db.pool).await;
    let code = "select count(*) from posts where body_html like '%<code class=\"language-sh\">%' and excerpt <> ''";
    assert!(count(&db.pool, code).await > 0, "Markdown is rendered");

    let taken = support::database().await;
    sqlx::query("insert into users (username) values ('MARIT_N')")
        .execute(&taken.pool)
        .await
        .unwrap();
    let refused = program::social_post(&["demo"], &[("DATABASE_URL", &taken.url)]);
    assert_eq!(refused.status.code(), Some(0));
    assert_eq!(state(&taken.pool).await, (0, 1, 0));
}

/// Posts of eleven authors, with 0 to 21 points each and the twentieth with 25.
fn posts(ids: std::ops::RangeInclusive<u32>) -> String {
    ids.fold(HEADER.to_owned(), |mut text, id| {
        let (day, author) = (id % 28, id % 11);
        let points = if id == 20 { 25 } else { id * 3 % 24 };
        let _ = writeln!(
            text,
            r#"{id},"A \N ""post"", the {id}th",https://a.test/{id}?x=",{points},0,author{author},2016-01-{:02}T05:56:00.25Z"#,
            day.max(1)
        );
        text
    })
}

fn file(text: &str) -> PathBuf {
    file_of(text.as_bytes())
}

fn file_of(bytes: &[u8]) -> PathBuf {
    let path = support::empty_directory("import").join("posts.csv");
    fs::write(&path, bytes).unwrap();
    path
}

fn import(db: &Database, file: &std::path::Path, flags: &[&str]) -> Output {
    let arguments = [&["import", "csv", file.to_str().unwrap()], flags].concat();
    program::social_post(&arguments, &[("DATABASE_URL", &db.url)])
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn last_line(output: &Output) -> String {
    stderr(output).lines().last().unwrap_or_default().to_owned()
}

/// How many posts, people and votes there are.
async fn state(db: &PgPool) -> (i64, i64, i64) {
    let counts = "select (select count(*) from posts), (select count(*) from users), (select count(*) from votes)";
    sqlx::query_as(counts).fetch_one(db).await.unwrap()
}

async fn count(db: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap()
}

/// Imported posts are ranked, searchable and consistent.
async fn assert_all_is_right(db: &PgPool) {
    let posts = count(db, "select count(*) from posts").await;
    for (wrong, what) in [
        (
            "select count(*) from post_ranks r join posts p on p.id = r.post_id \
             where score <> (select count(*) from votes v where v.post_id = p.id) \
             or hot <> hot_rank(score, p.created_at) or r.created_at <> p.created_at",
            "ranks that do not fit their votes",
        ),
        (
            "select count(*) from post_search s join posts p on p.id = s.post_id \
             where document <> search_document(title, body) or s.created_at <> p.created_at",
            "search entries that do not fit their posts",
        ),
        (
            "select count(*) from votes v join posts p on p.id = v.post_id \
             where v.created_at not between p.created_at and now()",
            "votes from before their post or from the future",
        ),
        ("select count(*) from posts where created_at > now()", "posts from the future"),
    ] {
        assert_eq!(count(db, wrong).await, 0, "{what}");
    }
    for table in ["post_ranks", "post_search"] {
        assert_eq!(count(db, &format!("select count(*) from {table}")).await, posts, "{table}");
    }
}
