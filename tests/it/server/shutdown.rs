//! Start and shutdown.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};

use crate::{
    ledger::Crowd,
    program::{Program, get, post},
    support::{PASSWORD, absent_database, database, oracle, wire::exchange},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_shutdown_reports_not_ready_serves_on_for_a_moment_and_finishes_requests() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let crowd = Crowd::of(1).await;
        let mut program = Program::start(&crowd.database.url).await;
        // A vote that has to wait, an idle connection, and one that stopped in the middle of a
        // word.
        let mut holder = PgConnection::connect_with(&crowd.database.options()).await.unwrap();
        holder.execute("begin; lock table votes in access exclusive mode").await.unwrap();
        let vote =
            post(&format!("/posts/{}/vote", crowd.posts[0]), &crowd.cookies[0], &[("value", "1")]);
        let address = program.address;
        let voting = tokio::spawn(async move { exchange(address, vote).await.unwrap() });
        let idle = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHost: si").await.unwrap();
        sleep(Duration::from_millis(300)).await;

        program.signal(signal);
        let told = program.comes_to("/readyz", 503).await;
        assert_eq!(told.header("connection"), "close");
        // A request that arrives before the proxy has noticed is served, and its connection is closed.
        let page = program.ask(get("/login", "").replace("Connection: close\r\n", "")).await;
        assert_eq!((page.status.as_u16(), page.header("connection")), (200, "close"));
        holder.execute("commit").await.unwrap();
        assert_eq!(voting.await.unwrap().status, 303, "{signal}");
        let started = Instant::now();
        assert_eq!(program.ended().await, Some(0), "{signal}");
        assert!(started.elapsed() < Duration::from_secs(12), "the half request holds it up");
        assert_eq!(crowd.site.count("select count(*) from votes").await, 1);
        drop((idle, half));
    }
}

/// A form that arrives byte by byte would take longer than a stop may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_waits_for_a_slow_client_until_its_deadline_or_a_second_signal() {
    let database = database().await;
    for is_asked_again in [false, true] {
        let mut program = Program::start(&database.url).await;
        let mut half = TcpStream::connect(program.address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHost: si").await.unwrap();
        let mut slow = TcpStream::connect(program.address).await.unwrap();
        let (head, form) = ("Content-Length: 5000", "x".repeat(5000));
        let request = post("/login", "", &[]).replace("Content-Length: 0", head) + &form;
        let dripping = tokio::spawn(async move {
            for byte in request.bytes() {
                let is_head = byte != b'x';
                if slow.write_all(&[byte]).await.is_err() {
                    return;
                }
                if !is_head {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        });
        program.comes_to("/readyz", 200).await;

        program.signal(Signal::SIGTERM);
        program.comes_to("/readyz", 503).await;
        if is_asked_again {
            program.signal(Signal::SIGINT);
        }
        assert_eq!(program.ended().await, Some(0));
        let log = program.log.lock().unwrap().clone();
        assert_eq!(log.contains("stopped before every request was finished"), !is_asked_again);
        assert_eq!(log.contains("second signal: stopped at once"), is_asked_again, "{log}");
        dripping.await.unwrap();
        drop(half);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_starts_before_its_database_and_is_ready_once_that_is_up() {
    let database = absent_database();
    let settings = [("LISTEN_ADDR", "127.0.0.1:0"), ("RUN_MIGRATIONS", "true")];
    let program = Program::start_with(&database.url, &settings).await;
    for (path, status) in [("/healthz", 200), ("/readyz", 503), ("/", 503), ("/login", 200)] {
        let reply = program.ask(get(path, "")).await;
        oracle::check(&reply, path, &[]);
        assert_eq!(reply.status, status, "{path}");
    }

    database.create().await;
    program.comes_to("/readyz", 200).await;
    assert_eq!(program.ask(get("/", "")).await.status, 200);
    let fields = [("username", "ada"), ("email", "ada@example.org"), ("password", PASSWORD)];
    assert_eq!(program.ask(post("/signup", "", &fields)).await.status, 303);
}
