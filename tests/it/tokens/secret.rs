//! The secret that tokens are signed with.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    cli::complaint,
    program::{Program, get, post, social_post},
    support::{
        API, PASSWORD, TestSite, absent_database, database, empty_directory, oracle, routes,
        wire::exchange,
    },
    tokens::forgery::Pattern,
};

const OLD: &str = "the secret of before, and long enough: 7f3a91";
const NEW: &str = "the secret of today, and long enough: c04b22";

fn ask(path: &str, token: &str) -> String {
    let head = format!("GET {API}{path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n");
    format!("{head}Authorization: Bearer {token}\r\n\r\n")
}

async fn log_in_at(program: &Program) -> String {
    let fields = [("username", "ada"), ("password", PASSWORD)];
    let reply = program.ask(post(&format!("{API}/login"), "", &fields)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.member("access_token").as_str().unwrap().to_owned()
}

/// Two programs over one database, as when one replaces the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_the_jwt_secret_fails_no_request_and_dropping_the_old_one_ends_its_tokens() {
    let database = database().await;
    TestSite::over(database.options(), "http://site.test").member("ada").await;
    let start = async |settings: &[(&str, &str)]| {
        let settings = [settings, &[("LISTEN_ADDR", "127.0.0.1:0")]].concat();
        Program::start_with(&database.url, &settings).await
    };
    let first = start(&[("JWT_SECRET", OLD)]).await;
    let old_token = log_in_at(&first).await;

    let current = Arc::new(Mutex::new((first.address, old_token.clone())));
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..2 {
        let (current, stop, asked) = (current.clone(), stop.clone(), asked.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let (address, token) = current.lock().unwrap().clone();
                let reply = exchange(address, ask("/users/me", &token)).await.unwrap();
                assert_eq!(reply.status, 200, "{}", reply.body);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let some_more = async || {
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 20 {
            assert_eq!(clients.len(), 2);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    some_more().await;
    let mut second = start(&[("JWT_SECRET", NEW), ("JWT_SECRET_PREVIOUS", OLD)]).await;
    *current.lock().unwrap() = (second.address, old_token.clone());
    some_more().await;
    drop(first);
    some_more().await;
    let new_token = log_in_at(&second).await;
    assert_ne!(Pattern::of(&new_token).head["kid"], Pattern::of(&old_token).head["kid"]);
    current.lock().unwrap().1.clone_from(&new_token);
    some_more().await;
    let third = start(&[("JWT_SECRET", NEW)]).await;
    current.lock().unwrap().0 = third.address;
    some_more().await;
    second.signal(Signal::SIGTERM);
    assert_eq!(second.ended().await, Some(0));
    some_more().await;
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }

    for (token, status) in [(&old_token, 401), (&new_token, 200)] {
        assert_eq!(third.ask(ask("/users/me", token)).await.status, status);
        oracle::check(&third.ask(ask("/users/me", token)).await, "/users/me", &[OLD, NEW]);
    }
    // And one that knows the old secret alone takes nothing of the new.
    let back = start(&[("JWT_SECRET", OLD)]).await;
    assert_eq!(back.ask(ask("/users/me", &new_token)).await.status, 401);
    for program in [&second, &third] {
        let log = program.log.lock().unwrap();
        for secret in [OLD, NEW, old_token.as_str(), new_token.as_str()] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[tokio::test]
async fn an_invalid_jwt_secret_stops_the_start_in_one_line_and_is_not_printed() {
    let url = absent_database().url;
    let directory = empty_directory("secrets");
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let short = file("short", "canary7f3a\n");
    let empty = file("empty", " \n");
    let canary = "canary7f3a canary7f3a canary7f3a and so on";
    let cases: [(&[(&str, &str)], &str); 21] = [
        (&[("JWT_SECRET", "canary7f3a")], "JWT_SECRET"),
        (&[("JWT_SECRET", &canary[..31])], "JWT_SECRET"),
        (&[("JWT_SECRET", "cccccccccccccccccccccccccccccccccccccccc")], "JWT_SECRET"),
        (&[("JWT_SECRET", "changemechangemechangemechangeme")], "JWT_SECRET"),
        (
            &[("JWT_SECRET", "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7")],
            "JWT_SECRET",
        ),
        (&[("JWT_SECRET", "a-string-secret-at-least-256-bits-long")], "JWT_SECRET"),
        (&[("JWT_SECRET_FILE", &short)], "JWT_SECRET"),
        (&[("JWT_SECRET_FILE", &empty)], "JWT_SECRET_FILE"),
        (&[("JWT_SECRET_FILE", "/nowhere")], "JWT_SECRET_FILE"),
        (&[("JWT_SECRET_FILE", &short), ("JWT_SECRET", canary)], "JWT_SECRET"),
        (&[("JWT_SECRET_PREVIOUS", canary)], "JWT_SECRET"),
        (&[("JWT_SECRET_PREVIOUS", "canary7f3a"), ("JWT_SECRET", canary)], "JWT_SECRET_PREVIOUS"),
        (&[("API_ENABLED", "true")], "JWT_SECRET"),
        (&[("API_ENABLED", "maybe"), ("JWT_SECRET", canary)], "API_ENABLED"),
        (&[("ACCESS_TOKEN_EXPIRE_MINUTES", "0")], "ACCESS_TOKEN_EXPIRE_MINUTES"),
        (&[("ACCESS_TOKEN_EXPIRE_MINUTES", "half")], "ACCESS_TOKEN_EXPIRE_MINUTES"),
        (&[("CORS_ALLOWED_ORIGINS", "*")], "CORS_ALLOWED_ORIGINS"),
        (&[("CORS_ALLOWED_ORIGINS", "null")], "CORS_ALLOWED_ORIGINS"),
        (&[("CORS_ALLOWED_ORIGINS", "example.org")], "CORS_ALLOWED_ORIGINS"),
        (&[("CORS_ALLOWED_ORIGINS", "https://a.test/path")], "CORS_ALLOWED_ORIGINS"),
        (&[("CORS_ALLOWED_ORIGINS", "https://a.test,https://*.a.test")], "CORS_ALLOWED_ORIGINS"),
    ];
    for (settings, name) in cases {
        let settings = [settings, &[("DATABASE_URL", url.as_str())]].concat();
        let told = complaint(&social_post(&["user", "list"], &settings), 2);
        assert!(told.starts_with(&format!("{name} ")), "{settings:?}: {told}");
        assert!(!told.contains("canary7f3a"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_is_switched_off_is_a_404_everywhere() {
    let site = TestSite::altered(|app| app.tokens = None).await;
    site.member("ada").await;
    let mut paths: Vec<String> = ["", "/", "/v1", "/v1/", "/v2/posts", "/v1/nothing"]
        .map(|rest| format!("/api{rest}"))
        .into();
    paths.extend(routes::api().into_iter().map(|(path, _)| format!("{API}{path}")));
    for path in paths {
        let path = path.replace("{id}", "1").replace("{username}", "ada");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            for origin in ["http://site.test", "https://evil.test", "null"] {
                let nobody = site.visitor();
                let request = nobody
                    .request(method.parse().unwrap(), &path)
                    .header("origin", origin)
                    .header("content-type", "application/json");
                let reply = nobody.send(request, "{}").await;
                // That alone is an address like any other.
                let is_page = ["/api", "/api/"].contains(&path.as_str());
                assert!(is_page || reply.status == 404, "{method} {path}: {}", reply.status);
                assert!(reply.status.is_client_error(), "{method} {path}: {}", reply.status);
                oracle::check(&reply, &path, &[]);
            }
        }
    }

    let database = database().await;
    let listens = ("LISTEN_ADDR", "127.0.0.1:0");
    for settings in [
        vec![listens],
        vec![listens, ("JWT_SECRET", NEW), ("API_ENABLED", "false")],
        vec![listens, ("API_ENABLED", "false")],
    ] {
        let program = Program::start_with(&database.url, &settings).await;
        for path in ["/posts", "/openapi.json", "/docs"] {
            let reply = program.ask(get(&format!("{API}{path}"), "")).await;
            assert_eq!(reply.status, 404, "{settings:?}");
        }
        let fields = [("username", "ada"), ("password", PASSWORD)];
        assert_eq!(program.ask(post(&format!("{API}/login"), "", &fields)).await.status, 404);
        assert_eq!(program.ask(get("/", "")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_local_cluster_the_jwt_secret_is_made_once_and_stays_private() {
    let directory = empty_directory("data");
    let data = directory.join("data");
    let data_dir = data.display().to_string();
    let settings = [("DATA_DIR", data_dir.as_str()), ("LISTEN_ADDR", "127.0.0.1:0")];
    let secret = || fs::read_to_string(data.join("jwt-secret")).unwrap();

    let mut program = Program::start_with("", &settings).await;
    let made = secret();
    assert!(made.trim().len() >= 32, "{made}");
    let rights = fs::metadata(data.join("jwt-secret")).unwrap().permissions();
    assert_eq!(rights.mode() & 0o777, 0o600);
    let account = json!({ "username": "ada", "email": "ada@example.org", "password": PASSWORD });
    let account = account.to_string();
    let sign_up = format!(
        "POST {API}/users HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{account}",
        account.len()
    );
    assert_eq!(program.ask(sign_up).await.status, 201);
    let token = log_in_at(&program).await;
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));

    let mut program = Program::start_with("", &settings).await;
    assert_eq!(secret(), made);
    assert_eq!(program.ask(ask("/users/me", &token)).await.status, 200, "it outlives a restart");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));
    assert!(!program.log.lock().unwrap().contains(made.trim()));

    fs::write(data.join("jwt-secret"), "canary7f3a").unwrap();
    let settings =
        [settings[0], settings[1], ("BASE_URL", "http://site.test"), ("DATABASE_URL", "")];
    let output = social_post(&["serve"], &settings);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_ne!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("jwt-secret") && !told.contains("canary7f3a"), "{told}");
}
