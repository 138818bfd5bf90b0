//! A busy database, slow clients and shared connections.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::http::header;
use social_post::server::Timeouts;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    ledger::Crowd,
    program::{Program, get, post},
    support::{
        oracle,
        wire::{exchange, listen_on, receive},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_database_is_a_503_soon_and_pages_return_once_it_is_free() {
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
async fn slow_clients_that_send_half_a_request_block_no_other_client() {
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
    // Each gets an error in the end, or is disconnected, and leaves nothing running.
    let (mut headless, mut unfinished) = (slow.swap_remove(0), slow.pop().unwrap());
    let told = receive(&mut unfinished).await.unwrap();
    assert_eq!(told.status, 408);
    oracle::check(&told, "half a form", &[]);
    let _ = receive(&mut headless).await;
    assert_eq!(program.ask(get("/", "")).await.status, 200);
}

/// Each requests more than any buffer on the way holds, and reads nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_are_dropped_and_block_no_other_client() {
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
    // As many as a network may leave unread.
    for _ in 0..60 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(ask.repeat(asked).as_bytes()).await.unwrap();
        // One after the other, so that no request is refused for want of a place.
        stream.readable().await.unwrap();
        deaf.push(stream);
    }
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(exchange(address, get("/", "")).await.unwrap().status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

    // A client that starts to read only now gets what was already sent, and then the end.
    sleep(timeouts.write * 3).await;
    for mut stream in deaf {
        let mut taken = Vec::new();
        let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut taken)).await;
        assert!(end.is_ok(), "it was waited for");
        assert!(taken.starts_with(b"HTTP/1.1 200 "), "not refused");
        assert!(taken.len() < whole * asked, "all of it was sent");
    }
}

/// Each sends requests on connections that the other has just used.
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
