//! What the program tells those who watch it: counts at an address of their own, and lines in the
//! log that belong together.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::Value;
use sqlx::Executor as _;
use tokio::time::sleep;

use crate::{
    program::{PATIENCE, Program, free_port, get, post},
    secrets::entries,
    support::{PASSWORD, Reply, TestSite, database, wire::exchange},
};

const ANYWHERE: (&str, &str) = ("LISTEN_ADDR", "127.0.0.1:0");

/// Every number by its name and labels. Fails on a line that is none of the format.
fn numbers(metrics: &Reply) -> Vec<(String, f64)> {
    assert_eq!(metrics.status, 200, "{}", metrics.body);
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text; "));
    assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
    let lines = metrics.body.lines().filter(|line| !line.starts_with("# "));
    let numbers = lines.map(|line| {
        let (name, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), number.parse().unwrap_or_else(|_| panic!("{line}")))
    });
    numbers.collect()
}

fn number(metrics: &Reply, name: &str) -> Option<f64> {
    numbers(metrics).into_iter().find(|(found, _)| found == name).map(|(_, number)| number)
}

/// Asks until the number is there and as it should be.
async fn comes_to(address: &str, name: &str, fits: impl Fn(f64) -> bool) -> Reply {
    let started = Instant::now();
    loop {
        let metrics = exchange(address.parse().unwrap(), get("/metrics", "")).await.unwrap();
        if number(&metrics, name).is_some_and(&fits) {
            return metrics;
        }
        assert!(started.elapsed() < PATIENCE, "{name} does not come: {}", metrics.body);
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_served_at_their_own_address_and_name_nobody() {
    let database = database().await;
    let watched = free_port().await;
    let settings = [ANYWHERE, ("METRICS_LISTEN_ADDR", &watched), ("RATE_LIMITS", "on")];
    let program = Program::start_with(&database.url, &settings).await;
    let account = [("username", "ada"), ("email", "canary@example.org"), ("password", PASSWORD)];
    let signed_up = program.ask(post("/signup", "", &account)).await;
    assert_eq!(signed_up.status, 303, "{}", signed_up.body);
    let cookies = signed_up.cookies();
    let cookie = cookies.iter().find(|cookie| cookie.starts_with("sid=")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let fields = [("title", "canary title"), ("body", "canary text")];
    let published = program.ask(post("/posts", cookie, &fields)).await;
    let vote = post(&format!("{}/vote", published.location()), cookie, &[("value", "1")]);
    assert_eq!(program.ask(&vote).await.status, 303);
    for n in 0..40 {
        // The same words again would come from the page cache.
        program.ask(get(&format!("/search?q=canary+{n}"), "")).await;
    }
    for (n, method) in ["BREW", "CANARY", "M-SEARCH", "GET"].into_iter().enumerate() {
        program.ask(get(&format!("/canary/{n}"), "").replacen("GET", method, 1)).await;
    }
    assert_eq!(program.ask(get("/metrics", cookie)).await.status, 404, "not for everybody");

    // The database tells what it has counted after some seconds, and is asked twice a minute.
    let counted = "select coalesce(sum(n_tup_ins), 0)::bigint from pg_stat_user_tables \
                   where relname in ('votes', 'posts')";
    let started = Instant::now();
    while sqlx::query_scalar::<_, i64>(counted).fetch_one(&database.pool).await.unwrap() < 2 {
        assert!(started.elapsed() < PATIENCE, "Postgres does not count");
        sleep(Duration::from_millis(100)).await;
    }
    let metrics =
        comes_to(&watched, "social_post_rows_inserted_total{table=\"votes\"}", |n| n > 0.0).await;
    for (name, least, most) in [
        ("requests_total{method=\"POST\",route=\"/posts/{id}/vote\",status=\"303\"}", 1.0, 1.0),
        ("requests_total{method=\"GET\",route=\"(none)\",status=\"404\"}", 2.0, 2.0),
        ("request_duration_seconds_count{route=\"/signup\"}", 1.0, 1.0),
        ("requests_in_flight", 0.0, 0.0),
        ("database_connections_limit", 10.0, 10.0),
        ("database_connections{state=\"idle\"}", 0.0, 10.0),
        ("database_connection_timeouts_total", 0.0, 0.0),
        ("refused_total{what=\"search\"}", 10.0, 10.0),
        ("password_hashes{state=\"running\"}", 0.0, 0.0),
        ("task_failures_total{task=\"sweep\"}", 0.0, 0.0),
        ("task_last_success_timestamp_seconds{task=\"sweep\"}", 1.7e9, f64::MAX),
        ("rows_inserted_total{table=\"posts\"}", 1.0, 1.0),
        ("rows{table=\"user_sessions\"}", 0.0, 1.0),
    ] {
        let found = number(&metrics, &format!("social_post_{name}"));
        let fits = found.is_some_and(|found| (least..=most).contains(&found));
        assert!(fits, "{name} is {found:?}: {}", metrics.body);
    }
    let odd = numbers(&metrics).into_iter().filter(|(name, _)| name.contains("method=\"other\""));
    let odd: f64 = odd.map(|(_, number)| number).sum();
    assert!((2.5..3.5).contains(&odd), "{odd}: {}", metrics.body);
    let version = format!("build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    for (secret, is_told) in [
        (version.as_str(), true),
        ("canary", false),
        ("CANARY", false),
        ("BREW", false),
        ("ada", false),
        (cookie.trim_start_matches("sid="), false),
        ("postgres://", false),
    ] {
        assert_eq!(metrics.body.contains(secret), is_told, "{secret}: {}", metrics.body);
    }

    let address = watched.parse().unwrap();
    for (method, path, status) in [
        (Method::HEAD, "/metrics", 200),
        (Method::POST, "/metrics", 405),
        (Method::DELETE, "/metrics", 405),
        (Method::GET, "/healthz", 200),
        (Method::GET, "/readyz", 200),
        (Method::GET, "/", 404),
        (Method::GET, "/login", 404),
        (Method::GET, "/static/app.css", 404),
    ] {
        let request = get(path, cookie).replacen("GET", method.as_str(), 1);
        let reply = exchange(address, request).await.unwrap();
        assert_eq!(reply.status, status, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_task_that_fails_is_counted_and_retried() {
    let database = database().await;
    let watched = free_port().await;
    database.pool.execute("alter table user_sessions rename to away").await.unwrap();
    let settings = [ANYWHERE, ("METRICS_LISTEN_ADDR", &watched)];
    let program = Program::start_with(&database.url, &settings).await;
    let failures = "social_post_task_failures_total{task=\"sweep\"}";
    let metrics = comes_to(&watched, failures, |failures| failures >= 2.0).await;
    let success = "social_post_task_last_success_timestamp_seconds{task=\"sweep\"}";
    assert_eq!(number(&metrics, success), None, "{}", metrics.body);
    program.log_with("a background task failed and is tried again").await;

    database.pool.execute("alter table away rename to user_sessions").await.unwrap();
    comes_to(&watched, success, |time| time > 1.7e9).await;
}

// --- The log ---

/// From the proxy's log to the database's statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_id_of_a_proxy_is_in_the_response_and_in_every_log_line_about_it() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    let post_id = site.post_by("ada", "A title").await;
    let slow = "create or replace function search_query(words text) returns tsquery \
                language plpgsql as $$ begin perform pg_sleep(1.1); return null; end $$";
    site.db.execute(slow).await.unwrap();
    let broken = format!("update post_ranks set created_at = 'infinity' where post_id = {post_id}");
    site.db.execute(broken.as_str()).await.unwrap();

    let settings = [ANYWHERE, ("LOG_FORMAT", "json")];
    let mut program = Program::start_with(&database.url, &settings).await;
    let with = |path: &str, lines: &str| get(path, "").replace("Host:", &format!("{lines}Host:"));
    let given = "0af7651916cd43dd8448eb211c80319c";
    let line = format!("X-Request-Id: {given}\r\n");
    program.ask(get("/healthz", "")).await;
    assert_eq!(program.ask(with("/search?q=title", &line)).await.header("x-request-id"), given);
    let failing = "nginx-1-and-more";
    let failed =
        program.ask(with(&format!("/posts/{post_id}"), "X-Request-Id: nginx-1-and-more\r\n")).await;
    assert_eq!((failed.status.as_u16(), failed.header("x-request-id")), (500, failing));
    failed.has(failing);

    let long = "x".repeat(65);
    for bad in [
        "X-Request-Id: short12\r\n".to_owned(),
        format!("X-Request-Id: {long}\r\n"),
        "X-Request-Id: with a space\r\n".to_owned(),
        "X-Request-Id: quoted\"quoted\r\n".to_owned(),
        "X-Request-Id: \r\n".to_owned(),
        "X-Request-Id: first-of-two\r\nX-Request-Id: second-of-two\r\n".to_owned(),
    ] {
        let reply = program.ask(with("/healthz", &bad)).await;
        let own = reply.header("x-request-id");
        assert!(uuid::Uuid::parse_str(own).is_ok(), "{bad}: {own}");
    }
    let stranger =
        Program::start_with(&database.url, &[ANYWHERE, ("TRUSTED_PROXIES", "192.0.2.0/24")]).await;
    let reply = stranger.ask(with("/healthz", &line)).await;
    assert_ne!(reply.header("x-request-id"), given, "a stranger's word");

    let entries = entries(&mut program).await;
    let under = |id: &str| -> Vec<&Value> {
        entries.iter().filter(|entry| entry["span"]["id"] == id).collect()
    };
    let searched = under(given);
    assert_eq!(searched.last().unwrap()["message"], "request completed");
    let slow = searched.iter().find(|entry| entry.to_string().contains("slow")).unwrap();
    assert!(slow.to_string().contains("search_query"), "the statement itself: {slow}");
    let failed = under(failing);
    assert!(failed.iter().any(|entry| entry["level"] == "ERROR"), "{failed:?}");
    assert_eq!(failed.last().unwrap()["status"], 500);
}

/// Six requests, four of them answered from memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_answered_from_the_page_cache_are_in_the_metrics_and_in_the_log_that_asks_for_all()
{
    for (access_log, lines) in [("all", 6), ("errors", 1)] {
        let database = database().await;
        let watched = free_port().await;
        let settings = [
            ANYWHERE,
            ("METRICS_LISTEN_ADDR", &watched),
            ("LOG_FORMAT", "json"),
            ("ACCESS_LOG", access_log),
        ];
        let mut program = Program::start_with(&database.url, &settings).await;
        let page = program.ask(get("/new", "")).await;
        for _ in 0..3 {
            assert_eq!(program.ask(get("/new", "")).await.status, 200);
        }
        let etag = format!("If-None-Match: {}\r\nHost:", page.header("etag"));
        let unchanged = program.ask(get("/new", "").replace("Host:", &etag)).await;
        assert_eq!(unchanged.status, 304);
        assert_eq!(program.ask(get("/nowhere", "")).await.status, 404);

        let metrics = exchange(watched.parse().unwrap(), get("/metrics", "")).await.unwrap();
        let at = |status: u16| {
            let name = format!(
                "social_post_requests_total{{method=\"GET\",route=\"/new\",status=\"{status}\"}}"
            );
            number(&metrics, &name)
        };
        assert_eq!((at(200), at(304)), (Some(4.0), Some(1.0)), "{}", metrics.body);
        let timed = "social_post_request_duration_seconds_count{route=\"/new\"}";
        assert_eq!(number(&metrics, timed), Some(5.0));

        let entries = entries(&mut program).await;
        let completed: Vec<_> =
            entries.iter().filter(|entry| entry["message"] == "request completed").collect();
        assert_eq!(completed.len(), lines, "{access_log}: {completed:?}");
        assert!(completed.iter().all(|line| line["span"]["id"].is_string()), "{completed:?}");
        if lines == 6 {
            assert_eq!(completed.iter().filter(|line| line["route"] == "/new").count(), 5);
        } else {
            assert_eq!(completed[0]["status"], 404);
        }
    }
}
