//! What the log says, and what it never says.

use nix::sys::signal::Signal;

use crate::{
    program::{Program, free_port, get, post},
    support::{database, empty_database, wire::exchange},
};

#[tokio::test]
async fn a_warning_is_logged_when_the_site_is_reachable_by_another_name_than_its_base_url() {
    let database = database().await;
    let warning = "BASE_URL is unset";
    for (listen, base_url, is_warned) in [
        ("0.0.0.0:0", "", true),
        ("0.0.0.0:0", "http://site.test", false),
        ("127.0.0.1:0", "", false),
    ] {
        let settings = [("LISTEN_ADDR", listen), ("BASE_URL", base_url)];
        let mut program = Program::start_with(&database.url, &settings).await;
        program.comes_to("/readyz", 200).await;
        let form = post("/login", "", &[("login", "ada")]);
        let form = form.replace("Sec-Fetch-Site: same-origin", "Origin: http://box.lan:8000");
        let reply = program.ask(form.replace("site.test", "box.lan:8000")).await;
        assert_eq!(reply.status, 403);
        program.signal(Signal::SIGTERM);
        program.ended().await;

        let log = program.log.lock().unwrap().clone();
        assert_eq!(log.contains(warning), is_warned, "{listen} {base_url}: {log}");
        let refused = log.lines().find(|line| line.contains("refused a form")).unwrap();
        let ours = if base_url.is_empty() { "http://localhost" } else { base_url };
        for words in ["BASE_URL", ours, "http://box.lan:8000", "box.lan:8000"] {
            assert!(refused.contains(words), "{refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_contains_no_secrets_even_at_trace_level() {
    let database = empty_database().await;
    for format in ["json", "text"] {
        let everything = "trace,tower_sessions=trace,tower_sessions_core=trace,sqlx=trace,\
                          sqlx::query=trace,html5ever=trace,hyper=trace,tower_cookies=trace";
        let watched = free_port().await;
        let settings = [
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("METRICS_LISTEN_ADDR", &watched),
            ("RUN_MIGRATIONS", "true"),
            ("RUST_LOG", everything),
            ("LOG_FORMAT", format),
        ];
        let mut program = Program::start_with(&database.url, &settings).await;
        program.comes_to("/readyz", 200).await;
        let name = format!("teller{format}");
        let email = format!("canary.mail.{format}@example.org");
        let account =
            [("username", name.as_str()), ("email", &email), ("password", "canary pass kettle 9")];
        let signed_up = program.ask(post("/signup", "", &account)).await;
        assert_eq!(signed_up.status, 303, "{}", signed_up.body);
        let cookies: Vec<_> =
            signed_up.cookies().iter().map(|line| line.split(';').next().unwrap()).collect();
        let of = |name: &str| {
            (*cookies.iter().find(|cookie| cookie.starts_with(name)).unwrap()).to_owned()
        };
        let (cookie, device) = (of("sid="), of("device="));
        let post_fields = [
            ("title", "canary title"),
            ("url", "https://canary.link.test/"),
            ("body", "canary *body* <b>canary markup</b>"),
        ];
        let published = program.ask(post("/posts", &cookie, &post_fields)).await;
        assert_eq!(published.status, 303);
        let place = published.location().to_owned();
        for request in [
            post("/login", "", &[("login", &email), ("password", "canary pass kettle 9")]),
            post(
                "/login",
                "",
                &[("login", "canary.nobody@example.org"), ("password", "canary wrong")],
            ),
            post("/signup", "", &account),
            post(
                "/signup",
                "",
                &[("username", "canary!name"), ("email", "canary.bad"), ("password", "canary")],
            ),
            post("/posts", &cookie, &[("title", "canary\0title"), ("body", "canary body")]),
            post("/posts/preview", &cookie, &post_fields),
            post(&format!("{place}/vote"), &cookie, &[("value", "1")]),
            post("/posts", &cookie, &post_fields).replace("same-origin", "cross-site"),
            post("/users/canaryperson", &cookie, &post_fields).replace("same-origin", "cross-site"),
            post("/posts?canary=query", "", &post_fields).replace("same-origin", "none"),
            get("/canary/place?email=canary.mail@example.org", &cookie),
            get("/static/canary.css", &cookie),
            get("/posts/canary/edit", &cookie),
            get(&place, &cookie),
            get("/search?q=canary+words", &cookie),
            get("/?after=canarycursor", &cookie),
            get("/login?next=/canarynext", ""),
            get("/posts/new?token=canarytoken", ""),
            get("/users/canaryperson", &cookie),
            get("/", "sid=canarycookie; flash=canaryflash; other=canaryother"),
            get("/", "sid=Y2FuYXJ5Y2FuYXJ5Y2FuYQ"),
            get("/", &cookie).replace(
                "Host:",
                "Authorization: Bearer canarybearer\r\nUser-Agent: canaryagent\\ncanary\r\n\
                 Referer: http://site.test/canary?canary\r\nHX-Current-URL: http://site.test/canary\r\n\
                 X-Forwarded-For: canaryclient\r\nX-Request-Id: canary/id\r\nHost:",
            ),
            post("/password/forgot", "", &[("email", &email)]),
            get("/password/reset/Y2FuYXJ5Y2FuYXJ5Y2FuYQ", ""),
            post("/email/confirm/Y2FuYXJ5Y2FuYXJ5Y2FuYQ", "", &[]),
            post(
                "/settings/password",
                &cookie,
                &[("current_password", "canary pass kettle 9"), ("new_password", "canary")],
            ),
            post(
                "/settings/email",
                &format!("{cookie}; {device}"),
                &[("current_password", "canary pass kettle 9"), ("email", "canary@example.net")],
            ),
            get("/settings/export", &cookie),
            post("/logout", &cookie, &[]),
        ] {
            let reply = program.ask(&request).await;
            assert!(reply.status.as_u16() < 500, "{request}");
        }
        let metrics = exchange(watched.parse().unwrap(), get("/metrics", &cookie)).await.unwrap();
        program.signal(Signal::SIGTERM);
        assert_eq!(program.ended().await, Some(0));

        let log = program.log.lock().unwrap().to_lowercase();
        let metrics = metrics.body.to_lowercase();
        assert!(metrics.contains("social_post_requests_total"), "{metrics}");
        assert!(log.contains("request completed") && log.contains("log-in refused"), "{log}");
        let session = cookie.trim_start_matches("sid=").to_lowercase();
        let device = device.trim_start_matches("device=").to_lowercase();
        let url = database.url.split_once('@').unwrap().0.to_lowercase();
        for secret in ["canary", "y2fuyxj5", &session, &device, &url, "$argon2id$"] {
            let told = log.lines().chain(metrics.lines());
            let telling: Vec<_> = told.filter(|line| line.contains(secret)).collect();
            assert!(
                telling.is_empty(),
                "{secret} is told {} times: {:#?}",
                telling.len(),
                telling.first()
            );
        }
        if format == "json" {
            for line in log.lines() {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
                let is_answer = entry["message"] == "request completed";
                assert!(!is_answer || entry["ms"].is_u64() && entry["status"].is_u64(), "{line}");
            }
        }
    }
}

/// What a client sends as a method, an `Origin` or a `Host` cannot fill the log or forge a field in it.
#[tokio::test]
async fn a_log_field_from_a_client_is_bounded_and_visible_ascii() {
    let database = database().await;
    for format in ["json", "text"] {
        let settings = [("LOG_FORMAT", format), ("BASE_URL", "http://site.test")];
        let mut program = Program::start_with(&database.url, &settings).await;
        program.comes_to("/readyz", 200).await;
        let endless = "o".repeat(4000);
        for sent in
            [endless.as_str(), "a\tb level=ERROR", "a\" level=\"ERROR", "h\u{e9}\u{202e}", "\u{1}"]
        {
            for name in ["Origin", "Host", "Sec-Fetch-Site"] {
                let form = post("/login", "", &[("login", "ada")]);
                let form = form.replace("Sec-Fetch-Site: same-origin\r\n", "");
                let form = match name {
                    "Host" => {
                        form.replace("Host: site.test", &format!("Origin: null\r\nHost: {sent}"))
                    }
                    name => form.replace("Host:", &format!("{name}: {sent}\r\nHost:")),
                };
                // Some are refused before they are a request.
                let _ = exchange(program.address, form).await;
            }
        }
        let invented = get("/", "").replace("GET", &"M".repeat(4000));
        let _ = exchange(program.address, invented).await;
        program.signal(Signal::SIGTERM);
        program.ended().await;

        let log = program.log.lock().unwrap().clone();
        assert!(log.matches("refused a form").count() >= 6, "{log}");
        assert!(log.contains(&"M".repeat(100)), "{log}");
        for line in log.lines() {
            assert!(line.len() < 1000, "{line}");
            assert!(!line.contains(" level="), "{line}");
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        }
    }
}
