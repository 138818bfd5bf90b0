//! Bodies that are too large, too many, or do not arrive.

use std::net::SocketAddr;

use axum::http::Method;
use social_post::routes::{Face, ROUTES};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::support::{
    TestSite, keep, oracle,
    wire::{exchange, listen, receive},
};

/// A request whose body is never complete. The connection stays open on the client's side.
async fn unfinished(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn example(path: &str) -> String {
    let path = path.replace("{username}", "ada").replace("{token}", "x").replace("{name}", "x");
    path.replace("{id}", "1")
}

/// All requests for a page share the one that fills the page cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_whose_body_never_arrives_is_answered_and_delays_no_cached_page() {
    let mut site = TestSite::new().await;
    keep(&mut site.app, std::time::Duration::from_secs(1));
    site.router = social_post::routes::router(site.app.clone());
    site.post_by("ada", "A title").await;
    let address = listen(&site).await;
    let reads = ROUTES.iter().filter(|route| route.method == Method::GET && route.path != "/live");
    for route in reads {
        let path = example(route.path);
        for framing in ["Content-Length: 1\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nab"] {
            for method in ["GET", "HEAD"] {
                let head =
                    format!("{method} {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n");
                let mut slow = unfinished(address, &format!("{head}{framing}")).await;
                let whole = exchange(address, format!("{head}\r\n")).await.unwrap();
                if method == "HEAD" {
                    continue;
                }
                let answer = receive(&mut slow).await.unwrap();
                assert_eq!(answer.status, whole.status, "{path} {framing:?}");
                oracle::check(&answer, &path, &[]);
            }
        }
    }
}

/// Whether or not the length is said in advance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_of_its_route_is_refused_before_it_has_arrived() {
    let site = TestSite::new().await;
    let address = listen(&site).await;
    let writes = ROUTES.iter().filter(|route| !route.method.is_safe());
    for route in writes {
        let (method, path, limit) = (&route.method, example(route.path), route.body_limit);
        let kind = if matches!(route.face, Face::Api | Face::ApiLogIn) {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: site.test\r\nContent-Type: {kind}\r\nConnection: close\r\n"
        );
        let announced = format!("{head}Content-Length: {}\r\n\r\n", limit + 1);
        // One chunk that never ends.
        let chunk = format!("{:x}\r\n{}", 2 * limit, "x".repeat(limit + 1));
        let unannounced = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}");
        for request in [announced, unannounced] {
            let mut stream = unfinished(address, &request).await;
            let answer = receive(&mut stream).await.unwrap();
            assert_eq!(answer.status, 413, "{method} {path}: {}", answer.body);
            oracle::check(&answer, &path, &[]);
        }
    }
}

/// As many as the memory for them allows, for each network and in all; the others wait for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_bodies_of_one_network_do_not_keep_another_from_posting() {
    let site = TestSite::new().await;
    let member = site.member("ada").await.at_address("198.51.100.7");
    let address = listen(&site).await;
    let part = "x".repeat(500_000);
    let head = "POST /posts HTTP/1.1\r\nHost: site.test\r\nX-Forwarded-For: 203.0.113.9\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 500100\r\n\
                Connection: close\r\n\r\n";
    let (send, mut refused) = tokio::sync::mpsc::unbounded_channel();
    let mut asked = JoinSet::new();
    for _ in 0..100 {
        let (send, request) = (send.clone(), format!("{head}{part}"));
        asked.spawn(async move {
            let mut stream = unfinished(address, &request).await;
            let answer = receive(&mut stream).await.unwrap();
            // 408 once the time for it is over.
            let _ = send.send(answer.status.as_u16());
            answer
        });
    }
    // More than fit are refused; those that fit are waited for.
    for _ in 0..20 {
        assert_eq!(refused.recv().await, Some(503));
    }
    let fields = [("title", "Meanwhile"), ("url", ""), ("body", &part[..30_000])];
    assert_eq!(member.post("/posts", &fields).await.status, 303);
    asked.shutdown().await;
    // What they held is free again.
    let own = site.visitor().at_address("203.0.113.9");
    let started = std::time::Instant::now();
    while own.post("/posts", &fields).await.status == 503 {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "nothing is given back");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
