//! The OpenAPI document, read by other programs: one tests the running site against it,
//! another generates a client from it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    program::{Program, social_post},
    support::{
        Database, JWT_SECRET, PASSWORD, Reply, TestSite, database, empty_directory, encode,
        post_office::PostOffice,
    },
};

/// A program of `tests/python/requirements.txt`, in an empty directory of its own.
fn python(program: &str) -> Command {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin").join(program);
    let mut command = Command::new(place);
    command.current_dir(empty_directory("python"));
    command
}

fn ours(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(file)
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().expect("bin/test installs it");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{said}\n{complained}");
}

async fn program(database: &Database, office: &PostOffice) -> Program {
    let mail = office.url();
    let settings = [
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("JWT_SECRET", JWT_SECRET),
        ("SMTP_URL", mail.as_str()),
        ("MAIL_FROM", "post@site.test"),
    ];
    let program = Program::start_with(&database.url, &settings).await;
    let ada = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    let reply = post(&program, "/api/v1/users", "", "application/json", &ada.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    program
}

async fn post(program: &Program, path: &str, token: &str, kind: &str, body: &str) -> Reply {
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{authorization}\
         Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    program.ask(request).await
}

async fn token(program: &Program) -> String {
    let form = encode(&[("username", "ada"), ("password", PASSWORD)]);
    let kind = "application/x-www-form-urlencoded";
    let reply = post(program, "/api/v1/login", "", kind, &form).await;
    let token: Value = serde_json::from_str(&reply.body).unwrap();
    token["access_token"].as_str().unwrap().to_owned()
}

/// About 1,200 requests, good and bad ones, each answer checked against the document. Always the
/// same ones, as far as they do not depend on what came before.
#[tokio::test]
async fn the_api_does_all_that_its_openapi_document_says() {
    let (database, office) = (database().await, PostOffice::open().await);
    let program = program(&database, &office).await;
    let token = token(&program).await;
    for n in 0..5 {
        let text = json!({"title": format!("Garden {n}"), "body": "It has *moss*."}).to_string();
        let reply = post(&program, "/api/v1/posts", &token, "application/json", &text).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }

    let api = format!("http://{}/api/v1", program.address);
    succeeds(
        python("schemathesis")
            .env("SCHEMATHESIS_HOOKS", ours("people.py"))
            .env("API", &api)
            .arg("--config-file")
            .arg(ours("schemathesis.toml"))
            .args(["run", &format!("{api}/openapi.json"), "--checks", "all", "--mode", "all"])
            // More than one, and Python 3.11 now and then trips over itself while it generates.
            .args(["--workers", "1", "--max-examples", "15", "--seed", "1"])
            .args(["--generation-database", "none", "--request-timeout", "30", "--no-color"]),
    );
}

#[tokio::test]
async fn a_client_generated_from_the_openapi_document_type_checks_and_works() {
    let directory = empty_directory("generated");
    let document = directory.join("openapi.json");
    let printed = social_post(&["openapi"], &[]);
    fs::write(&document, printed.stdout).unwrap();
    succeeds(python("openapi-spec-validator").arg(&document));

    let settings = directory.join("settings.yml");
    fs::write(&settings, "post_hooks: []\n").unwrap();
    succeeds(
        python("openapi-python-client")
            .args(["generate", "--meta", "none", "--fail-on-warning"])
            .arg("--path")
            .arg(&document)
            .arg("--output-path")
            .arg(directory.join("client"))
            .arg("--config")
            .arg(&settings),
    );
    succeeds(
        python("mypy")
            .env("MYPYPATH", &directory)
            .args(["--strict", "--no-incremental", "--cache-dir=/dev/null"])
            .arg(ours("story.py"))
            .arg(directory.join("client")),
    );

    let (database, office) = (database().await, PostOffice::open().await);
    let program = program(&database, &office).await;
    succeeds(
        python("python")
            .env("PYTHONPATH", &directory)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(ours("story.py"))
            .args([&format!("http://{}", program.address), "ada", PASSWORD]),
    );
}

/// serde reads a list as the members of a type in the order they stand in there.
#[tokio::test]
async fn a_list_is_not_taken_for_an_object() {
    let site = TestSite::new().await;
    let visitor = site.visitor();
    for list in [json!(["ada", "ada@example.org", PASSWORD]), json!([])] {
        let request = visitor
            .request(axum::http::Method::POST, "/api/v1/users")
            .header("content-type", "application/json");
        let reply = visitor.send(request, format!("\n {list}")).await;
        assert_eq!(reply.status, 422, "{reply:?}");
    }
    assert_eq!(site.count("select count(*) from users").await, 0);
}

#[tokio::test]
async fn other_parameters_are_checked_even_when_the_author_does_not_exist() {
    let site = TestSite::new().await;
    let visitor = site.visitor();
    let list = "/api/v1/posts?author=nobody";
    visitor.get(list).await.has("\"posts\":[]").has("\"next\":null");
    assert_eq!(visitor.get(&format!("{list}&after=made-up")).await.status, 400);
    assert_eq!(visitor.get(&format!("{list}&search=x")).await.status, 422);
}
