//! Importing a FastAPI app: its people, posts and votes, as its own Postgres has them.

use std::{
    io::Write as _,
    process::{Output, Stdio},
};

use sqlx::PgPool;
use time::{OffsetDateTime, macros::datetime};

use crate::{
    program,
    support::{self, Database, TestSite},
};

/// As the app's own models make them.
const TABLES: &str = "
    create table users (id serial primary key, email varchar not null unique, password varchar not null,
        created_at timestamptz default now() not null);
    create table posts (id serial primary key, title varchar not null, content varchar not null,
        published boolean default true not null, created_at timestamptz default now() not null,
        user_id integer not null references users (id) on delete cascade);
    create table votes (post_id integer not null references posts (id) on delete cascade,
        user_id integer not null references users (id) on delete cascade, primary key (post_id, user_id));";

#[tokio::test]
async fn a_fastapi_app_is_imported_whole_and_its_people_log_in_with_their_old_passwords() {
    let (app, db) = (support::empty_database().await, support::database().await);
    run(&app.pool, &format!("create schema course; set search_path = course; {TABLES}")).await;
    for (id, email, password) in [
        (3, "Ada.Lovelace+x@Example.org", "password1"),
        (4, "ada-lovelace-x@b.test", "violet kettle 9"),
        (9, "admin@a.test", "short"),
        (12, "q@a.test", "nobody's posts"),
    ] {
        sqlx::query(
            "insert into course.users values ($1, $2, $3, '2021-05-06 07:08:09.123456+02')",
        )
        .bind(id)
        .bind(email)
        .bind(bcrypt::hash(password, 4).unwrap())
        .execute(&app.pool)
        .await
        .unwrap();
    }
    run(
        &app.pool,
        "set search_path = course;
        insert into posts (id, title, content, published, created_at, user_id)
            select n, 'Harbour ' || n, E'Some *text*\\r\\n<script>alert(1)</script>', n <> 7,
                '2021-06-01 10:00:00.000001Z'::timestamptz + n * interval '1 day', case when n % 2 = 0 then 3 else 4 end
            from generate_series(5, 40) n;
        insert into votes select n, u from generate_series(5, 40) n, unnest('{3,4,9,12}'::int[]) u where (n + u) % 3 > 0",
    )
    .await;
    let site = TestSite { db: db.pool.clone(), ..TestSite::over(db.options(), "http://site.test") };
    let url = format!("{}&options=-csearch_path%3Dcourse", app.url);

    let output = import(&db, &url, &[]);

    assert_eq!(output.status.code(), Some(0));
    let words = stderr(&output);
    assert!(words.contains("35 posts, 4 people and 92 votes imported, 0 rows skipped"), "{words}");
    assert!(words.contains("\n1 unpublished post left out\n4 votes left out with"), "{words}");
    let people: Vec<(i64, String, String, OffsetDateTime)> =
        sqlx::query_as("select id, username, email, created_at from users order by id")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    let at = datetime!(2021-05-06 05:08:09.123456 UTC);
    let person = |id, name: &str, email: &str| (id, name.to_owned(), email.to_owned(), at);
    assert_eq!(
        people,
        [
            person(3, "Ada-Lovelace-x", "Ada.Lovelace+x@Example.org"),
            person(4, "ada-lovelace-x-2", "ada-lovelace-x@b.test"),
            person(9, "admin-2", "admin@a.test"),
            person(12, "q-2", "q@a.test"),
        ]
    );
    let there = "select coalesce(string_agg(row(id, title, created_at, AUTHOR)::text, ',' order by id), '') from posts";
    let votes =
        "select string_agg(row(post_id, user_id)::text, ',' order by post_id, user_id) from votes";
    assert_eq!(
        text(&db.pool, &there.replace("AUTHOR", "author_id")).await,
        text(
            &app.pool,
            &there.replace("AUTHOR", "user_id").replace("posts", "course.posts where published")
        )
        .await,
    );
    assert_eq!(
        text(&db.pool, votes).await,
        text(&app.pool, &votes.replace("from votes", "from course.votes where post_id <> 7")).await
    );
    assert!(site.wrong_scores().await.is_empty());
    let later = "select count(*) from votes join posts on id = post_id where votes.created_at <> posts.created_at";
    assert_eq!(site.count(later).await, 0);

    let visitor = site.visitor();
    let page = visitor.get("/posts/6").await;
    assert!(
        page.body.contains("<em>text</em>") && !page.body.contains("<script>alert"),
        "{}",
        page.body
    );
    assert!(visitor.get("/search?q=harbours").await.body.contains("id=\"post-40\""));
    for (login, password) in [
        ("ada.lovelace+x@example.org", "password1"),
        ("ADA-LOVELACE-X-2", "violet kettle 9"),
        ("admin@a.test", "short"),
    ] {
        let visitor = site.visitor();
        let wrong = visitor.post("/login", &[("login", login), ("password", "password2")]).await;
        assert_eq!(wrong.status, 401, "{login}");
        for _ in 0..2 {
            let reply = visitor.post("/login", &[("login", login), ("password", password)]).await;
            assert_eq!(reply.status, 303, "{login}: {}", reply.body);
        }
    }
    let hashes =
        "select count(*) from users where password_hash like '$argon2id$v=19$m=19456,t=2,p=1$%'";
    assert_eq!(site.count(hashes).await, 3, "each was renewed at their first log-in");
    let bcrypted = "select count(*) from users where password_hash like '$2b$04$%' and id = 12";
    assert_eq!(site.count(bcrypted).await, 1, "who has not come yet keeps theirs");
    assert!(site.post_by("newcomer", "Something new").await > 40);
    assert_eq!(site.count("select id from users where username = 'newcomer'").await, 13);

    run(
        &app.pool,
        "insert into course.posts (id, title, content, user_id) values (99, 'Later', '', 3)",
    )
    .await;
    let again = import(&db, &url, &[]);
    assert_eq!(again.status.code(), Some(0));
    assert!(stderr(&again).starts_with("nothing new: this app was imported already"));
    assert_eq!(site.count("select count(*) from posts").await, 36);
}

#[tokio::test]
async fn rows_of_a_fastapi_app_that_do_not_fit_are_skipped_and_named_by_table_and_id() {
    let (app, db) = (support::empty_database().await, support::database().await);
    run(
        &app.pool,
        "create table users (id bigint, email text, password text, created_at timestamp);
        create table posts (id integer, title text, content text, published boolean, created_at timestamp, owner_id integer);
        create table votes (post_id integer, user_id integer)",
    )
    .await;
    let hash = bcrypt::hash("password1", 4).unwrap();
    let (dear, at) = (hash.replace("$04$", "$15$"), "'2021-05-06 07:08:09'");
    run(
        &app.pool,
        &format!(
            "insert into users values
                (null, 'a@a.test', '{hash}', {at}), (0, 'a@a.test', '{hash}', {at}), (-5, 'a@a.test', '{hash}', {at}),
                (9007199254740992, 'a@a.test', '{hash}', {at}),
                (1, 'ada@a.test', '{hash}', {at}), (1, 'b@a.test', '{hash}', {at}),
                (2, 'ADA@A.test', '{hash}', {at}), (3, 'no address', '{hash}', {at}), (4, null, '{hash}', {at}),
                (5, 'five@a.test', '{hash}', null), (6, 'six@a.test', '{hash}', 'infinity'),
                (7, 'seven@a.test', '{hash}', '1969-01-01'), (8, 'eight@a.test', '{hash}', now() + interval '3 days'),
                (9, 'nine@a.test', '{hash}', (now() at time zone 'UTC') + interval '2 hours'),
                (10, 'ten@a.test', 'in the clear', {at}), (11, 'eleven@a.test', null, {at}), (12, 'twelve@a.test', '{dear}', {at});
            insert into posts values
                (1, '  Fine' || E'\\n' || 'title ', 'a' || chr(27) || E'b\\tc', true, {at}, 1),
                (2, ' ', '', true, {at}, 1), (3, null, '', true, {at}, 1), (4, repeat('x', 151), '', true, {at}, 1),
                (5, repeat('🦀', 150), repeat('🦀', 40000), true, {at}, 10), (6, 'Long', repeat('x', 40001), true, {at}, 1),
                (7, 'Title', null, true, {at}, 3), (8, 'Title', '', true, {at}, 77), (9, 'Title', '', true, {at}, null),
                (10, 'Title', '', true, null, 1), (11, 'Hidden', '', false, {at}, 1), (12, 'Hidden', '', null, {at}, 77),
                (1, 'Again', '', true, {at}, 1);
            insert into votes values (1, 1), (1, 1), (1, 10), (1, 99), (99, 1), (1, 2), (6, 1), (11, 1), (5, 9), (null, 1)"
        ),
    )
    .await;
    let named = [
        "users -5: id is not a number from 1 to 9007199254740991",
        "users 0: id is not a number from 1 to 9007199254740991",
        "users 1: the id is there twice",
        "users 2: email is the same as that of users 1",
        "users 3: email is not an e-mail address",
        "users 4: email is not an e-mail address",
        "users 5: created_at is missing, or not a date since 1970",
        "users 6: created_at is missing, or not a date since 1970",
        "users 7: created_at is missing, or not a date since 1970",
        "users 8: created_at is in the future",
        "users 10: password is not a bcrypt or Argon2 hash: imported without one, this person needs a new password",
        "users 11: password is not a bcrypt or Argon2 hash: imported without one, this person needs a new password",
        "users 12: password is not a bcrypt or Argon2 hash: imported without one, this person needs a new password",
        "users 9007199254740992: id is not a number from 1 to 9007199254740991",
        "users without id: id is not a number from 1 to 9007199254740991",
        "posts 1: the id is there twice",
        "posts 2: title is empty",
        "posts 3: title is empty",
        "posts 4: title is longer than 150 characters",
        "posts 6: content is longer than 40000 characters",
        "posts 7: its author, users 3, was left out",
        "posts 8: its author is not there",
        "posts 9: its author is not there",
        "posts 10: created_at is missing, or not a date since 1970",
        "votes (post 1, user 1): the vote is there twice",
        "votes (post 1, user 99): there is no such user",
        "votes (post 99, user 1): there is no such post",
        "votes (post without id, user 1): there is no such post",
    ];

    let strict = import(&db, &app.url, &["--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    let last = stderr(&strict).lines().last().unwrap_or_default().to_owned();
    assert_eq!(last, format!("social-post: {}; nothing was imported", named[0]));
    assert_eq!(count(&db.pool, "select count(*) from users").await, 0);

    let output = import(&db, &app.url, &[]);

    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let words = stderr(&output);
    let lines: Vec<&str> = words.lines().skip(1).collect();
    assert_eq!(lines[..named.len()], named, "{words}");
    let rest = lines[named.len()..].join("\n");
    assert!(rest.starts_with("2 posts, 5 people and 3 votes imported, 25 rows skipped"), "{rest}");
    assert!(rest.contains("\n2 unpublished posts left out\n3 votes left out"), "{rest}");
    assert!(rest.contains("\n3 people imported without a usable password"), "{rest}");
    assert_eq!(
        text(&db.pool, "select string_agg(id::text, ',' order by id) from users").await,
        "1,9,10,11,12"
    );
    let zoneless = "select (created_at at time zone 'UTC')::text from users where id = 10";
    assert_eq!(text(&db.pool, zoneless).await, "2021-05-06 07:08:09");
    assert_eq!(count(&db.pool, "select count(*) from users where created_at > now()").await, 0);
    assert_eq!(
        count(&db.pool, "select count(*) from posts where length(body) = 40000 and id = 5").await,
        1
    );
    let mended =
        "select count(*) from posts where id = 1 and body = E'ab\\tc' and title = 'Fine title'";
    assert_eq!(count(&db.pool, mended).await, 1);
}

#[tokio::test]
async fn an_unreadable_fastapi_app_or_a_site_that_is_not_empty_is_one_error_line() {
    let (app, db) = (support::empty_database().await, support::database().await);
    let refused = |url: &str, code: i32, words: &str| {
        let output = import(&db, url, &[]);
        let line = crate::cli::complaint(&output, code);
        assert!(line.contains(words), "{line}");
        assert!(!line.contains("canary7f3a"), "{line}");
    };
    refused("mysql://canary7f3a@host/db", 2, "is not a URL such as postgresql://");
    refused("postgres://u:canary7f3a@host:port/db", 2, "is not a URL such as postgresql://");
    refused("postgres://u:canary7f3a@127.0.0.1:1/db", 1, "cannot reach the app's database");
    refused(&app.url, 1, "the app's database has no table users");
    run(&app.pool, "create table users (id uuid, email text, created_at timestamptz)").await;
    refused(&app.url, 1, "users.id of the app is of type uuid, where a whole number is expected");
    run(&app.pool, "alter table users drop id, add id integer").await;
    refused(&app.url, 1, "the app's table users has no column password");
    refused(&db.url, 1, "the app's table users has no column password");
    run(
        &app.pool,
        "alter table users add password text; create table posts (id integer, title text, content text, created_at date)",
    )
    .await;
    refused(&app.url, 1, "the app's table posts has no column owner_id or user_id");
    run(&app.pool, "alter table posts add user_id smallint").await;
    run(
        &app.pool,
        "insert into users (id, email, created_at) values (1, 'ada@a.test', now()); insert into posts values (1, 'Title', '', '2020-01-01', 1)",
    )
    .await;

    // A member of this site happens to have the id and the address of one of theirs.
    run(
        &db.pool,
        "insert into users (username, email, email_key) values ('ada', 'ada@a.test', 'ada@a.test')",
    )
    .await;
    refused(&app.url, 1, "this site has people or posts already");
    run(&db.pool, "delete from users").await;
    let mut child = program::command(&["import", "fastapi", "-"], &[("DATABASE_URL", &db.url)])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let url = app.url.replace("postgres://", "postgresql+psycopg2://");
    writeln!(child.stdin.take().unwrap(), "{url}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        stderr(&output).contains("1 post, 1 person and 0 votes imported"),
        "{}",
        stderr(&output)
    );
}

async fn run(db: &PgPool, sql: &str) {
    // One connection: a setting in the text is for what follows in it.
    sqlx::raw_sql(sql).execute(db).await.unwrap();
}

async fn text(db: &PgPool, sql: &str) -> String {
    use sqlx::Row as _;
    sqlx::raw_sql(sql).fetch_one(db).await.unwrap().get(0)
}

async fn count(db: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap()
}

fn import(db: &Database, url: &str, flags: &[&str]) -> Output {
    let arguments = [&["import", "fastapi", url], flags].concat();
    program::social_post(&arguments, &[("DATABASE_URL", &db.url)])
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
