//! A machine whose clock is wrong, while the database's is right.

use std::process::Command;

use serde_json::Value;

use crate::{
    program::{Program, command, get, post},
    support::{Database, PASSWORD, database, oracle},
};

/// The library that shows a program another time (package `faketime`).
fn faketime() -> Option<String> {
    let told = Command::new("faketime")
        .args(["-m", "-f", "+0", "sh", "-c", "printf %s \"$LD_PRELOAD\""])
        .output();
    match told {
        Ok(told) if told.status.success() => Some(String::from_utf8(told.stdout).unwrap()),
        _ => {
            eprintln!("skipped: there is no faketime here (package faketime or libfaketime)");
            None
        }
    }
}

/// The program where the clock shows `time`, such as `-100d` or `@1969-12-31 12:00:00`.
async fn program_at(time: &str, library: &str, database: &Database) -> Program {
    let settings = [
        ("DATABASE_URL", database.url.as_str()),
        ("BASE_URL", "http://site.test"),
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("RATE_LIMITS", "off"),
        ("JWT_SECRET", "a secret of the tests, 32 bytes or more"),
        ("NO_COLOR", "1"),
        ("TZ", "UTC"),
        ("LD_PRELOAD", library),
        ("FAKETIME", time),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    Program::run(command(&["serve"], &settings)).await
}

fn cookie(cookies: &[&str]) -> String {
    let sid = cookies.iter().find(|cookie| cookie.starts_with("sid=")).expect("a session");
    sid.split(';').next().unwrap().to_owned()
}

fn api(path: &str, token: &str) -> String {
    let token = format!("Authorization: Bearer {token}\r\nHost:");
    get(path, "").replacen("Host:", &token, 1)
}

/// A session and a token, after everything that a member does.
async fn use_site(program: &Program, name: &str) -> (String, String) {
    let email = format!("{name}@example.org");
    let fields = [("username", name), ("email", email.as_str()), ("password", PASSWORD)];
    let reply = program.ask(post("/signup", "", &fields)).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    let reply = program.ask(get("/", &cookie(&reply.cookies()))).await;
    assert!(reply.body.contains(&format!("Logged in as <b>{name}</b>")), "sign-up: {}", reply.body);

    let fields = [("login", name), ("password", PASSWORD)];
    let reply = program.ask(post("/login", "", &fields)).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    let session = cookie(&reply.cookies());
    let reply = program.ask(get("/", &session)).await;
    assert!(reply.body.contains(&format!("Logged in as <b>{name}</b>")), "log-in: {}", reply.body);
    oracle::check(&reply, name, &[]);

    let reply = program.ask(post("/posts", &session, &[("title", "At a wrong time")])).await;
    let reply = if reply.status == 422 {
        let fields = [("title", "At a wrong time"), ("body", "text")];
        program.ask(post("/posts", &session, &fields)).await
    } else {
        reply
    };
    assert_eq!(reply.status, 303, "{}", reply.body);
    let place = reply.location().to_owned();
    assert_eq!(program.ask(get(&place, &session)).await.status, 200);
    let vote = post(&format!("{place}/vote"), &session, &[("value", "1")]);
    assert_eq!(program.ask(vote).await.status, 303);
    for path in ["/", "/new", "/feed.atom", "/sitemap.xml", "/.well-known/security.txt"] {
        let status = program.ask(get(path, "")).await.status;
        assert!(status.as_u16() < 500, "{path}: {status}");
    }

    let fields = [("username", name), ("password", PASSWORD)];
    let reply = program.ask(post("/api/v1/login", "", &fields)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let reply: Value = serde_json::from_str(&reply.body).unwrap();
    let token = reply["access_token"].as_str().unwrap().to_owned();
    assert_eq!(program.ask(api("/api/v1/users/me", &token)).await.status, 200);
    (session, token)
}

fn check_log(program: &Program) {
    let log = program.log.lock().unwrap().clone();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_clock_decides_sessions_and_tokens_whatever_the_machines_clock_shows() {
    let Some(library) = faketime() else { return };
    let database = database().await;
    let right = Program::start_with(
        &database.url,
        &[
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("JWT_SECRET", "a secret of the tests, 32 bytes or more"),
        ],
    )
    .await;
    for (name, time) in [
        ("epoch", "@1970-01-01 00:00:02"),
        ("past", "-100d"),
        ("skewed", "-30"),
        ("future", "+100d"),
        ("distant", "@2200-01-01 00:00:00"),
    ] {
        let wrong = program_at(time, &library, &database).await;
        let (session, token) = use_site(&wrong, name).await;
        // Both processes agree.
        let reply = right.ask(get("/", &session)).await;
        assert!(reply.body.contains(&format!("Logged in as <b>{name}</b>")), "{time}");
        assert_eq!(right.ask(api("/api/v1/users/me", &token)).await.status, 200, "{time}");
        let (session, token) = use_site(&right, &format!("{name}2")).await;
        let reply = wrong.ask(get("/", &session)).await;
        assert!(reply.body.contains(&format!("Logged in as <b>{name}2</b>")), "{time}");
        assert_eq!(wrong.ask(api("/api/v1/users/me", &token)).await.status, 200, "{time}");
        check_log(&wrong);
    }
}

/// No system shows such a time by itself, but the HTTP library cannot write it into `Date`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_before_1970_is_a_503_that_the_log_explains_and_no_panic() {
    let Some(library) = faketime() else { return };
    let database = database().await;
    let program = program_at("@1969-06-01 00:00:00", &library, &database).await;
    for path in ["/", "/healthz", "/login", "/api/v1/posts"] {
        let reply = program.ask(get(path, "")).await;
        assert_eq!(reply.status, 503);
        oracle::check(&reply, path, &[]);
    }
    program.log_with("this machine's clock is before 1970").await;
    check_log(&program);
}
