//! The program itself, on a real port: stopped, killed, hung up upon and cut off from its database
//! while people use it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::header;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::Rng as _;
use social_post::server::Timeouts;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::support::{
    Database, PASSWORD, Reply, TestSite, absent_database, command, database, empty_database,
    encode, oracle,
    wire::{exchange, listen_on, receive},
};

/// Long enough for a slow machine; who waits longer waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running program. It does not outlive its test.
pub struct Program {
    pub child: Child,
    pub address: SocketAddr,
    pub log: Arc<Mutex<String>>,
}

impl Program {
    pub async fn start(url: &str) -> Program {
        Program::start_with(url, &[("LISTEN_ADDR", "127.0.0.1:0")]).await
    }

    /// Waits until it listens.
    pub async fn start_with(url: &str, settings: &[(&str, &str)]) -> Program {
        let mut all = vec![("DATABASE_URL", url), ("BASE_URL", "http://site.test")];
        all.extend([("RATE_LIMITS", "off")]);
        all.extend(settings);
        Program::run(command(&["serve"], &all)).await
    }

    /// Waits until what the command starts listens.
    pub async fn run(mut command: std::process::Command) -> Program {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (send, listening) = tokio::sync::oneshot::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn({
            let log = log.clone();
            let mut send = Some(send);
            move || {
                for line in lines.map_while(Result::ok) {
                    if line.contains("serving http")
                        && let Some((_, rest)) =
                            line.split_once("127.0.0.1:").or(line.split_once("0.0.0.0:"))
                        && let Some(send) = send.take()
                    {
                        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                        let _ = send.send(port.parse::<u16>().unwrap());
                    }
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        let port = timeout(PATIENCE, listening).await.ok().and_then(Result::ok);
        let port = port.unwrap_or_else(|| panic!("it does not listen: {}", log.lock().unwrap()));
        Program { child, address: SocketAddr::from(([127, 0, 0, 1], port)), log }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Its exit code, once it has ended.
    pub async fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not end: {}", self.log.lock().unwrap());
    }

    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        exchange(self.address, request).await.unwrap()
    }

    /// Asks again and again until the answer is this.
    pub async fn comes_to(&self, path: &str, status: u16) -> Reply {
        let started = Instant::now();
        loop {
            let reply = self.ask(get(path, "")).await;
            if reply.status == status {
                return reply;
            }
            assert!(started.elapsed() < PATIENCE, "{path} stays at {}", reply.status);
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn get(path: &str, cookie: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: site.test\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    )
}

pub fn post(path: &str, cookie: &str, fields: &[(&str, &str)]) -> String {
    let form = encode(fields);
    format!(
        "POST {path} HTTP/1.1\r\nHost: site.test\r\nCookie: {cookie}\r\nConnection: close\r\n\
         Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

/// A port that was free a moment ago, for programs that follow one another on it.
pub async fn free_port() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

// --- The ledger: what was acknowledged, and what may or may not have happened ---

#[derive(Default)]
pub struct Ledger {
    /// Titles whose post was answered with its address; those sent without an answer.
    pub published: Vec<String>,
    unknown: Vec<String>,
    /// The last acknowledged vote for each writer and post; none once one went unanswered.
    pub votes: BTreeMap<(usize, i64), Option<bool>>,
    refused: usize,
}

impl Ledger {
    pub fn acknowledged(&self) -> usize {
        self.published.len() + self.votes.values().flatten().count()
    }

    pub fn add(&mut self, other: Ledger) {
        self.published.extend(other.published);
        self.unknown.extend(other.unknown);
        self.votes.extend(other.votes);
        self.refused += other.refused;
    }
}

pub struct Crowd {
    site: TestSite,
    pub database: Database,
    /// The session of each writer, who is called `writer0` and so on.
    pub cookies: Vec<String>,
    pub posts: Vec<i64>,
}

impl Crowd {
    pub async fn of(writers: usize) -> Crowd {
        let database = database().await;
        let site = TestSite::over(database.options(), "http://site.test");
        let mut cookies = Vec::new();
        for n in 0..writers {
            cookies.push(site.member(&format!("writer{n}")).await.cookie_header());
        }
        let mut posts = Vec::new();
        for n in 0..6 {
            posts.push(site.post_by("writer0", &format!("Post {n}")).await);
        }
        Crowd { site, database, cookies, posts }
    }

    /// Everybody writes and votes at `address` until told to stop; of a hundred requests,
    /// `aborted` are hung up on at some moment.
    fn writes_at(
        &self,
        address: SocketAddr,
        aborted: u32,
        stop: &Arc<AtomicBool>,
    ) -> JoinSet<Ledger> {
        let mut writers = JoinSet::new();
        for (n, cookie) in self.cookies.iter().cloned().enumerate() {
            let (posts, stop) = (self.posts.clone(), stop.clone());
            writers.spawn(async move {
                let mut ledger = Ledger::default();
                while !stop.load(Ordering::Relaxed) {
                    write_once(&mut ledger, n, &cookie, &posts, address, aborted).await;
                }
                ledger
            });
        }
        writers
    }

    /// Nothing acknowledged is lost, nothing is there twice, every score is the number of its votes.
    pub async fn check(&self, ledger: &Ledger) {
        for (titles, least) in [(&ledger.published, 1), (&ledger.unknown, 0)] {
            let wrong: Vec<String> = sqlx::query_scalar(
                "select title from unnest($1::text[]) as sent (title) left join posts using (title) \
                 group by title having count(posts.id) > 1 or count(posts.id) < $2",
            )
            .bind(titles)
            .bind(least)
            .fetch_all(&self.site.db)
            .await
            .unwrap();
            assert!(wrong.is_empty(), "lost or doubled: {wrong:?}");
        }
        for ((writer, post), is_cast) in &ledger.votes {
            let Some(is_cast) = is_cast else { continue };
            let is_there: bool = sqlx::query_scalar(
                "select exists (select from votes join users on id = user_id \
                 where username = $1 and post_id = $2)",
            )
            .bind(format!("writer{writer}"))
            .bind(post)
            .fetch_one(&self.site.db)
            .await
            .unwrap();
            assert_eq!(is_there, *is_cast, "the vote of writer{writer} for {post}");
        }
        assert_eq!(self.site.wrong_scores().await, []);
        let stuck = "select count(*) from pg_stat_activity where datname = current_database() \
                     and state like 'idle in transaction%' \
                     and state_change < clock_timestamp() - interval '300 milliseconds'";
        sleep(Duration::from_millis(300)).await;
        assert_eq!(self.site.count(stuck).await, 0, "a transaction was left open");
    }
}

async fn write_once(
    ledger: &mut Ledger,
    writer: usize,
    cookie: &str,
    posts: &[i64],
    address: SocketAddr,
    aborted: u32,
) {
    let (is_post, is_cast, is_aborted, at, after) = {
        let mut random = rand::thread_rng();
        let is_aborted = random.gen_range(0..100) < aborted;
        let after = Duration::from_micros(random.gen_range(0..6000));
        (
            random.gen_ratio(1, 3),
            random.gen_bool(0.5),
            is_aborted,
            random.gen_range(0..posts.len()),
            after,
        )
    };
    let title = format!("Ledger {}", uuid::Uuid::new_v4());
    let post_id = posts[at];
    let request = if is_post {
        post("/posts", cookie, &[("title", &title), ("body", "A *text*")])
    } else {
        let value = if is_cast { "1" } else { "0" };
        post(&format!("/posts/{post_id}/vote"), cookie, &[("value", value)])
    };

    let reply = if is_aborted {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.write_all(request.as_bytes()).await;
            sleep(after).await;
        }
        None
    } else {
        exchange(address, &request).await.ok()
    };
    let is_done = match reply {
        None => None,
        Some(reply) if reply.status == 303 => Some(true),
        Some(reply) => {
            oracle::check(&reply, "a write", &[cookie.trim_start_matches("sid=")]);
            assert_eq!(reply.status, 503, "{}", reply.body);
            ledger.refused += 1;
            sleep(Duration::from_millis(20)).await;
            None
        }
    };
    match (is_post, is_done) {
        (true, Some(_)) => ledger.published.push(title),
        (true, None) => ledger.unknown.push(title),
        (false, Some(_)) => {
            // After an unanswered vote nobody knows which of the two came last.
            let vote = ledger.votes.entry((writer, post_id)).or_insert(Some(is_cast));
            if vote.is_some() {
                *vote = Some(is_cast);
            }
        }
        (false, None) => {
            ledger.votes.insert((writer, post_id), None);
        }
    }
}

async fn collect(mut writers: JoinSet<Ledger>, ledger: &mut Ledger) {
    while let Some(written) = writers.join_next().await {
        ledger.add(written.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_lose_nothing_that_was_acknowledged() {
    let crowd = Crowd::of(8).await;
    let program = Program::start(&crowd.database.url).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers = crowd.writes_at(program.address, 30, &stop);
    sleep(Duration::from_secs(4)).await;
    stop.store(true, Ordering::Relaxed);

    let mut ledger = Ledger::default();
    collect(writers, &mut ledger).await;
    assert!(ledger.acknowledged() > 20, "{} is no load", ledger.acknowledged());
    assert!(ledger.unknown.len() > 3, "hardly anybody hung up");
    crowd.check(&ledger).await;
    let is_rare = ledger.refused * 10 <= ledger.acknowledged();
    assert!(is_rare, "{} were refused because others went away", ledger.refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_killed_under_load_loses_nothing_that_was_acknowledged() {
    let crowd = Crowd::of(6).await;
    let port = free_port().await;
    let mut ledger = Ledger::default();
    for _ in 0..5 {
        let mut program = Program::start_with(&crowd.database.url, &[("LISTEN_ADDR", &port)]).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut round = Ledger::default();
        let writers = crowd.writes_at(program.address, 0, &stop);
        sleep(Duration::from_millis(rand::thread_rng().gen_range(300..700))).await;
        program.signal(Signal::SIGKILL);
        program.ended().await;
        stop.store(true, Ordering::Relaxed);
        collect(writers, &mut round).await;
        crowd.check(&round).await;
        ledger.published.extend(round.published);
    }
    assert!(ledger.published.len() > 5, "{} is no load", ledger.published.len());
    crowd.check(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_database_ends_are_replaced_and_cost_a_503_at_most() {
    let crowd = Crowd::of(6).await;
    let program = Program::start(&crowd.database.url).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers = crowd.writes_at(program.address, 0, &stop);
    let mut ended = 0;
    for _ in 0..15 {
        sleep(Duration::from_millis(150)).await;
        let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                   where datname = current_database() and usename = current_user \
                   and pid <> pg_backend_pid()";
        let mut own = PgConnection::connect_with(&crowd.database.options()).await.unwrap();
        ended += sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut own).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);

    let mut ledger = Ledger::default();
    collect(writers, &mut ledger).await;
    assert!(ended > 15, "only {ended} connections were ended");
    assert!(ledger.acknowledged() > 5, "it did not recover: {}", ledger.acknowledged());
    // By itself, and not only at the second try.
    program.comes_to("/readyz", 200).await;
    for _ in 0..20 {
        assert_eq!(program.ask(get("/", &crowd.cookies[0])).await.status, 200);
    }
    let crowd =
        Crowd { site: TestSite::over(crowd.database.options(), "http://site.test"), ..crowd };
    crowd.check(&ledger).await;
}

// --- Starting and stopping ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_says_so_serves_on_for_a_moment_and_finishes_what_runs() {
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
        // Who comes before the proxy has noticed is served, and sent elsewhere for the next time.
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
async fn a_stop_waits_for_a_slow_client_until_its_time_is_up_or_it_is_asked_again() {
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
        assert_eq!(log.contains("stopped before everything was finished"), !is_asked_again);
        assert_eq!(log.contains("asked twice: stopped at once"), is_asked_again, "{log}");
        dripping.await.unwrap();
        drop(half);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_before_its_database_and_is_ready_once_that_is_there() {
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

// --- Holding out ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_busy_means_a_503_soon_and_a_page_as_soon_as_it_is_not() {
    let crowd = Crowd::of(1).await;
    let settings = [("LISTEN_ADDR", "127.0.0.1:0"), ("DATABASE_MAX_CONNECTIONS", "2")];
    let program = Program::start_with(&crowd.database.url, &settings).await;
    program.comes_to("/readyz", 200).await;
    let mut holder = PgConnection::connect_with(&crowd.database.options()).await.unwrap();
    holder.execute("begin; lock table posts, users in access exclusive mode").await.unwrap();

    let mut asked = JoinSet::new();
    let started = Instant::now();
    for n in 0..12 {
        let (address, cookie) = (program.address, crowd.cookies[0].clone());
        let request = if n % 2 == 0 { get("/", "") } else { get("/posts/new", &cookie) };
        asked.spawn(async move { exchange(address, request).await.unwrap() });
    }
    sleep(Duration::from_millis(50)).await;
    assert_eq!(program.ask(get("/healthz", "")).await.status, 200);
    assert_eq!(program.ask(get("/login", "")).await.status, 200, "what needs no database goes on");
    for reply in asked.join_all().await {
        assert_eq!(reply.status, 503);
        oracle::check(&reply, "a busy database", &[]);
        assert_eq!(reply.headers.get(header::SET_COOKIE), None);
    }
    assert!(started.elapsed() < Duration::from_secs(8), "{:?} is not soon", started.elapsed());

    holder.execute("commit").await.unwrap();
    assert_eq!(program.ask(get("/", "")).await.status, 200);
    assert_eq!(program.ask(get("/posts/new", &crowd.cookies[0])).await.status, 200);
}

/// More of them than requests may run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_send_half_a_request_keep_nobody_out() {
    let crowd = Crowd::of(1).await;
    let program = Program::start(&crowd.database.url).await;
    let head = post("/login", "", &[("login", "ada"), ("password", "x")]);
    let half_a_form = head.split_at(head.len() - 3).0;
    let mut slow = Vec::new();
    for n in 0..700 {
        let part = if n % 8 == 0 { "GET / HTTP/1.1\r\nHost: site" } else { half_a_form };
        let mut stream = TcpStream::connect(program.address).await.unwrap();
        stream.write_all(part.as_bytes()).await.unwrap();
        slow.push(stream);
    }

    for _ in 0..5 {
        assert_eq!(program.ask(get("/", "")).await.status, 200);
        assert_eq!(program.ask(get("/posts/new", &crowd.cookies[0])).await.status, 200);
    }
    // Each is told in the end, or hung up on, and leaves nothing running.
    let (mut headless, mut unfinished) = (slow.swap_remove(0), slow.pop().unwrap());
    let told = receive(&mut unfinished).await.unwrap();
    assert_eq!(told.status, 408);
    oracle::check(&told, "half a form", &[]);
    let _ = receive(&mut headless).await;
    assert_eq!(program.ask(get("/", "")).await.status, 200);
}

/// Each asks for more than any buffer on the way holds, and takes nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_are_dropped_and_keep_nobody_out() {
    let crowd = Crowd::of(1).await;
    // The system would take in megabytes for each before the server had to wait.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(1024).unwrap();
    let timeouts = Timeouts { write: Duration::from_secs(1), ..Timeouts::default() };
    let address = listen_on(listener, &crowd.site, timeouts);
    let long = [("title", "Long"), ("body", &"<".repeat(40_000))];
    let page = exchange(address, post("/posts", &crowd.cookies[0], &long)).await.unwrap();
    assert_eq!(page.status, 303, "{}", page.body);
    let ask = get(page.location(), "").replace("Connection: close\r\n", "");
    let whole = exchange(address, get(page.location(), "")).await.unwrap().body.len();
    assert!(whole > 160_000, "{whole} bytes are not much");

    let asked = 20;
    let mut deaf = Vec::new();
    for _ in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(ask.repeat(asked).as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(exchange(address, get("/", "")).await.unwrap().status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

    // Whoever begins to read only now finds what was on its way, and then the end.
    sleep(timeouts.write * 3).await;
    for mut stream in deaf {
        let mut taken = Vec::new();
        let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut taken)).await;
        assert!(end.is_ok(), "it was waited for");
        assert!(taken.len() < whole * asked, "all of it was sent");
    }
}

/// Each asks on connections that the other has just used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_who_share_connections_never_see_each_other() {
    let crowd = Crowd::of(2).await;
    let program = Program::start(&crowd.database.url).await;
    let client = reqwest::Client::builder().pool_max_idle_per_host(2).build().unwrap();
    let mut people = JoinSet::new();
    for task in 0..4usize {
        let (client, cookies) = (client.clone(), crowd.cookies.clone());
        let base = format!("http://{}", program.address);
        people.spawn(async move {
            for n in 0..60usize {
                let who = (n + task) % 3;
                let path = ["/", "/users/writer0", "/nowhere", "/search?q=post"][n % 4];
                let mut request = client.get(format!("{base}{path}"));
                if let Some(cookie) = cookies.get(who) {
                    request = request.header("cookie", cookie);
                }
                let page = request.send().await.unwrap().text().await.unwrap();
                for other in 0..2 {
                    let says = page.contains(&format!("Logged in as <b>writer{other}</b>"));
                    assert_eq!(says, who == other, "{path}: {page}");
                }
            }
        });
    }
    people.join_all().await;
}

// --- The log ---

#[tokio::test]
async fn who_may_open_the_site_by_another_name_is_told_to_the_one_who_runs_it() {
    let database = database().await;
    let warning = "BASE_URL is unset";
    for (listen, base_url, is_warned) in [
        ("0.0.0.0:0", "", true),
        ("0.0.0.0:0", "http://site.test", false),
        ("127.0.0.1:0", "", false),
    ] {
        let settings = [("LISTEN_ADDR", listen), ("BASE_URL", base_url)];
        let mut program = Program::start_with(&database.url, &settings).await;
        program.comes_to("/readyz", 200).await;
        let form = post("/login", "", &[("login", "ada")]);
        let form = form.replace("Sec-Fetch-Site: same-origin", "Origin: http://box.lan:8000");
        let reply = program.ask(form.replace("site.test", "box.lan:8000")).await;
        assert_eq!(reply.status, 403);
        program.signal(Signal::SIGTERM);
        program.ended().await;

        let log = program.log.lock().unwrap().clone();
        assert_eq!(log.contains(warning), is_warned, "{listen} {base_url}: {log}");
        let refused = log.lines().find(|line| line.contains("refused a form")).unwrap();
        let ours = if base_url.is_empty() { "http://localhost" } else { base_url };
        for words in ["BASE_URL", ours, "http://box.lan:8000", "box.lan:8000"] {
            assert!(refused.contains(words), "{refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_nobodys_secrets_however_much_it_is_asked_for() {
    let database = empty_database().await;
    for format in ["json", "text"] {
        let everything = "trace,tower_sessions=trace,tower_sessions_core=trace,sqlx=trace,\
                          sqlx::query=trace,html5ever=trace,hyper=trace,tower_cookies=trace";
        let watched = free_port().await;
        let settings = [
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("METRICS_LISTEN_ADDR", &watched),
            ("RUN_MIGRATIONS", "true"),
            ("RUST_LOG", everything),
            ("LOG_FORMAT", format),
        ];
        let mut program = Program::start_with(&database.url, &settings).await;
        program.comes_to("/readyz", 200).await;
        let name = format!("teller{format}");
        let email = format!("canary.mail.{format}@example.org");
        let account =
            [("username", name.as_str()), ("email", &email), ("password", "canary pass kettle 9")];
        let signed_up = program.ask(post("/signup", "", &account)).await;
        assert_eq!(signed_up.status, 303, "{}", signed_up.body);
        let cookies: Vec<_> =
            signed_up.cookies().iter().map(|line| line.split(';').next().unwrap()).collect();
        let of = |name: &str| {
            (*cookies.iter().find(|cookie| cookie.starts_with(name)).unwrap()).to_owned()
        };
        let (cookie, device) = (of("sid="), of("device="));
        let post_fields = [
            ("title", "canary title"),
            ("url", "https://canary.link.test/"),
            ("body", "canary *body* <b>canary markup</b>"),
        ];
        let published = program.ask(post("/posts", &cookie, &post_fields)).await;
        assert_eq!(published.status, 303);
        let place = published.location().to_owned();
        for request in [
            post("/login", "", &[("login", &email), ("password", "canary pass kettle 9")]),
            post(
                "/login",
                "",
                &[("login", "canary.nobody@example.org"), ("password", "canary wrong")],
            ),
            post("/signup", "", &account),
            post(
                "/signup",
                "",
                &[("username", "canary!name"), ("email", "canary.bad"), ("password", "canary")],
            ),
            post("/posts", &cookie, &[("title", "canary\0title"), ("body", "canary body")]),
            post("/posts/preview", &cookie, &post_fields),
            post(&format!("{place}/vote"), &cookie, &[("value", "1")]),
            post("/posts", &cookie, &post_fields).replace("same-origin", "cross-site"),
            post("/users/canaryperson", &cookie, &post_fields).replace("same-origin", "cross-site"),
            post("/posts?canary=query", "", &post_fields).replace("same-origin", "none"),
            get("/canary/place?email=canary.mail@example.org", &cookie),
            get("/static/canary.css", &cookie),
            get("/posts/canary/edit", &cookie),
            get(&place, &cookie),
            get("/search?q=canary+words", &cookie),
            get("/?after=canarycursor", &cookie),
            get("/login?next=/canarynext", ""),
            get("/posts/new?token=canarytoken", ""),
            get("/users/canaryperson", &cookie),
            get("/", "sid=canarycookie; flash=canaryflash; other=canaryother"),
            get("/", "sid=Y2FuYXJ5Y2FuYXJ5Y2FuYQ"),
            get("/", &cookie).replace(
                "Host:",
                "Authorization: Bearer canarybearer\r\nUser-Agent: canaryagent\\ncanary\r\n\
                 Referer: http://site.test/canary?canary\r\nHX-Current-URL: http://site.test/canary\r\n\
                 X-Forwarded-For: canaryclient\r\nX-Request-Id: canary/id\r\nHost:",
            ),
            post("/password/forgot", "", &[("email", &email)]),
            get("/password/reset/Y2FuYXJ5Y2FuYXJ5Y2FuYQ", ""),
            post("/email/confirm/Y2FuYXJ5Y2FuYXJ5Y2FuYQ", "", &[]),
            post(
                "/settings/password",
                &cookie,
                &[("current_password", "canary pass kettle 9"), ("new_password", "canary")],
            ),
            post(
                "/settings/email",
                &format!("{cookie}; {device}"),
                &[("current_password", "canary pass kettle 9"), ("email", "canary@example.net")],
            ),
            get("/settings/export", &cookie),
            post("/logout", &cookie, &[]),
        ] {
            let reply = program.ask(&request).await;
            assert!(reply.status.as_u16() < 500, "{request}");
        }
        let metrics = exchange(watched.parse().unwrap(), get("/metrics", &cookie)).await.unwrap();
        program.signal(Signal::SIGTERM);
        assert_eq!(program.ended().await, Some(0));

        let log = program.log.lock().unwrap().to_lowercase();
        let metrics = metrics.body.to_lowercase();
        assert!(metrics.contains("social_post_requests_total"), "{metrics}");
        assert!(log.contains("answered") && log.contains("log-in refused"), "{log}");
        let session = cookie.trim_start_matches("sid=").to_lowercase();
        let device = device.trim_start_matches("device=").to_lowercase();
        let url = database.url.split_once('@').unwrap().0.to_lowercase();
        for secret in ["canary", "y2fuyxj5", &session, &device, &url, "$argon2id$"] {
            let told = log.lines().chain(metrics.lines());
            let telling: Vec<_> = told.filter(|line| line.contains(secret)).collect();
            assert!(
                telling.is_empty(),
                "{secret} is told {} times: {:#?}",
                telling.len(),
                telling.first()
            );
        }
        if format == "json" {
            for line in log.lines() {
                let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(entry["level"].is_string() && entry["timestamp"].is_string(), "{line}");
                let is_answer = entry["message"] == "answered";
                assert!(!is_answer || entry["ms"].is_u64() && entry["status"].is_u64(), "{line}");
            }
        }
    }
}
