//! What an operator types, and what comes back: the words, the streams and the exit codes.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use crate::{
    program::{command, social_post},
    support::{Database, TestSite, database, empty_database, empty_directory},
};

const SECRET: &str = "canary7f3a";

/// The one line on stderr of a command that ended with `code` and said nothing on stdout.
#[track_caller]
pub fn complaint(output: &Output, code: i32) -> String {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{line}");
    let is_one_line = line.ends_with('\n') && line.trim_end().lines().count() == 1;
    assert!(is_one_line && line.starts_with("social-post: "), "{line:?}");
    line.trim_end().trim_start_matches("social-post: ").to_owned()
}

#[track_caller]
fn said(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A command that reads its settings and the schema, and does nothing.
fn look(database: &Database, settings: &[(&str, &str)]) -> Output {
    let mut all = vec![("DATABASE_URL", database.url.as_str())];
    all.extend(settings);
    social_post(&["user", "list"], &all)
}

// --- Settings ---

#[test]
fn an_invalid_setting_is_named_in_one_line_before_anything_is_done() {
    let long = "x".repeat(61);
    let bad = [
        ("DATABASE_URL", "mysql://canary7f3a@host/db"),
        ("DATABASE_URL", "postgres://user:canary7f3a@host:port/db"),
        ("DATABASE_URL", "canary7f3a"),
        ("DATABASE_URL_FILE", "/nowhere/canary"),
        ("DATABASE_REPLICA_URL", "mysql://canary7f3a@host/db"),
        ("DATABASE_MAX_CONNECTIONS", "0"),
        ("DATABASE_MAX_CONNECTIONS", "1001"),
        ("DATABASE_MAX_CONNECTIONS", "many"),
        ("RUN_MIGRATIONS", "maybe"),
        ("LISTEN_ADDR", "8000"),
        ("LISTEN_ADDR", "localhost:8000"),
        ("LISTEN_ADDR", "127.0.0.1:65536"),
        ("BASE_URL", "example.org"),
        ("BASE_URL", "ftp://example.org"),
        ("BASE_URL", "https://example.org/path"),
        ("BASE_URL", "https://user@example.org"),
        ("BASE_URL", "https://example.org/?q"),
        ("SITE_NAME", "two\nlines"),
        ("SITE_NAME", &long),
        ("SESSION_LIFETIME_DAYS", "0"),
        ("SESSION_LIFETIME_DAYS", "3651"),
        ("SESSION_LIFETIME_DAYS", "30 days"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "a=b=c"),
        ("TRUSTED_PROXIES", "localhost"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("RATE_LIMITS", "false"),
        ("METRICS_LISTEN_ADDR", "9000"),
        ("METRICS_LISTEN_ADDR", "127.0.0.1:8000"),
        ("METRICS_LISTEN_ADDR", "0.0.0.0:8000"),
    ];
    for (name, value) in bad {
        for arguments in [&["serve"][..], &[], &["user", "list"], &["migrate", "status"]] {
            let line = complaint(&social_post(arguments, &[(name, value)]), 2);
            assert!(line.starts_with(name), "{name}={value}: {line}");
            assert!(!line.contains(SECRET), "{line}");
        }
    }
    let line = complaint(&social_post(&[], &[("DATABASE_REPLICA_URL", "postgres://h/d")]), 2);
    assert!(line.starts_with("DATABASE_URL is needed beside DATABASE_REPLICA_URL"), "{line}");
    let both = [("DATABASE_URL", "postgres://h/d"), ("DATABASE_URL_FILE", "/etc/hostname")];
    let line = complaint(&social_post(&["serve"], &both), 2);
    assert!(line.contains("DATABASE_URL") && line.contains("DATABASE_URL_FILE"), "{line}");
}

#[test]
fn the_smtp_settings_are_checked_at_start_and_the_password_is_never_printed() {
    let from = ("MAIL_FROM", "Social Post <post@example.org>");
    for (settings, name) in [
        // One without the other.
        (vec![("SMTP_URL", "smtps://canary7f3a@host")], "MAIL_FROM "),
        (vec![from], "SMTP_URL "),
        (vec![("SMTP_URL", "https://user:canary7f3a@host"), from], "SMTP_URL "),
        (vec![("SMTP_URL", "canary7f3a"), from], "SMTP_URL "),
        (vec![("SMTP_URL", "smtps://"), from], "SMTP_URL "),
        // It would go over the wire for anybody to read.
        (vec![("SMTP_URL", "smtp://user:canary7f3a@mail.example.org"), from], "SMTP_URL "),
        (vec![("SMTP_URL", "smtp://127.0.0.1:25"), ("MAIL_FROM", "nobody")], "MAIL_FROM "),
    ] {
        let line = complaint(&social_post(&["migrate", "status"], &settings), 2);
        assert!(line.starts_with(name), "{settings:?}: {line}");
        assert!(!line.contains(SECRET), "{line}");
    }
}

#[test]
fn a_setting_that_is_not_utf8_is_named_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut serve = command(&["serve"], &[]);
    serve.env("SITE_NAME", std::ffi::OsStr::from_bytes(b"\xFF"));
    let line = complaint(&serve.output().unwrap(), 2);
    assert!(line.starts_with("SITE_NAME"), "{line}");
}

/// Runs `social-post user list` beside a `.env` of this content.
fn beside(dotenv: &str, settings: &[(&str, &str)]) -> Output {
    let directory = empty_directory("dotenv");
    fs::write(directory.join(".env"), dotenv).unwrap();
    command(&["user", "list"], settings).current_dir(directory).output().unwrap()
}

#[tokio::test]
async fn a_dotenv_file_is_read_and_an_unknown_setting_in_it_stops_the_start() {
    let database = database().await;
    let url = &database.url;
    said(&beside(&format!("# ours\nDATABASE_URL='{url}'\nexport LOG_FORMAT=json\n"), &[]));

    for (file, names) in [
        ("DATABASE_UR=canary7f3a", "DATABASE_UR "),
        ("PATH=/bin", "PATH "),
        ("JWT=canary7f3a", "JWT "),
        ("LOG_FORMAT=text\nLOG_FORMAT=json", "LOG_FORMAT "),
        ("LOG_FORMAT=xml", "LOG_FORMAT "),
        ("DATABASE_URL=mysql://canary7f3a", "DATABASE_URL "),
        ("canary7f3a", ".env "),
        ("DATABASE_URL=\"canary7f3a", ".env "),
    ] {
        let line = complaint(&beside(file, &[]), 2);
        assert!(line.starts_with(names), "{file}: {line}");
        assert!(!line.contains(SECRET), "{file}: {line}");
    }
}

#[tokio::test]
async fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let database = database().await;
    let url = format!("DATABASE_URL='{}'\n", database.url);
    said(&beside("DATABASE_URL=mysql://wrong\n", &[("DATABASE_URL", &database.url)]));
    said(&beside(&format!("{url}LOG_FORMAT=xml\n"), &[("LOG_FORMAT", "json")]));
    // Empty is unset.
    said(&beside(&url, &[("DATABASE_URL", ""), ("LOG_FORMAT", "")]));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = [("DATABASE_URL", database.url.as_str()), ("LISTEN_ADDR", "127.0.0.1:1")];
    for arguments in [&["--listen", address.as_str()][..], &["serve", "--listen", &address]] {
        let line = complaint(&social_post(arguments, &settings), 1);
        assert!(line.contains(&address), "{line}");
    }
}

#[tokio::test]
async fn a_secret_may_be_kept_in_a_file() {
    let database = database().await;
    let path = empty_directory("secret").join("url");
    let file = path.to_str().unwrap();
    fs::write(&path, format!("{}\n", database.url)).unwrap();
    said(&social_post(&["user", "list"], &[("DATABASE_URL_FILE", file)]));
    said(&beside(&format!("DATABASE_URL_FILE={file}"), &[]));

    fs::write(&path, " \n").unwrap();
    let line = complaint(&social_post(&["user", "list"], &[("DATABASE_URL_FILE", file)]), 2);
    assert!(line.starts_with("DATABASE_URL_FILE") && line.contains("empty"), "{line}");
}

// --- Asking what there is ---

#[test]
fn help_and_version_go_to_stdout_and_an_unknown_argument_is_an_error() {
    let version = said(&social_post(&["--version"], &[]));
    assert_eq!(version, format!("social-post {}\n", env!("CARGO_PKG_VERSION")));
    let help = said(&social_post(&["--help"], &[]));
    for name in ["serve", "migrate", "import", "user"] {
        assert!(help.contains(name), "{help}");
        assert!(said(&social_post(&[name, "--help"], &[])).contains("Usage:"), "{name}");
    }
    // Neither needs a setting to be right.
    said(&social_post(&["user", "create", "--help"], &[("LOG_FORMAT", "xml")]));

    for arguments in [
        &["frobnicate"][..],
        &["--frobnicate"],
        &["user"],
        &["user", "create"],
        &["user", "create", "ada"],
        &["user", "create", "ada", "--email"],
        &["serve", "--listen", "nowhere"],
        &["serve", "extra"],
        &["migrate", "down", "--steps", "0"],
        &["migrate", "to", "-1"],
        &["migrate", "to", "latest"],
    ] {
        let output = social_post(arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn output_has_no_colour_without_a_terminal_or_with_no_color() {
    let database = database().await;
    let settings = [("DATABASE_URL", database.url.as_str()), ("NO_COLOR", "1")];
    let script = |settings: &[(&str, &str)], line: &str| -> Option<Vec<u8>> {
        // `script` gives the program a terminal.
        let program = env!("CARGO_BIN_EXE_social-post");
        let mut script = Command::new("script");
        script.args(["-qec", &format!("{program} {line}"), "/dev/null"]).stdin(Stdio::null());
        script.envs(settings.iter().copied()).env("TERM", "xterm");
        if !settings.iter().any(|(name, _)| *name == "NO_COLOR") {
            script.env_remove("NO_COLOR");
        }
        script.output().ok().map(|output| output.stdout)
    };
    for output in [look(&database, &[]), social_post(&["--help"], &[])] {
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b));
    }
    for line in ["--help", "frobnicate", "user list"] {
        let Some(shown) = script(&settings, line) else { return };
        assert!(!shown.contains(&0x1b), "{line}: {}", String::from_utf8_lossy(&shown));
    }
}

// --- People ---

fn user(database: &Database, arguments: &[&str]) -> Output {
    social_post(&[&["user"], arguments].concat(), &[("DATABASE_URL", &database.url)])
}

fn user_typing(database: &Database, arguments: &[&str], typed: &[u8]) -> Output {
    let arguments = [&["user"], arguments].concat();
    let mut command = command(&arguments, &[("DATABASE_URL", &database.url)]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed).unwrap();
    child.wait_with_output().unwrap()
}

async fn logs_in(site: &TestSite, login: &str, password: &str) -> bool {
    let fields = [("login", login), ("password", password)];
    let reply = site.visitor().post("/login", &fields).await;
    assert!([303, 401].contains(&reply.status.as_u16()), "{}", reply.body);
    reply.status == 303
}

#[tokio::test]
async fn the_user_command_creates_accounts_and_prints_a_password_once() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");

    let made = said(&user(&database, &["create", "ada", "--email", "ada@example.org"]));
    let password = made.strip_suffix('\n').unwrap();
    assert!(password.len() >= 20 && !password.contains(char::is_whitespace), "{made:?}");
    assert!(logs_in(&site, "ada", password).await);
    assert!(logs_in(&site, "ADA@example.org", password).await);

    let typed = "pässword of a mountain goat";
    let arguments = ["create", "bob", "--email", "bob@example.org", "--password-stdin", "--admin"];
    let made = user_typing(&database, &arguments, format!("{typed}\r\n").as_bytes());
    assert_eq!(said(&made), "", "who gave it need not be told");
    assert!(!String::from_utf8_lossy(&made.stderr).contains(typed));
    assert!(logs_in(&site, "bob", typed).await);
    // An operator may give the names that nobody may take.
    said(&user(&database, &["create", "admin", "--email", "admin@example.org"]));

    let list = said(&user(&database, &["list"]));
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    let people: Vec<_> = rows.iter().map(|row| (row[0], row[1], row[2], row[3])).collect();
    assert_eq!(
        people,
        [
            ("ada", "ada@example.org", "member", "active"),
            ("bob", "bob@example.org", "admin", "active"),
            ("admin", "admin@example.org", "member", "active"),
        ]
    );
    assert!(!list.contains("argon2"));
}

#[tokio::test]
async fn a_user_that_cannot_be_created_is_explained_and_leaves_nothing() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    said(&user(&database, &["create", "ada", "--email", "ada@example.org"]));

    for (name, email, code, says) in [
        ("ADA", "other@example.org", 1, "already taken"),
        ("eve", "Ada@Example.org", 1, "e-mail"),
        ("a", "eve@example.org", 2, "user name"),
        ("eve lyn", "eve@example.org", 2, "user name"),
        ("eve", "nowhere", 2, "e-mail"),
        ("", "eve@example.org", 2, "user name"),
    ] {
        let line = complaint(&user(&database, &["create", name, "--email", email]), code);
        assert!(line.contains(says), "{name} {email}: {line}");
    }
    let arguments = ["create", "eve", "--email", "eve@example.org", "--password-stdin"];
    let long = "x".repeat(5000);
    for typed in
        ["", "\n", "short", "passwordpassword", "eve@example.org", "a\0bcdefghijklmno", &long]
    {
        let line = complaint(&user_typing(&database, &arguments, typed.as_bytes()), 2);
        assert!(typed.trim().is_empty() || !line.contains(typed), "{line}");
    }
    // Not text at all: nobody could type it again.
    let output = user_typing(&database, &arguments, b"\xFF\xFEviolet kettle 9 harbour");
    assert!(matches!(output.status.code(), Some(1 | 2)), "{:?}", output.status);
    assert_eq!(site.count("select count(*) from users").await, 1);
}

#[tokio::test]
async fn a_password_reset_by_the_operator_ends_every_session_and_the_old_password() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    let ada = site.member("ada").await;
    let bob = site.member("bob").await;
    assert_eq!(ada.get("/posts/new").await.status, 200);

    let told = said(&user(&database, &["reset-password", "Ada"]));
    assert_eq!(ada.get("/posts/new").await.status, 303, "the session is over");
    assert_eq!(bob.get("/posts/new").await.status, 200, "another's is not");
    assert!(!logs_in(&site, "ada", crate::support::PASSWORD).await);
    assert!(logs_in(&site, "ada", told.trim_end()).await);

    // The link beside it is for who would rather choose a password themselves.
    let output = user(&database, &["reset-password", "ada"]);
    let words = String::from_utf8(output.stderr.clone()).unwrap();
    let (_, token) = words.split_once("http://localhost:8000/password/reset/").expect("a link");
    let path = format!("/password/reset/{}", token.trim_end());
    let fields = [("new_password", crate::support::PASSWORD)];
    assert_eq!(site.visitor().post(&path, &fields).await.status, 303);
    assert!(!logs_in(&site, "ada", said(&output).trim_end()).await);
    assert!(logs_in(&site, "ada", crate::support::PASSWORD).await);

    let line = complaint(&user(&database, &["reset-password", "nobody"]), 1);
    assert!(line.contains("nobody") && line.contains("user list"), "{line}");
    complaint(&user(&database, &["reset-password", "no such name"]), 2);
}

#[tokio::test]
async fn a_suspension_and_its_end_count_at_the_next_request_of_any_session() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    assert_eq!(ada.get("/settings").await.status, 200);

    for _ in 0..2 {
        said(&user(&database, &["suspend", "ADA"]));
        assert_eq!(ada.get("/settings").await.status, 303, "her session is over");
        assert_eq!(ada.post("/posts", &[("title", "Hello")]).await.status, 401);
        assert!(!logs_in(&site, "ada", crate::support::PASSWORD).await);
        assert_eq!(bob.get("/settings").await.status, 200);
    }
    assert!(said(&user(&database, &["list"])).contains("ada@example.org\tmember\tsuspended"));

    for _ in 0..2 {
        said(&user(&database, &["restore", "ada"]));
        assert_eq!(ada.get("/settings").await.status, 303, "the old session stays over");
        assert!(logs_in(&site, "ada", crate::support::PASSWORD).await);
    }
    for command in ["suspend", "restore"] {
        let line = complaint(&user(&database, &[command, "nobody"]), 1);
        assert!(line.contains("nobody") && line.contains("user list"), "{line}");
        complaint(&user(&database, &[command, "no such name"]), 2);
    }
}

/// `social-post user list | head -1` is no reason for a complaint.
#[tokio::test]
async fn a_reader_that_closes_the_pipe_early_causes_no_error() {
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    sqlx::query(
        "insert into users (username) select 'person' || n from generate_series(1, 5000) n",
    )
    .execute(&site.db)
    .await
    .unwrap();
    let mut list = command(&["user", "list"], &[("DATABASE_URL", &database.url)]);
    let mut list = list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(list.stdout.take());
    let output = list.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.as_ref()), (Some(0), ""));
}

// --- The schema ---

#[tokio::test]
async fn a_schema_of_another_version_is_reported_with_the_migrate_command_that_helps() {
    let database = empty_database().await;
    let url = ("DATABASE_URL", database.url.as_str());
    let port = ("LISTEN_ADDR", "127.0.0.1:0");
    for arguments in [&["serve"][..], &["user", "list"], &["demo"]] {
        let output = social_post(arguments, &[url, port]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("social-post migrate up"), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
    let tables = "select count(*) from information_schema.tables where table_schema = 'public'";
    let count =
        async || -> i64 { sqlx::query_scalar(tables).fetch_one(&database.pool).await.unwrap() };
    assert_eq!(count().await, 0, "to look is not to touch");

    said(&social_post(&["user", "list"], &[url, ("RUN_MIGRATIONS", "true")]));
    assert!(count().await > 3);
    said(&social_post(&["user", "list"], &[url]));

    sqlx::query("update _sqlx_migrations set version = 9999 where version = 1")
        .execute(&database.pool)
        .await
        .unwrap();
    let ahead = complaint(&social_post(&["user", "list"], &[url]), 2);
    assert!(ahead.contains("ahead"), "{ahead}");
    // Nor does leave to migrate mean leave to guess.
    complaint(&social_post(&["user", "list"], &[url, ("RUN_MIGRATIONS", "true")]), 2);
}

#[test]
fn an_unreachable_database_is_one_error_line_without_the_password() {
    let url = format!("postgres://ada:{SECRET}@127.0.0.1:1/db");
    let line = complaint(&social_post(&["user", "list"], &[("DATABASE_URL", &url)]), 1);
    assert!(!line.contains(SECRET), "{line}");
}

#[test]
fn an_unusable_data_directory_is_one_error_line() {
    let file: PathBuf = empty_directory("data").join("file");
    fs::write(&file, "").unwrap();
    let settings = [("DATA_DIR", file.to_str().unwrap()), ("LISTEN_ADDR", "127.0.0.1:0")];
    let line = complaint(&social_post(&["serve"], &settings), 1);
    assert!(line.contains(file.to_str().unwrap()), "{line}");
}
