//! More connections than the process may have, and no file descriptors.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, prlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    program::{PATIENCE, Program, get},
    support::{Database, database, oracle, wire},
};

const REFUSED: &str = "new connections are refused";

/// The program, with at most so many open files.
async fn program(database: &Database, descriptors: u32) -> Program {
    let own = crate::program::command(&["serve"], &[]);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" serve")]);
    shell.arg(own.get_program()).current_dir(own.get_current_dir().unwrap());
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    shell.envs([
        ("DATABASE_URL", database.url.as_str()),
        ("BASE_URL", "http://site.test"),
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("NO_COLOR", "1"),
    ]);
    let program = Program::run(shell).await;
    program.comes_to("/readyz", 200).await;
    program
}

/// A request on a connection that stays open.
async fn ask_on(stream: &mut TcpStream, request: &str) -> u16 {
    stream.write_all(request.replace("Connection: close\r\n", "").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while wire::parse(&answer, false).is_none() {
        let length = timeout(PATIENCE, stream.read(&mut part)).await.unwrap().unwrap();
        assert!(length > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..length]);
    }
    wire::parse(&answer, false).unwrap().status.as_u16()
}

/// Opens connections until one is refused, and keeps the others.
async fn fill(program: &Program, most: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    while open.len() < most {
        let mut stream = TcpStream::connect(program.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
        if &head == b"HTTP/1.1 503" {
            return open;
        }
        open.push(stream);
    }
    panic!("{most} connections and none is refused");
}

/// A 503 for each newcomer, while the open connections go on working; then room again.
async fn newcomers_are_answered(program: &Program, mut old: TcpStream, open: Vec<TcpStream>) {
    for _ in 0..40 {
        let reply = program.ask(get("/", "")).await;
        assert_eq!(reply.status, 503);
        oracle::check(&reply, "a newcomer", &[]);
        assert_eq!(reply.header("connection"), "close");
    }
    let mut silent = TcpStream::connect(program.address).await.unwrap();
    assert_eq!(wire::receive(&mut silent).await.unwrap().status, 503, "without a request");
    assert_eq!(ask_on(&mut old, &get("/login", "")).await, 200, "an open connection goes on");
    drop(open);
    let started = Instant::now();
    while program.ask(get("/login", "")).await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "there is room again, and nobody gets in");
        sleep(Duration::from_millis(50)).await;
    }
    let log = program.log.lock().unwrap().clone();
    assert_eq!(log.matches(REFUSED).count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_limit_of_connections_newcomers_get_a_503_and_the_rest_go_on() {
    let database = database().await;
    let program = program(&database, 256).await;
    let mut old = TcpStream::connect(program.address).await.unwrap();
    assert_eq!(ask_on(&mut old, &get("/login", "")).await, 200);
    let open = fill(&program, 256).await;
    assert!(open.len() > 100, "only {} at once", open.len());
    newcomers_are_answered(&program, old, open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_file_descriptors_newcomers_get_a_503_and_the_log_one_line() {
    let database = database().await;
    let program = program(&database, 1024).await;
    let mut old = TcpStream::connect(program.address).await.unwrap();
    assert_eq!(ask_on(&mut old, &get("/login", "")).await, 200);
    // As many as are open, and a few more.
    let pid = program.child.id();
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let numbers = files.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let most = numbers.max().unwrap_or(0_u64) + 8;
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
    let limit = Rlimit { current: Some(most), maximum: Some(1024) };
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let open = fill(&program, 1024).await;
    newcomers_are_answered(&program, old, open).await;
}
