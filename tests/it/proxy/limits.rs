//! What nginx refuses or cuts off itself.

use std::time::{Duration, Instant};

use axum::http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use crate::{
    proxy::{
        NAME, ORIGIN, PATIENCE, as_http2, check, check_refusal, nginx::Nginx, request,
        upstream::Upstream, whole,
    },
    support::{Reply, wire},
};

#[tokio::test]
async fn nginx_refuses_large_requests_and_unknown_hosts_with_a_page_of_the_site() {
    let upstream = Upstream::content().await;
    let nginx = Nginx::before([upstream.address; 2]).await;
    let long = "x".repeat(5200);
    let big = "x".repeat(512 * 1024 + 1);
    for api in ["", "/api"] {
        for (asked, body, status) in [
            (request(Method::POST, &format!("{api}/posts")), big.as_str(), 413),
            (request(Method::GET, &format!("{api}/?{long}")), "", 414),
            (request(Method::GET, &format!("{api}/")).header("x-long", &long), "", 431),
            (request(Method::TRACE, &format!("{api}/")), "", 405),
        ] {
            let name = format!("{:?} {api}/", asked.method_ref().unwrap());
            // HTTP/2 has no other words for headers that are too long than the end of it all.
            let reply = nginx.send_over_http1(asked, body.to_owned()).await;
            // What is too long is not read, so its path is unknown.
            let name = if status == 414 { "GET /".to_owned() } else { name };
            check(&reply, &name, true);
            check_refusal(&reply, &name, status);
            assert!(status != 405 || reply.header("allow") == "GET, HEAD, POST");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        let reply = nginx.get(path).await;
        check(&reply, path, true);
        check_refusal(&reply, path, 404);
    }
    assert_eq!(nginx.get("/.errors/page.html").await.status, 404);
    let style = nginx.get("/.errors/style.css").await;
    check(&style, "style", true);
    assert_eq!(style.header("content-type"), "text/css");

    // Without encryption.
    let plain = async |bytes: &str| {
        wire::exchange(nginx.http, bytes).await.map(|reply| Reply { body: joined(&reply), ..reply })
    };
    for (line, status) in [
        ("GET /api/v1/posts", 403),
        ("POST /api/v1/login", 403),
        ("GET /%61pi/v1/posts", 403),
        ("POST /login", 403),
        ("GET /new?t=1", 301),
        ("HEAD /", 301),
    ] {
        let reply = plain(&format!(
            "{line} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        ))
        .await
        .unwrap();
        check(&reply, line, false);
        if status == 301 {
            let path = line.split_once(' ').unwrap().1;
            assert_eq!(reply.location(), format!("{ORIGIN}:{}{path}", nginx.https.port()));
        } else {
            check_refusal(&reply, line, status);
        }
    }
    let proof = nginx.directory.join("acme/.well-known/acme-challenge");
    std::fs::create_dir_all(&proof).unwrap();
    std::fs::write(proof.join("token"), "proof").unwrap();
    let path = "/.well-known/acme-challenge/token";
    let reply =
        plain(&format!("GET {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(reply.unwrap().body, "proof");

    // Another host name, or none.
    for head in ["Host: evil.test\r\n", "Host: 127.0.0.1\r\n", "Host:\r\n", ""] {
        let bytes = format!("GET / HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
        assert!(plain(&bytes).await.is_err(), "{head:?} is answered without encryption");
        let answer = nginx.exchange(bytes.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
    }
    assert!(nginx.connect_as("evil.test", "http/1.1").await.is_err());
    let heads = upstream.heads.lock().unwrap();
    assert!(heads.is_empty(), "passed: {heads:#?}");
}

/// The body of an answer that came in chunks.
fn joined(reply: &Reply) -> String {
    if reply.header("transfer-encoding") != "chunked" {
        return reply.body.clone();
    }
    let (mut rest, mut body) = (reply.body.as_str(), String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}

#[tokio::test]
async fn the_rate_limit_of_nginx_answers_429_with_retry_after() {
    let upstream = Upstream::content().await;
    let nginx = Nginx::before([upstream.address; 2]).await;
    let sender = nginx.http2().await;
    let mut refused = Vec::new();
    let mut served = 0;
    let started = Instant::now();
    while refused.len() < 20 {
        for path in ["/", "/api/v1/posts"] {
            let asked = as_http2(request(Method::GET, path), "");
            let reply = whole(sender.clone().send_request(asked).await.unwrap()).await;
            if reply.status == 200 { served += 1 } else { refused.push((path, reply)) }
        }
        assert!(started.elapsed() < PATIENCE, "{served} served");
    }
    assert!(served >= 150, "only {served} served");
    for (path, reply) in refused {
        check(&reply, path, true);
        check_refusal(&reply, &format!("GET {path}"), 429);
        reply.assert_has_retry_after();
    }
}

#[tokio::test]
async fn a_client_that_stops_sending_is_cut_off_after_a_timeout() {
    let upstream = Upstream::content().await;
    let nginx = Nginx::before([upstream.address; 2]).await;
    let trickle = async {
        let mut stream = nginx.connect("http/1.1").await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: social.test\r\n").await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        // However busily it goes on with its headers.
        let goes_on = async {
            while write.write_all(b"X-A: b\r\n").await.is_ok() && write.flush().await.is_ok() {
                sleep(Duration::from_millis(900)).await;
            }
        };
        let ends = async {
            let mut answer = Vec::new();
            let _ = read.read_to_end(&mut answer).await;
        };
        tokio::select! { () = goes_on => {}, () = ends => {} }
    };
    let half_a_form = async {
        let mut stream = nginx.connect("http/1.1").await;
        let head = "POST /posts HTTP/1.1\r\nHost: social.test\r\nContent-Length: 100\r\n\r\nhalf";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    };
    let both = async { tokio::join!(trickle, half_a_form) };
    timeout(PATIENCE, both).await.expect("a connection without end");
    assert!(upstream.heads.lock().unwrap().is_empty());
}

/// What Mozilla's intermediate profile has, and nothing else: protocols, groups and ciphers.
#[tokio::test]
async fn tls_offers_what_the_intermediate_profile_has_and_nothing_else() {
    let upstream = Upstream::content().await;
    let nginx = Nginx::before([upstream.address; 2]).await;
    let shakes_hands = async |options: &str| {
        let mut client = tokio::process::Command::new("openssl");
        client.args(["s_client", "-connect", &nginx.https.to_string(), "-servername", NAME]);
        client.args(options.split(' ')).stdin(std::process::Stdio::null());
        let said = client.output().await.expect("openssl: bin/test installs it");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.contains("Verify return code") && !said.contains("Cipher is (NONE)")
    };
    for options in [
        "-tls1_3 -groups X25519",
        "-tls1_3 -groups P-256",
        "-tls1_3 -groups P-384",
        "-tls1_2 -groups X25519:P-256 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
        "-tls1_2 -groups P-384:P-256 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
    ] {
        assert!(shakes_hands(options).await, "{options} is refused");
    }
    for options in [
        "-tls1_3 -groups X448",
        "-tls1_3 -groups P-521",
        "-tls1_3 -groups X448:P-521",
        "-tls1_3 -groups ffdhe2048",
        "-tls1_2 -groups P-521",
        "-tls1_2 -groups X448",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA@SECLEVEL=0",
        "-tls1_2 -cipher ECDHE-ECDSA-AES256-CCM@SECLEVEL=0",
        "-tls1_2 -cipher ECDHE-ECDSA-ARIA256-GCM-SHA384@SECLEVEL=0",
        "-tls1_1 -cipher ALL@SECLEVEL=0",
        "-tls1 -cipher ALL@SECLEVEL=0",
    ] {
        assert!(!shakes_hands(options).await, "{options} is accepted");
    }
}
