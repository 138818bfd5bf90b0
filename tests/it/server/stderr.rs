//! A log that nobody reads, or that cannot be written.

use std::{
    fs::{File, OpenOptions},
    io::{PipeReader, Read as _, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::sleep;

use crate::{
    program::{PATIENCE, command, free_port, get},
    support::{Database, database, wire::exchange},
};

/// A pipe that takes no further byte, and its reading end.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let capacity = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).unwrap();
    writer.write_all(&vec![b'\n'; usize::try_from(capacity).unwrap()]).unwrap();
    (reader, writer.into())
}

struct Running {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
}

impl Running {
    async fn start(database: &Database, prepare: impl FnOnce(&mut Command)) -> Running {
        let (address, metrics) = (free_port().await, free_port().await);
        let settings = [
            ("DATABASE_URL", database.url.as_str()),
            ("BASE_URL", "http://site.test"),
            ("LISTEN_ADDR", &address),
            ("METRICS_LISTEN_ADDR", &metrics),
            ("RUST_LOG", "debug"),
        ];
        let mut command = command(&["serve"], &settings);
        prepare(&mut command);
        let child = command.spawn().unwrap();
        let running =
            Running { child, address: address.parse().unwrap(), metrics: metrics.parse().unwrap() };
        let started = Instant::now();
        while exchange(running.address, get("/readyz", "")).await.is_err() {
            assert!(started.elapsed() < PATIENCE, "it does not start");
            sleep(Duration::from_millis(50)).await;
        }
        running
    }

    async fn dropped(&self) -> u64 {
        let metrics = exchange(self.metrics, get("/metrics", "")).await.unwrap().body;
        let line = metrics.lines().find(|line| line.starts_with("social_post_log_lines_dropped"));
        line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
    }

    async fn ends(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert_eq!(status.code(), Some(0));
            }
            assert!(started.elapsed() < PATIENCE, "SIGTERM does not end it");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_blocks_neither_the_start_nor_requests_nor_the_shutdown() {
    let database = database().await;
    let (reader, stderr) = full_pipe();
    let mut running = Running::start(&database, |command| {
        command.stderr(stderr);
    })
    .await;
    // More lines than the queue holds.
    let started = Instant::now();
    while running.dropped().await == 0 {
        for _ in 0..200 {
            let reply = exchange(running.address, get("/nowhere", "")).await.unwrap();
            assert_eq!(reply.status, 404);
        }
        assert!(started.elapsed() < 4 * PATIENCE, "nothing is dropped");
    }
    running.ends().await;
    drop(reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_how_many_lines_were_dropped_once_somebody_reads_it_again() {
    let database = database().await;
    let (mut reader, stderr) = full_pipe();
    let mut running = Running::start(&database, |command| {
        command.stderr(stderr);
    })
    .await;
    let started = Instant::now();
    while running.dropped().await < 10 {
        for _ in 0..200 {
            exchange(running.address, get("/nowhere", "")).await.unwrap();
        }
        assert!(started.elapsed() < 4 * PATIENCE, "nothing is dropped");
    }

    let log = Arc::new(Mutex::new(String::new()));
    let reading = std::thread::spawn({
        let log = log.clone();
        move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut part) {
                log.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..length]));
            }
        }
    });
    // The queue is empty again, so nothing that follows is dropped.
    let started = Instant::now();
    while !log.lock().unwrap().contains("log lines were dropped") {
        assert!(started.elapsed() < PATIENCE, "it does not say so");
        sleep(Duration::from_millis(20)).await;
    }
    running.ends().await;
    reading.join().unwrap();
    let log = log.lock().unwrap().clone();
    let told: Vec<_> = log.lines().filter(|line| line.contains("log lines were dropped")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let lost = told[0].split(" log lines were").next().unwrap().rsplit(' ').next().unwrap();
    assert!(lost.parse::<u64>().unwrap() >= 10, "{told:?}");
    assert!(log.contains("shutting down"), "the log goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_is_no_reason_to_stop() {
    let database = database().await;
    let full_disk = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let hung_up = || Stdio::from(std::io::pipe().unwrap().1);
    let read_only = || Stdio::from(File::open("/dev/null").unwrap());
    for (what, stderr) in
        [("full disk", full_disk()), ("reader gone", hung_up()), ("not writable", read_only())]
    {
        let mut running = Running::start(&database, |command| {
            command.stderr(stderr);
        })
        .await;
        for _ in 0..20 {
            let reply = exchange(running.address, get("/nowhere", "")).await.unwrap();
            assert_eq!(reply.status, 404, "{what}");
        }
        assert!(running.dropped().await > 0, "{what}");
        running.ends().await;
    }

    // Closed before the program starts.
    let program = env!("CARGO_BIN_EXE_social-post");
    let mut running = Running::start(&database, |command| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec \"$0\" serve 2>&-", program]).env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
        *command = shell;
    })
    .await;
    assert_eq!(exchange(running.address, get("/nowhere", "")).await.unwrap().status, 404);
    running.ends().await;
}

/// The line that says why goes to the same stderr.
#[test]
fn a_failed_start_ends_although_nobody_reads_its_log() {
    let (reader, stderr) = full_pipe();
    let mut command = command(&["serve"], &[("LISTEN_ADDR", "nonsense")]);
    let mut child = command.stderr(stderr).spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(2));
    drop(reader);
}
