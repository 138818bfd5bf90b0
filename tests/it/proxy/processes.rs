//! The processes behind nginx, and its certificate, as they come and go.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use axum::http::Method;
use nix::sys::signal::Signal;
use tokio::net::TcpListener;

use crate::{
    proxy::{Chain, check, check_refusal, form, nginx::certificate, process, request},
    support::empty_directory,
};

#[tokio::test]
async fn one_process_is_enough_and_without_any_nginx_answers_503_until_one_is_back() {
    let mut chain = Chain::new().await;
    let member = chain.site.member("ada").await;
    let cookie = member.cookie_header();
    let post = chain.site.post_by("ada", "A post").await;
    let vote = format!("/posts/{post}/vote");

    let [first, second] = &mut chain.processes;
    first.signal(Signal::SIGTERM);
    assert_eq!(first.ended().await, Some(0));
    for n in 0..10 {
        assert_eq!(chain.nginx.get("/").await.status, 200);
        let value = format!("value={}", n % 2);
        let reply = chain.nginx.send(form(&vote, &cookie), value).await;
        assert_eq!(reply.status, 303, "a refused connection has carried nothing");
    }
    second.signal(Signal::SIGTERM);
    assert_eq!(second.ended().await, Some(0));
    for (method, path) in [
        (Method::GET, "/"),
        (Method::POST, "/posts"),
        (Method::GET, "/api/v1/posts"),
        (Method::DELETE, "/api/v1/posts/1"),
    ] {
        let asked = format!("{method} {path}");
        let reply = chain.nginx.send(request(method, path), "").await;
        check(&reply, &asked, true);
        check_refusal(&reply, &asked, 503);
        reply.assert_has_retry_after();
    }
    let address = second.address.to_string();
    chain.processes[1] = process(&chain.database, &address, &[]).await;
    for _ in 0..10 {
        assert_eq!(chain.nginx.get("/").await.status, 200, "at once");
    }
}

/// The first of eight free ports in a row, below those that the system gives to other tests meanwhile.
async fn eight_ports() -> u16 {
    loop {
        let first = 20_000 + rand::random::<u16>() % 12_000;
        let mut held = Vec::new();
        for port in first..first.saturating_add(8) {
            held.extend(TcpListener::bind(("127.0.0.1", port)).await);
        }
        if held.len() == 8 {
            return first;
        }
    }
}

/// The short form of the drill that `docs/OPERATIONS.md` describes.
#[tokio::test]
async fn a_rolling_restart_behind_nginx_fails_and_loses_nothing() {
    let drill = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drills/rolling-restart");
    let mut command = tokio::process::Command::new(drill);
    command
        .args(["3", "60", "--port", &eight_ports().await.to_string()])
        .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()))
        .env("PROGRAM", env!("CARGO_BIN_EXE_social-post"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let done = command.output().await.unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stderr),
        String::from_utf8_lossy(&done.stdout)
    );
    assert!(done.status.success(), "{told}");
    let summary = String::from_utf8(done.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(summary.trim()).unwrap();
    for fault in ["failed", "lost", "duplicate", "wrong"] {
        assert_eq!(summary[fault].as_u64(), Some(0), "{fault}: {summary}");
    }
    assert!(summary["acknowledged"].as_u64() > Some(0), "{summary}");
}

#[test]
fn a_certificate_that_expires_soon_is_reported_in_time() {
    let directory = empty_directory("certificate-ends");
    let ends = || {
        let said = Command::new("deploy/nginx/certificate-ends")
            .env("TLS_DIRECTORY", &directory)
            .output()
            .unwrap();
        (said.status.code(), String::from_utf8(said.stdout).unwrap())
    };
    let (code, said) = ends();
    assert!(code == Some(3) && said.contains("is no certificate"), "{code:?} {said}");
    certificate(&directory, 19);
    let (code, said) = ends();
    assert!(code == Some(3) && said.contains("ends on"), "{code:?} {said}");
    certificate(&directory, 21);
    assert_eq!(ends(), (Some(0), String::new()));
}
