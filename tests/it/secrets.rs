//! What the program knows and tells nobody: passwords, keys, and what its log is silent about.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Write as _,
    process::Stdio,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use social_post::config::Settings;
use sqlx::Executor as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    program::{Program, command, get, post, social_post},
    support::{
        BROKEN_TITLES, PASSWORD, TestSite, absent_database, database, oracle,
        wire::{exchange, listen},
    },
};

const ANYWHERE: (&str, &str) = ("LISTEN_ADDR", "127.0.0.1:0");

// --- Passwords ---

#[tokio::test]
async fn every_password_is_stored_as_an_argon2id_hash_with_its_own_salt() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    site.member("ada").await;
    site.member("bob").await;
    let settings = [("DATABASE_URL", database.url.as_str())];
    for arguments in [
        &["user", "create", "cy", "--email", "cy@example.org"][..],
        &["user", "create", "eve", "--email", "eve@example.org"],
        &["user", "reset-password", "eve"],
    ] {
        assert_eq!(social_post(arguments, &settings).status.code(), Some(0), "{arguments:?}");
    }
    let arguments = ["user", "create", "dan", "--email", "dan@example.org", "--password-stdin"];
    let mut typed = command(&arguments, &settings);
    let mut typing = typed.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    typing.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    assert!(typing.wait().unwrap().success());

    let hashes: Vec<String> =
        sqlx::query_scalar("select password_hash from users").fetch_all(&site.db).await.unwrap();
    let mut salts = HashSet::new();
    for hash in &hashes {
        let parts: Vec<_> = hash.split('$').collect();
        let [_, "argon2id", "v=19", cost, salt, _] = parts[..] else { panic!("{hash}") };
        let costs: HashMap<_, u32> = cost
            .split(',')
            .map(|cost| cost.split_once('=').unwrap())
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect();
        assert!(costs["m"] >= 19_456 && costs["t"] >= 2 && costs["p"] == 1, "{hash}");
        assert_eq!(salt.len(), 22, "16 bytes: {hash}");
        assert!(salts.insert(salt.to_owned()), "two have one salt: {hashes:?}");
    }
    assert_eq!(hashes.len(), 5);
}

/// Two hundred at once are more than can be hashed before anybody loses timeouts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_log_ins_gets_503_with_retry_after_and_delays_no_reader() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    site.member("ada").await;
    let program = Program::start_with(&database.url, &[ANYWHERE]).await;
    let memory = |name: &str| -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", program.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    for path in ["/", "/login"] {
        assert_eq!(program.ask(get(path, "")).await.status, 200);
    }
    let before = memory("VmRSS:");

    let mut rush = JoinSet::new();
    for n in 0..200 {
        let address = program.address;
        let login = if n % 2 == 0 { "ada" } else { "nobody" };
        let request = post("/login", "", &[("login", login), ("password", PASSWORD)]);
        rush.spawn(async move { exchange(address, request).await.unwrap() });
    }
    let mut read = 0;
    let mut statuses = HashMap::new();
    while !rush.is_empty() {
        let page = program.ask(get("/", "")).await;
        assert_eq!(page.status, 200, "a reader is kept out");
        read += 1;
        while let Some(reply) = rush.try_join_next() {
            let reply = reply.unwrap();
            oracle::check(&reply, "a log-in in the rush", &[PASSWORD]);
            *statuses.entry(reply.status.as_u16()).or_insert(0) += 1;
        }
    }
    assert!(read > 5, "the rush was over at once: {statuses:?}");
    assert!(statuses[&503] > 0 && statuses[&303] > 0, "{statuses:?}");
    assert!(statuses.keys().all(|status| [303, 401, 503].contains(status)), "{statuses:?}");
    // A hash takes 19 MiB, and no more of them run at once than there are processors.
    let at_once = std::thread::available_parallelism().unwrap().get() as u64;
    let most = before + (at_once * 19 + 64) * 1024;
    assert!(memory("VmHWM:") <= most, "{} KiB and not {most}", memory("VmHWM:"));
}

// --- Secrets of the operator ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_an_argument_or_is_ever_printed() {
    for arguments in [
        &["serve", "--database-url", "postgres://u:canary7f3a@h/d"][..],
        &["--database-url=postgres://u:canary7f3a@h/d"],
        &["serve", "--smtp-url=smtp://u:canary7f3a@h"],
        &["serve", "--jwt-secret=canary7f3a"],
        &["user", "create", "ada", "--email", "a@example.org", "--password=canary7f3a"],
    ] {
        let output = social_post(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("canary7f3a"), "{said}");
    }

    // Set as they should be, they are in no sign of life of the program: neither what `ps` shows,
    // nor its log at its most talkative, nor what it says as it cannot reach its database.
    let url = absent_database().url.replace("social_post@", "social_post:canary7f3a@");
    let url = url.as_str();
    let settings = [
        ANYWHERE,
        ("RUST_LOG", "trace"),
        ("SMTP_URL", "smtps://u:canary7f3a@h.test"),
        ("MAIL_FROM", "a@example.org"),
    ];
    let mut program = Program::start_with(url, &settings).await;
    for path in ["/", "/readyz", "/healthz", "/nowhere"] {
        let reply = program.ask(get(path, "")).await;
        oracle::check(&reply, path, &["canary"]);
    }
    let shown = fs::read_to_string(format!("/proc/{}/cmdline", program.child.id())).unwrap();
    assert!(shown.contains("serve") && !shown.contains("canary"), "{shown}");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));
    let log = program.log.lock().unwrap();
    let telling: Vec<_> = log.lines().filter(|line| line.contains("canary7f3a")).collect();
    assert!(log.contains("not ready") && telling.is_empty(), "{telling:#?}");

    let source = |name: &str| match name {
        "DATABASE_URL" => Some(Ok(url.to_owned())),
        "SMTP_URL" => Some(Ok("smtps://u:canary7f3a@h.test".to_owned())),
        "MAIL_FROM" => Some(Ok("a@example.org".to_owned())),
        _ => None,
    };
    let settings = Settings::from_source(None, &source, &HashMap::new()).unwrap();
    for shown in [format!("{settings:?}"), format!("{settings:#?}"), format!("{:?}", settings.mail)]
    {
        assert!(!shown.contains("canary"), "{shown}");
    }
}

/// The site never needs more of its database than its rows.
#[tokio::test]
async fn a_database_role_without_ddl_rights_is_enough() {
    let database = database().await;
    let options = database.options_of_a_mere_writer().await;
    let site = TestSite::over(options, "http://site.test");
    for sql in [
        "create table x ()",
        "alter table posts add x text",
        "drop table votes",
        "truncate users",
        "create schema x",
    ] {
        assert!(site.db.execute(sql).await.is_err(), "{sql}");
    }

    assert_eq!(site.visitor().get("/readyz").await.status, 200);
    let ada = site.member("ada").await;
    let typed = [("title", "A title"), ("url", "https://a.test"), ("body", "Some *text*")];
    let place = ada.post("/posts", &typed).await.location().to_owned();
    ada.get(&place).await.has("<em>text</em>");
    for (path, fields) in [
        (format!("{place}/vote"), &[("value", "1")][..]),
        (format!("{place}/vote"), &[("value", "0")]),
        (format!("{place}/edit"), &[("title", "Another title")]),
    ] {
        assert_eq!(ada.post(&path, fields).await.status, 303, "{path}");
    }
    for path in ["/", "/new", "/top?t=week", "/search?q=another", "/search?q=anothr", "/users/ada"]
    {
        ada.get(path).await.has("Another title");
    }
    assert_eq!(ada.post(&format!("{place}/delete"), &[]).await.status, 303);
    assert_eq!(ada.post("/logout", &[]).await.status, 303);
    assert_eq!(ada.post("/login", &[("login", "ada"), ("password", PASSWORD)]).await.status, 303);
    social_post::users::sessions::db::sweep(&site.db, &site.app.site).await.unwrap();
}

// --- The log ---

/// The entries of a program that logs JSON, once it has ended.
/// The log of a program, as JSON, once it has ended.
pub async fn entries(program: &mut Program) -> Vec<Value> {
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));
    let log = program.log.lock().unwrap().clone();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn security_events_are_logged_in_one_line_each_whatever_is_sent() {
    let database = database().await;
    let settings = [ANYWHERE, ("LOG_FORMAT", "json")];
    let mut program = Program::start_with(&database.url, &settings).await;
    let account = [("username", "ada"), ("email", "ada@example.org"), ("password", PASSWORD)];
    let forged = "x\r\n{\"level\":\"INFO\",\"message\":\"logged in\",\"user\":1}\n";
    let right = [("login", "ada"), ("password", PASSWORD)];
    let wrong = [("login", "ada"), ("password", forged)];
    let (mut cookie, mut asked) = (String::new(), Vec::new());
    // The request, its status, and what the log says beside that it was answered.
    for (request, status, said) in [
        (post("/signup", "", &account), 303, "signed up"),
        (post("/login", "", &right), 303, "logged in"),
        (post("/login", "", &wrong), 401, "log-in refused"),
        (post("/login", "", &[("login", forged), ("password", "x")]), 401, "log-in refused"),
        (post("/posts", "COOKIE", &[("title", forged)]), 422, ""),
        (post("/posts", "COOKIE", &[("title", "A title")]), 303, ""),
        (
            post("/posts", "COOKIE", &[("title", "x")]).replace("same-origin", "cross-site"),
            403,
            "refused a form: its origin is not BASE_URL",
        ),
        (get("/users/%0A%7B%22level%22%3A%22INFO%22%7D", "COOKIE"), 404, ""),
        (
            get("/", "COOKIE")
                .replace("Host:", "User-Agent: {\"level\":\"INFO\"}\\n{\"x\":1}\r\nHost:"),
            200,
            "",
        ),
        (get("/", "sid=\t{\"level\":\"INFO\"}"), 200, ""),
        (post("/logout", "COOKIE", &[]), 303, "logged out"),
    ] {
        let reply = program.ask(request.replace("COOKIE", &cookie)).await;
        assert_eq!(reply.status, status, "{request}");
        if let Some(set) = reply.cookies().iter().find(|cookie| cookie.starts_with("sid=")) {
            cookie = set.split(';').next().unwrap().to_owned();
        }
        asked.push((request, reply.header("x-request-id").to_owned(), status, said));
    }

    database.pool.execute(BROKEN_TITLES).await.unwrap();
    let failed = program.ask(get("/new", "")).await;
    assert_eq!(failed.status, 500);
    failed.has(failed.header("x-request-id"));
    let entries = entries(&mut program).await;
    for (request, id, status, said) in asked {
        let own: Vec<_> = entries.iter().filter(|entry| entry["span"]["id"] == id).collect();
        assert_eq!(own.len(), 1 + usize::from(!said.is_empty()), "{request}: {own:#?}");
        assert!(said.is_empty() || own[0]["message"] == said, "{request}: {own:#?}");
        let answered = own.last().unwrap();
        assert_eq!(
            (&answered["message"], &answered["status"]),
            (&"request completed".into(), &status.into())
        );
        assert!(answered["timestamp"].as_str().unwrap().ends_with('Z'), "in UTC");
    }
    let told = entries.iter().find(|entry| entry["message"] == "request failed").unwrap();
    assert_eq!(
        (&told["level"], &told["span"]["id"]),
        (&"ERROR".into(), &failed.header("x-request-id").into())
    );
    assert!(told["cause"].as_str().unwrap().contains("division by zero"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn account_changes_and_rate_limit_refusals_are_logged() {
    let database = database().await;
    let settings = [ANYWHERE, ("LOG_FORMAT", "json"), ("RATE_LIMITS", "on")];
    let mut program = Program::start_with(&database.url, &settings).await;
    let account = [("username", "ada"), ("email", "ada@example.org"), ("password", PASSWORD)];
    let (current, wrong) = (("current_password", PASSWORD), ("current_password", "wrong"));
    let leaving = |current| post("/settings/delete-account", "COOKIE", &[current]);
    let guess = || post("/login", "", &[("login", "ada"), ("password", "wrong")]);
    let guesses = (0..5).map(|_| (guess(), 401, "log-in refused"));
    let looks = (0..40).map(|n| {
        let login = format!("nobody-{n}");
        (post("/login", "", &[("login", &login), ("password", "wrong")]), 0, "")
    });
    let steps = [
        (post("/signup", "", &account), 303, "signed up"),
        (leaving(wrong), 422, "password refused"),
        (
            post("/settings/password", "COOKIE", &[current, ("new_password", PASSWORD)]),
            303,
            "changed the password",
        ),
        (
            post("/settings/email", "COOKIE", &[current, ("email", "countess@example.org")]),
            303,
            "changed the e-mail address",
        ),
        (
            post("/settings/sessions/revoke", "COOKIE", &[("others", "true")]),
            303,
            "ended all other sessions and all tokens",
        ),
        (get("/settings/export", "COOKIE"), 200, "exported the account's data"),
        (leaving(current), 303, "deleted the account"),
    ];
    let steps = steps.into_iter().chain(guesses);
    let steps = steps.chain([(guess(), 429, "too many password attempts")]).chain(looks);
    let (mut cookie, mut asked) = (String::new(), Vec::new());
    for (request, status, said) in steps {
        let reply = program.ask(request.replace("COOKIE", &cookie)).await;
        assert!(status == 0 || reply.status == status, "{request}: {}", reply.body);
        if let Some(set) = reply.cookies().iter().find(|cookie| cookie.starts_with("sid=")) {
            cookie = set.split(';').next().unwrap().to_owned();
        }
        asked.push((reply.header("x-request-id").to_owned(), reply.status.as_u16(), said));
    }

    let entries = entries(&mut program).await;
    let said_under = |id: &str| -> Vec<&str> {
        let own = entries.iter().filter(|entry| entry["span"]["id"] == id);
        own.filter_map(|entry| entry["message"].as_str()).collect()
    };
    let mut rate_limited = 0;
    for (id, status, said) in &asked {
        let found = said_under(id);
        assert!(said.is_empty() || found == [*said, "request completed"], "{said}: {found:?}");
        if said.is_empty() && *status == 429 {
            rate_limited += 1;
            assert_eq!(found, ["rate limited", "request completed"]);
        }
    }
    assert!(rate_limited > 0, "a network has its budget too");
}

/// A bad cookie causes no more log lines than a good one, on any route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_bad_cookies_logs_nothing() {
    const COUNT: usize = 2000;
    let database = database().await;
    let everything = "trace,social_post=warn,social_post::cli::serve=info";
    for (filter, lines_each) in [(everything, 0), ("info", 1)] {
        let mut program =
            Program::start_with(&database.url, &[ANYWHERE, ("RUST_LOG", filter)]).await;
        let mut asked = String::new();
        for n in 0..COUNT {
            let cookie = match n % 4 {
                0 => format!("sid=AAAAAAAAAAAAAAAAA{n:05}"),
                1 => format!("sid=rubbish{n}; flash=rubbish{n}"),
                2 => format!("sid=a; sid={n}"),
                _ => format!("%73id={n}; =; ;;\tsid\u{a0}=x"),
            };
            let close = if n + 1 == COUNT { "Connection: close\r\n" } else { "" };
            for path in ["/healthz", "/login"] {
                let head =
                    format!("GET {path} HTTP/1.1\r\nHost: site.test\r\n{close}Cookie: {cookie}");
                asked += &(head + "\r\n\r\n");
            }
        }
        let (mut reading, mut writing) =
            TcpStream::connect(program.address).await.unwrap().into_split();
        let sending = tokio::spawn(async move { writing.write_all(asked.as_bytes()).await });
        let mut answers = Vec::new();
        reading.read_to_end(&mut answers).await.unwrap();
        let _ = sending.await.unwrap();
        let answered = String::from_utf8_lossy(&answers).matches("HTTP/1.1 ").count();
        assert_eq!(answered, 2 * COUNT - 1, "only {answered} were answered");
        program.signal(Signal::SIGTERM);
        assert_eq!(program.ended().await, Some(0));
        let log = program.log.lock().unwrap();
        // What it says of its own.
        let own = ["RATE_LIMITS", "serving", "the site is empty", "shutting down"];
        let is_own = |line: &&str| own.iter().any(|words| line.contains(words));
        let lines: Vec<_> = log.lines().filter(|line| !is_own(line)).collect();
        let most = answered * lines_each;
        assert!(lines.len() <= most, "{filter}: {} lines, {:?}", lines.len(), lines.last());
    }
}

// --- Faults ---

/// A date that no calendar of ours has stops the handler in the middle of its work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_is_a_500_and_the_site_lives_on() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    let post = site.post_by("ada", "A title").await;
    let fine = site.post_by("ada", "Another").await;
    site.db
        .execute(
            format!("update post_ranks set created_at = 'infinity' where post_id = {post}")
                .as_str(),
        )
        .await
        .unwrap();

    let mut program = Program::start_with(&database.url, &[ANYWHERE, ("LOG_FORMAT", "json")]).await;
    let mut ids = HashSet::new();
    for round in 0..40 {
        let reply = program.ask(get(&format!("/posts/{post}"), "")).await;
        assert_eq!(reply.status, 500);
        oracle::check_any(&reply, "a panic", &["infinity", "overflow", "calendar"]);
        reply.has("<!doctype html>").has(reply.header("x-request-id")).has("href=\"/\"");
        ids.insert(reply.header("x-request-id").to_owned());
        let next = program.ask(get(&format!("/posts/{fine}"), "")).await;
        assert_eq!(next.status, 200, "after {round} panics");
    }
    let entries = entries(&mut program).await;
    let told = entries.iter().filter(|entry| {
        entry["cause"].as_str().is_some_and(|cause| cause.contains("panic"))
            && ids.contains(entry["span"]["id"].as_str().unwrap())
    });
    assert_eq!(told.count(), 40);
}

#[tokio::test]
async fn a_search_that_takes_too_long_times_out_and_says_so() {
    let site = TestSite::new().await;
    site.post_by("ada", "A title").await;
    site.db
        .execute(
            "create or replace function search_query(words text) returns tsquery language plpgsql \
             as $$ begin perform pg_sleep(600); return null; end $$",
        )
        .await
        .unwrap();
    let reply = site.visitor().get("/search?q=title").await;
    assert_eq!(reply.status, 503);
    oracle::check(&reply, "/search", &[]);
    let running = "select count(*) from pg_stat_activity where datname = current_database() \
                   and state = 'active' and query like '%search_query(%' and pid <> pg_backend_pid()";
    assert_eq!(site.count(running).await, 0, "it goes on in the database");
}

// --- One connection, another right ---

/// Asks on a connection that stays open.
async fn ask_on(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.replace("Connection: close\r\n", "").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Some((_, length)) = head.split_once("content-length: ")
            && body.len() >= length.split("\r\n").next().unwrap().parse::<usize>().unwrap()
        {
            return text;
        }
        let mut part = [0; 4096];
        let length = stream.read(&mut part).await.unwrap();
        assert_ne!(length, 0, "it hung up: {text}");
        answer.extend(&part[..length]);
    }
}

#[tokio::test]
async fn a_suspension_counts_at_the_next_request_of_the_same_connection() {
    let site = TestSite::new().await;
    let cookie = site.member("ada").await.cookie_header();
    let post_id = site.post_by("ada", "A title").await;
    let address = listen(&site).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let vote = post(&format!("/posts/{post_id}/vote"), &cookie, &[("value", "1")]);
    for (is_suspended, read, written) in
        [(false, "200 OK", "303"), (true, "303", "401"), (false, "200 OK", "303")]
    {
        let state = if is_suspended { "now()" } else { "null" };
        site.db.execute(format!("update users set suspended_at = {state}").as_str()).await.unwrap();
        let page = ask_on(&mut stream, &get("/posts/new", &cookie)).await;
        assert!(page.starts_with(&format!("HTTP/1.1 {read}")), "{page}");
        let voted = ask_on(&mut stream, &vote).await;
        assert!(voted.starts_with(&format!("HTTP/1.1 {written}")), "{voted}");
        let feed = ask_on(&mut stream, &get("/", &cookie)).await;
        assert_eq!(feed.contains("Logged in as <b>ada</b>"), !is_suspended);
    }
}
