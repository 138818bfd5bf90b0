//! One process after the other, and several beside each other, on one database: nobody notices.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rand::Rng as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    server::{Crowd, Ledger, Program, free_port, post},
    support::{Database, Reply, wire::parse},
};

/// As nginx treats an `upstream` with `keepalive_timeout 2s`: what is idle for longer, or was hung
/// up on, is not used again; who refuses a connection is passed over; what was sent once is never
/// sent again.
struct Proxy {
    upstreams: Vec<SocketAddr>,
    next: usize,
    kept: Option<(TcpStream, Instant)>,
}

const KEEPALIVE: Duration = Duration::from_secs(2);

impl Proxy {
    fn to(upstreams: &[SocketAddr]) -> Proxy {
        let next = rand::thread_rng().gen_range(0..upstreams.len());
        Proxy { upstreams: upstreams.to_vec(), next, kept: None }
    }

    async fn connection(&mut self) -> Result<TcpStream, String> {
        if let Some((stream, since)) = self.kept.take()
            && since.elapsed() < KEEPALIVE
            && stream
                .try_read(&mut [0])
                .is_err_and(|err| err.kind() == std::io::ErrorKind::WouldBlock)
        {
            return Ok(stream);
        }
        let mut refused = String::new();
        for _ in 0..2 * self.upstreams.len() {
            self.next = (self.next + 1) % self.upstreams.len();
            match TcpStream::connect(self.upstreams[self.next]).await {
                Ok(stream) => return Ok(stream),
                Err(err) => refused = format!("nobody is there: {err}"),
            }
        }
        Err(refused)
    }

    async fn send(&mut self, request: &str) -> Result<Reply, String> {
        let mut stream = self.connection().await?;
        let request = request.replace("Connection: close\r\n", "");
        stream.write_all(request.as_bytes()).await.map_err(|err| format!("sending: {err}"))?;
        let mut bytes = Vec::new();
        let reply = loop {
            match timeout(Duration::from_secs(30), stream.read_buf(&mut bytes)).await {
                Err(_) => return Err("no answer".to_owned()),
                Ok(Err(err)) => return Err(format!("reading: {err}")),
                Ok(Ok(0)) => return Err(format!("it hung up after {} bytes", bytes.len())),
                Ok(Ok(_)) => {}
            }
            if let Some(reply) = parse(&bytes, false) {
                break reply;
            }
        };
        if reply.header("connection") != "close" {
            self.kept = Some((stream, Instant::now()));
        }
        Ok(reply)
    }
}

/// Everybody in the crowd writes through a proxy of their own, half of them without a pause, until
/// told to stop. Answers what was acknowledged, and every request that failed.
fn write_through(
    crowd: &Crowd,
    upstreams: &[SocketAddr],
    stop: &Arc<AtomicBool>,
) -> JoinSet<(Ledger, Vec<String>)> {
    let mut writers = JoinSet::new();
    for (n, cookie) in crowd.cookies.iter().cloned().enumerate() {
        let (posts, stop, mut proxy) = (crowd.posts.clone(), stop.clone(), Proxy::to(upstreams));
        writers.spawn(async move {
            let (mut ledger, mut failed) = (Ledger::default(), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let title = format!("Ledger {}", uuid::Uuid::new_v4());
                let is_cast = rand::random::<bool>();
                let post_id = posts[rand::thread_rng().gen_range(0..posts.len())];
                let is_post = rand::random::<bool>();
                let request = if is_post {
                    post("/posts", &cookie, &[("title", &title), ("body", "A *text*")])
                } else {
                    let value = if is_cast { "1" } else { "0" };
                    post(&format!("/posts/{post_id}/vote"), &cookie, &[("value", value)])
                };
                match proxy.send(&request).await {
                    Ok(reply) if reply.status == 303 && is_post => ledger.published.push(title),
                    Ok(reply) if reply.status == 303 => {
                        ledger.votes.insert((n, post_id), Some(is_cast));
                    }
                    Ok(reply) => failed.push(format!("{} {}", reply.status, reply.body)),
                    Err(problem) => failed.push(problem),
                }
                if n % 2 == 1 {
                    let pause = rand::thread_rng().gen_range(0..1500);
                    sleep(Duration::from_millis(pause)).await;
                }
            }
            (ledger, failed)
        });
    }
    writers
}

async fn collect(mut writers: JoinSet<(Ledger, Vec<String>)>) -> (Ledger, Vec<String>) {
    let (mut ledger, mut failed) = (Ledger::default(), Vec::new());
    while let Some(written) = writers.join_next().await {
        let (written, problems) = written.unwrap();
        ledger.add(written);
        failed.extend(problems);
    }
    (ledger, failed)
}

/// A program on a port that others have used and will use.
async fn start_on(database: &Database, port: &str) -> Program {
    let program = Program::start_with(&database.url, &[("LISTEN_ADDR", port)]).await;
    program.comes_to("/readyz", 200).await;
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_replaced_in_turn_lose_no_form_on_kept_connections() {
    let crowd = Crowd::of(12).await;
    let ports = [free_port().await, free_port().await];
    let upstreams = ports.each_ref().map(|port| port.parse().unwrap());
    let mut programs =
        [start_on(&crowd.database, &ports[0]).await, start_on(&crowd.database, &ports[1]).await];
    let stop = Arc::new(AtomicBool::new(false));
    let writers = write_through(&crowd, &upstreams, &stop);
    for _ in 0..2 {
        for (program, port) in programs.iter_mut().zip(&ports) {
            sleep(Duration::from_millis(500)).await;
            program.signal(Signal::SIGTERM);
            assert_eq!(program.ended().await, Some(0));
            *program = start_on(&crowd.database, port).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (ledger, failed) = collect(writers).await;
    assert!(failed.is_empty(), "{} failed of {}: {failed:#?}", failed.len(), ledger.acknowledged());
    assert!(ledger.acknowledged() > 50, "{} is no load", ledger.acknowledged());
    crowd.check(&ledger).await;
}
