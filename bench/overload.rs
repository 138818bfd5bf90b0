//! Sends requests at a fixed rate, whether or not the server keeps up, and reports as JSON.
//!
//! ```sh
//! overload 127.0.0.1:8000 FILE --seconds 5 --connections 64              # as fast as they are answered
//! overload 127.0.0.1:8000 FILE --seconds 5 --connections 2000 --rate 20000
//! ```
//!
//! `FILE` has a request on each line: method, path, headers (`Name: value`, separated by `|`) and body,
//! separated by tabs, as for `requests.lua`. With `--rate` a request's time counts from when it was due,
//! so a server that falls behind is charged for the wait (no coordinated omission).
//!
//! `served` are answers below 400, `refused` are 503, `other` all others, `broken` those that did not come
//! whole. Times are in milliseconds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a tool that stops at the first fault")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep_until, timeout},
};

/// How long an answer may take before it counts as broken.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Arguments {
    server: SocketAddr,
    file: PathBuf,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests a second; without it each connection sends its next request when it has an answer.
    #[arg(long)]
    rate: Option<f64>,
}

/// What all connections share.
struct Load {
    server: SocketAddr,
    requests: Vec<Vec<u8>>,
    next: AtomicUsize,
    begin: Instant,
    rate: Option<f64>,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Times {
    served: Vec<f64>,
    refused: Vec<f64>,
    other: usize,
    broken: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let text = std::fs::read_to_string(&arguments.file).expect("the file of requests");
    let load = Arc::new(Load {
        server: arguments.server,
        requests: text.lines().map(|line| wire(line, arguments.server)).collect(),
        next: AtomicUsize::new(0),
        begin: Instant::now() + Duration::from_secs(1),
        rate: arguments.rate,
        is_over: AtomicBool::new(false),
    });
    let mut connections = JoinSet::new();
    for _ in 0..arguments.connections {
        connections.spawn(connection(load.clone()));
    }
    let seconds = Duration::from_secs(arguments.seconds);
    sleep_until((load.begin + seconds).into()).await;
    load.is_over.store(true, Relaxed);
    let mut all = Times::default();
    while let Some(times) = connections.join_next().await {
        let times = times.unwrap();
        all.served.extend(times.served);
        all.refused.extend(times.refused);
        all.other += times.other;
        all.broken += times.broken;
    }
    let took = arguments.seconds as f64;
    println!(
        "{}",
        json!({
            "seconds": took,
            "asked": all.served.len() + all.refused.len() + all.other + all.broken,
            "served": all.served.len(),
            "rate": all.served.len() as f64 / took,
            "served_p50": percentile(&mut all.served, 50),
            "served_p99": percentile(&mut all.served, 99),
            "refused": all.refused.len(),
            "refused_p50": percentile(&mut all.refused, 50),
            "refused_p99": percentile(&mut all.refused, 99),
            "other": all.other,
            "broken": all.broken,
        })
    );
}

fn percentile(times: &mut [f64], which: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times
        .get((times.len() * which / 100).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0.0)
}

/// The request of a line as it is sent.
fn wire(line: &str, server: SocketAddr) -> Vec<u8> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [method, path, headers, body] = fields[..] else { panic!("not a request: {line}") };
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\n");
    for header in headers.split('|').filter(|header| !header.is_empty()) {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if method != "GET" {
        let _ = write!(text, "Content-Length: {}\r\n", body.len());
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// Sends one request after the other on a connection that is opened again when it ends.
async fn connection(load: Arc<Load>) -> Times {
    let mut times = Times::default();
    // Open before the first request is due.
    let mut stream = open(load.server).await;
    let mut buffer = vec![0; 64 * 1024];
    sleep_until(load.begin.into()).await;
    loop {
        let number = load.next.fetch_add(1, Relaxed);
        let due = match load.rate {
            Some(rate) => load.begin + Duration::from_secs_f64(number as f64 / rate),
            None => Instant::now(),
        };
        sleep_until(due.into()).await;
        if load.is_over.load(Relaxed) {
            return times;
        }
        let request = &load.requests[number % load.requests.len()];
        let answer = timeout(LONGEST, ask(&mut stream, load.server, request, &mut buffer)).await;
        let took = due.elapsed().as_secs_f64() * 1000.0;
        match answer {
            Ok(Some(200..400)) => times.served.push(took),
            Ok(Some(503)) => times.refused.push(took),
            Ok(Some(_)) => times.other += 1,
            Ok(None) | Err(_) => {
                times.broken += 1;
                stream = None;
            }
        }
    }
}

async fn open(server: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(server).await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// The status of the answer; `None` if it does not come whole.
async fn ask(
    stream: &mut Option<TcpStream>,
    server: SocketAddr,
    request: &[u8],
    buffer: &mut [u8],
) -> Option<u16> {
    if stream.is_none() {
        *stream = open(server).await;
    }
    let open = stream.as_mut()?;
    open.write_all(request).await.ok()?;
    let head = read_head(open, buffer).await?;
    let mut left = (head.ends + head.length).saturating_sub(head.filled);
    while left > 0 {
        let most = buffer.len().min(left);
        let read = open.read(&mut buffer[..most]).await.ok()?;
        if read == 0 {
            return None;
        }
        left -= read;
    }
    if head.closes {
        *stream = None;
    }
    Some(head.status)
}

struct Head {
    status: u16,
    filled: usize,
    ends: usize,
    length: usize,
    closes: bool,
}

/// Reads until the head of the answer is there, and as much of its body as comes with it.
async fn read_head(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<Head> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.ok()?;
        if read == 0 {
            return None;
        }
        filled += read;
        let Some(ends) = buffer[..filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..ends]).ok()?;
        let status = head.get(9..12)?.parse().ok()?;
        let value = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then_some(value)
            })
        };
        return Some(Head {
            status,
            filled,
            ends: ends + 4,
            length: value("content-length").map_or(0, |length| length.parse().unwrap_or(0)),
            closes: value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        });
    }
}
