//! One process after the other, and several beside each other, on one database: nobody notices.

use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    process::Command,
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
    ledger::{Crowd, Ledger},
    program::{PATIENCE, Program, free_port, get, post},
    support::{Database, PASSWORD, Reply, database, empty_directory, wire::parse},
};

/// A proxy like nginx with `keepalive_timeout 2s` in `upstream`: a connection that was idle for longer
/// or closed is not reused, an upstream that refuses a connection is skipped, and a request that was sent
/// is never sent again.
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
async fn a_rolling_restart_loses_no_form_on_keep_alive_connections() {
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

/// As a service manager starts it: with the socket as file 3, and none of its own.
async fn start_at_socket(database: &Database, socket: &OwnedFd, notify: &Path) -> Program {
    let settings = [
        ("DATABASE_URL", database.url.as_str()),
        ("BASE_URL", "http://site.test"),
        ("LISTEN_ADDR", "192.0.2.1:1"),
        ("RATE_LIMITS", "off"),
        ("NOTIFY_SOCKET", notify.to_str().unwrap()),
    ];
    Program::run(activated(socket, &settings)).await
}

fn activated(socket: &OwnedFd, settings: &[(&str, &str)]) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve"])
        .arg(env!("CARGO_BIN_EXE_social-post"))
        .current_dir(empty_directory("cwd"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(settings.iter().copied())
        .stdin(socket.try_clone().unwrap());
    shell
}

/// The only process there is, replaced again and again: who comes meanwhile waits at the socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_socket_activation_refuses_no_connection() {
    let crowd = Crowd::of(8).await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let socket = OwnedFd::from(socket);
    // The path of a socket may be no longer than 107 bytes.
    let notify = std::env::temp_dir().join(format!("{}", uuid::Uuid::now_v7()));
    let manager = tokio::net::UnixDatagram::bind(&notify).unwrap();
    let told = async || {
        let mut message = [0; 64];
        let length = timeout(PATIENCE, manager.recv(&mut message)).await.unwrap().unwrap();
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };

    let mut program = start_at_socket(&crowd.database, &socket, &notify).await;
    assert_eq!(program.address, address);
    assert_eq!(told().await, "READY=1");
    let stop = Arc::new(AtomicBool::new(false));
    let writers = write_through(&crowd, &[address], &stop);
    for _ in 0..3 {
        sleep(Duration::from_millis(500)).await;
        program.signal(Signal::SIGTERM);
        assert_eq!(told().await, "STOPPING=1");
        assert_eq!(program.ended().await, Some(0));
        program = start_at_socket(&crowd.database, &socket, &notify).await;
        assert_eq!(told().await, "READY=1");
    }
    stop.store(true, Ordering::Relaxed);
    let (ledger, failed) = collect(writers).await;
    assert!(failed.is_empty(), "{} failed of {}: {failed:#?}", failed.len(), ledger.acknowledged());
    assert!(ledger.acknowledged() > 30, "{} is no load", ledger.acknowledged());
    crowd.check(&ledger).await;
    std::fs::remove_file(notify).unwrap();
}

#[test]
fn an_inherited_socket_that_is_not_a_listening_tcp_socket_stops_the_start() {
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(listening.local_addr().unwrap()).unwrap();
    let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for (socket, what) in [
        (OwnedFd::from(connected), "a connection"),
        (OwnedFd::from(unix), "a Unix socket"),
        (OwnedFd::from(file), "a file"),
    ] {
        let told = activated(&socket, &[]).output().unwrap();
        let line = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(2), "{what}: {line}");
        assert!(line.contains("LISTEN_FDS") && line.lines().count() == 1, "{what}: {line}");
    }
}

/// Each holds nothing that the other would miss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_database_each_see_what_the_other_did() {
    let database = database().await;
    let (one, other) = tokio::join!(Program::start(&database.url), Program::start(&database.url));
    let account = [("username", "ada"), ("email", "ada@example.org"), ("password", PASSWORD)];
    let signed_up = one.ask(post("/signup", "", &account)).await;
    assert_eq!(signed_up.status, 303, "{}", signed_up.body);
    let cookies = signed_up.cookies();
    let cookie = cookies.iter().find(|cookie| cookie.starts_with("sid=")).unwrap();
    let cookie = cookie.split(';').next().unwrap();

    let published = other.ask(post("/posts", cookie, &[("title", "A title"), ("body", "x")])).await;
    assert_eq!(published.status, 303, "the session of one counts at the other");
    let place = published.location().to_owned();
    let voted = one.ask(post(&format!("{place}/vote"), cookie, &[("value", "1")])).await;
    assert_eq!(voted.status, 303, "{}", voted.body);
    let page = other.ask(get(&place, cookie)).await;
    assert!(page.body.contains("aria-pressed=\"true\""), "{}", page.body);

    assert_eq!(other.ask(post("/logout", cookie, &[])).await.status, 303);
    let again = one.ask(post("/posts", cookie, &[("title", "Another"), ("body", "x")])).await;
    assert_eq!(again.status, 401, "and so does its end");
}
