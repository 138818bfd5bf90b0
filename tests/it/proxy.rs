//! The project's `nginx.conf`, run by the nginx that is installed, in front of two real processes.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::http::{Method, Request, StatusCode, request::Builder};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use crate::{
    server::Program,
    support::{
        Database, PASSWORD, Reply, TestSite, database, empty_directory, encode, oracle, wire,
    },
};

const NAME: &str = "social.test";
const ORIGIN: &str = "https://social.test";
/// Long enough for a slow machine; who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running nginx. It does not outlive its test.
struct Nginx {
    child: Child,
    directory: PathBuf,
    http: SocketAddr,
    https: SocketAddr,
}

impl Nginx {
    /// In front of whatever listens, or will, at these two.
    async fn before(processes: [SocketAddr; 2]) -> Nginx {
        let directory = empty_directory("nginx");
        let [http, https] = [free_port().await, free_port().await];
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let conf = Command::new(project.join("tests/drills/nginx-conf"))
            .arg(&directory)
            .args([NAME, &http.port().to_string(), &https.port().to_string()])
            .args(processes.map(|address| address.to_string()))
            .output()
            .unwrap();
        assert!(conf.status.success(), "{}", String::from_utf8_lossy(&conf.stderr));
        std::fs::write(directory.join("nginx.conf"), conf.stdout).unwrap();
        certificate(&directory.join("tls"), 2);
        let child = Command::new("nginx")
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()))
            .arg("-p")
            .arg(&directory)
            .args(["-c", "nginx.conf", "-e", "logs/start.log", "-g", "daemon off;"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx: bin/test installs it");
        let started = Instant::now();
        while TcpStream::connect(https).await.is_err() {
            let log = || std::fs::read_to_string(directory.join("logs/start.log"));
            assert!(started.elapsed() < PATIENCE, "nginx does not listen: {:?}", log());
            sleep(Duration::from_millis(20)).await;
        }
        Nginx { child, directory, http, https }
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join("logs").join(name)).unwrap()
    }

    /// A connection with TLS, speaking `protocol`.
    async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        self.connect_as(NAME, protocol).await.unwrap()
    }

    async fn connect_as(
        &self,
        name: &str,
        protocol: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let certificate = self.directory.join("tls/fullchain.pem");
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.https).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn http2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect("h2").await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// One request over HTTP/2.
    async fn send(&self, request: Builder, body: impl Into<Bytes>) -> Reply {
        let request = as_http2(request, body);
        let answer = self.http2().await.send_request(request).await.unwrap();
        whole(answer).await
    }

    async fn send_over_http1(&self, request: Builder, body: impl Into<Bytes>) -> Reply {
        let stream = TokioIo::new(self.connect("http/1.1").await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut request = request.body(Full::new(body.into())).unwrap();
        *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        whole(sender.send_request(request).await.unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(request(Method::GET, path), "").await
    }

    /// Bytes as they are, over TLS, and all that comes back until the end.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect("http/1.1").await;
        // A refusal may come before everything is read.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn certificate(directory: &Path, days: u16) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", &days.to_string(), "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=social.test"])
        .args(["-addext", "subjectAltName=DNS:social.test"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(directory.join("privkey.pem"))
        .arg("-out")
        .arg(directory.join("fullchain.pem"))
        .output()
        .expect("openssl: bin/test installs it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A port that was free a moment ago.
async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn request(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(format!("{ORIGIN}{path}")).header("host", NAME)
}

/// There the address alone says which host.
fn as_http2(request: Builder, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = request.body(Full::new(body.into())).unwrap();
    request.headers_mut().remove("host");
    request
}

fn form(path: &str, cookies: &str) -> Builder {
    request(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", ORIGIN)
        .header("cookie", cookies)
}

async fn whole(answer: hyper::Response<hyper::body::Incoming>) -> Reply {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Reply { status: head.status, headers: head.headers, body }
}

/// The rules for every answer, whoever made it: each security header once, with the site's own
/// value.
#[track_caller]
fn check(reply: &Reply, asked: &str, is_encrypted: bool) {
    let mut headers = reply.headers.clone();
    assert_eq!(headers.remove("server").unwrap(), "nginx", "{asked}: no version");
    // Over plain HTTP a redirect leads to another origin.
    headers.remove("location").filter(|_| !is_encrypted);
    let bare = Reply { status: reply.status, headers, body: String::new() };
    oracle::check_headers(&bare, asked);
    let strict: Vec<_> = reply.headers.get_all("strict-transport-security").iter().collect();
    let expected: &[&str] =
        if is_encrypted { &["max-age=63072000; includeSubDomains"] } else { &[] };
    assert_eq!(strict, expected, "{asked}");
    for name in ["x-request-id", "cache-control"] {
        assert_eq!(reply.headers.get_all(name).iter().count(), 1, "{asked}: {name}");
    }
    let is_late = matches!(reply.status.as_u16(), 429 | 503 | 504);
    assert!(!is_late || !reply.header("retry-after").is_empty(), "{asked}: no Retry-After");
}

/// A refusal of nginx's own, as a page or, below `/api/`, as a problem document.
#[track_caller]
fn check_refusal(reply: &Reply, asked: &str, status: u16) {
    assert_eq!(reply.status, status, "{asked}: {}", reply.body);
    if asked.contains(" /api/") {
        assert_eq!(reply.header("content-type"), "application/problem+json", "{asked}");
        assert_eq!(reply.json()["status"], status, "{asked}");
        assert!(reply.json()["detail"].as_str().unwrap().ends_with('.'), "{asked}");
    } else {
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8", "{asked}");
        reply.has("<h1>").has("href=\"/\"").has(reply.header("x-request-id")).lacks("<!--");
    }
}

/// The site behind nginx.
struct Chain {
    nginx: Nginx,
    processes: [Program; 2],
    site: TestSite,
    database: Database,
}

impl Chain {
    async fn new() -> Chain {
        Chain::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Chain {
        let database = database().await;
        let processes = [
            process(&database, "127.0.0.1:0", settings).await,
            process(&database, "127.0.0.1:0", settings).await,
        ];
        let nginx = Nginx::before([processes[0].address, processes[1].address]).await;
        let site = TestSite::over(database.options(), ORIGIN);
        Chain { nginx, processes, site, database }
    }
}

async fn process(database: &Database, listen: &str, settings: &[(&str, &str)]) -> Program {
    let mut all = vec![
        ("LISTEN_ADDR", listen),
        ("BASE_URL", ORIGIN),
        ("JWT_SECRET", "a secret of the tests, 32 bytes or more"),
    ];
    all.extend(settings);
    Program::start_with(&database.url, &all).await
}

#[tokio::test]
async fn pages_forms_and_votes_pass_in_both_versions_of_http() {
    let chain = Chain::new().await;
    let nginx = &chain.nginx;
    for (name, is_http2) in [("ada", true), ("bob", false)] {
        let send = async |request: Builder, body: String| {
            let asked = format!("{:?} {:?}", request.method_ref(), request.uri_ref());
            let reply = if is_http2 {
                nginx.send(request, body).await
            } else {
                nginx.send_over_http1(request, body).await
            };
            check(&reply, &asked, true);
            reply
        };
        send(request(Method::GET, "/"), String::new()).await.has("Sign up");
        let email = format!("{name}@example.org");
        let fields = [("username", name), ("email", &email), ("password", PASSWORD)];
        let reply = send(form("/signup", ""), encode(&fields)).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let cookie = reply.cookies().into_iter().find(|cookie| cookie.contains("sid=")).unwrap();
        assert!(cookie.starts_with("__Host-sid=") && cookie.contains("; Secure"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();

        let title = format!("A post by {name}");
        let fields = [("title", title.as_str()), ("url", ""), ("body", "Text")];
        let reply = send(form("/posts", cookie), encode(&fields)).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let post = reply.location().to_owned();
        let reply = send(form(&format!("{post}/vote"), cookie), "value=1".into()).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let reply = send(request(Method::GET, &post).header("cookie", cookie), String::new()).await;
        reply.has(&title).has("aria-pressed=\"true\"").has(&format!("<b>{name}</b>"));
        let api = send(request(Method::GET, "/api/v1/posts"), String::new()).await;
        assert_eq!(
            (api.status, api.json()["posts"][0]["score"].as_i64()),
            (StatusCode::OK, Some(1))
        );

        let page = nginx.get("/").await;
        let (_, rest) = page.body.split_once("rel=\"stylesheet\" href=\"").unwrap();
        let css = rest.split_once('"').unwrap().0;
        for coding in ["br", "gzip", "br"] {
            let asked = request(Method::GET, css).header("accept-encoding", coding);
            let reply = send(asked, String::new()).await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("content-encoding"), coding);
            assert_eq!(reply.header("cache-control"), "public, max-age=31536000, immutable");
        }
    }
    assert_eq!(chain.site.wrong_scores().await, []);
}

/// Notes each request's head and answers as it is told; two of them stand for the two processes.
struct Upstream {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// `answer` gets the head and the connection.
    async fn answering<F>(
        answer: impl Fn(String, TcpStream) -> F + Clone + Send + 'static,
    ) -> Upstream
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (noted, answer) = (noted.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    noted.lock().unwrap().push(head.clone());
                    answer(head, stream).await;
                });
            }
        });
        Upstream { address, heads }
    }

    /// Says yes to everything.
    async fn content() -> Upstream {
        Upstream::answering(async |_, mut stream: TcpStream| {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes";
            let _ = stream.write_all(answer.as_bytes()).await;
        })
        .await
    }
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_replaced_on_the_way() {
    let upstream = Upstream::content().await;
    let nginx = Nginx::before([upstream.address; 2]).await;
    let forged = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.7"),
        ("forwarded", "for=6.6.6.6;proto=http"),
        ("x-real-ip", "6.6.6.6"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-port", "666"),
        ("proxy", "6.6.6.6:1"),
        ("x-request-id", "six six six: 6.6.6.6"),
    ];
    for is_http2 in [true, false] {
        let mut asked = request(Method::GET, "/new?q=canary-6.6.6.6").header("cookie", "a=canary");
        for (name, value) in forged {
            asked = asked.header(name, value);
        }
        asked = asked.header("x_forwarded_for", "6.6.6.6");
        let reply = if is_http2 {
            nginx.send(asked, "").await
        } else {
            nginx.send_over_http1(asked, "").await
        };
        assert_eq!(reply.body, "yes");
        check(&reply, "/new", true);
        let head = upstream.heads.lock().unwrap().pop().unwrap().to_lowercase();
        let (line, rest) = head.split_once("\r\n").unwrap();
        assert_eq!(line, "get /new?q=canary-6.6.6.6 http/1.1");
        // nginx's own name for the request may hold any digits.
        let rest: String =
            rest.lines().filter(|line| !line.starts_with("x-request-id: ")).collect();
        for bad in ["6.6.6", "evil", "666", "forwarded: for", "x-real-ip", "x-forwarded-host"] {
            assert!(!rest.contains(bad), "{bad} passed: {head}");
        }
        let id = reply.header("x-request-id");
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        for line in [
            "\r\nhost: social.test\r\n",
            "\r\nx-forwarded-for: 127.0.0.1\r\n",
            "\r\nx-forwarded-proto: https\r\n",
            &format!("\r\nx-request-id: {id}\r\n"),
        ] {
            assert_eq!(head.matches(line).count(), 1, "{line:?} in {head}");
        }
    }
    // A good name for a request is kept.
    let asked = request(Method::GET, "/").header("x-request-id", "0193c2f0-traced-by-us");
    assert_eq!(nginx.send(asked, "").await.header("x-request-id"), "0193c2f0-traced-by-us");
    let head = upstream.heads.lock().unwrap().pop().unwrap();
    assert!(head.contains("0193c2f0-traced-by-us"), "{head}");

    nginx.get("/password/reset/canary-secret").await;
    let noted = nginx.log("access.log") + &nginx.log("error.log");
    assert!(noted.contains("\"path\":\"/password/reset/...\""), "{noted}");
    assert!(noted.contains("0193c2f0-traced-by-us"), "{noted}");
    assert!(!noted.contains("canary"), "{noted}");
    for line in noted.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[tokio::test]
async fn who_guesses_passwords_is_throttled_whatever_address_they_claim() {
    let chain = Chain::with(&[("RATE_LIMITS", "on")]).await;
    // Each process counts for itself: thirty in a quarter of an hour.
    for n in 0..80 {
        let login = format!("nobody{n}");
        let asked = form("/login", "")
            .header("x-forwarded-for", format!("198.51.100.{n}"))
            .header("x-real-ip", format!("198.51.100.{n}"))
            .header("forwarded", format!("for=198.51.100.{n}"));
        let fields = [("login", login.as_str()), ("password", "wrong horse battery")];
        let reply = chain.nginx.send(asked, encode(&fields)).await;
        check(&reply, "/login", true);
        if reply.status == 429 {
            assert!((30..=60).contains(&n), "after {n} tries");
            return reply.lacks("Too many requests.").assert_is_late();
        }
        assert!(matches!(reply.status.as_u16(), 401 | 503), "{}", reply.status);
    }
    panic!("eighty tries from one address");
}

impl Reply {
    #[track_caller]
    fn assert_is_late(&self) {
        assert!(self.header("retry-after").parse::<u32>().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_stream_arrives_line_by_line() {
    let (send, receive) = mpsc::channel::<String>(1);
    let receive = Arc::new(tokio::sync::Mutex::new(receive));
    let upstream = Upstream::answering(move |_, mut stream: TcpStream| {
        let receive = receive.clone();
        async move {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while let Some(line) = receive.lock().await.recv().await {
                let chunk = format!("{:x}\r\n{line}\r\n", line.len());
                stream.write_all(chunk.as_bytes()).await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let nginx = Nginx::before([upstream.address; 2]).await;
    let asked = request(Method::GET, "/live").header("accept-encoding", "gzip, br");
    let asked = as_http2(asked, "");
    // Over HTTP/2 nginx keeps the headers until there is something to follow, so a stream begins with
    // a line.
    let line = |n: usize| format!("data: {n}\n\n");
    send.send(line(0)).await.unwrap();
    let mut sender = nginx.http2().await;
    let answer = timeout(PATIENCE, sender.send_request(asked)).await.expect("no answer begins");
    let mut answer = answer.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    for n in 0..5 {
        let frame =
            timeout(PATIENCE, answer.body_mut().frame()).await.expect("a line is kept back");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), line(n).as_bytes());
        // The next is sent only now that this one is there.
        send.send(line(n + 1)).await.unwrap();
    }
    let _last = timeout(PATIENCE, answer.body_mut().frame()).await.expect("a line is kept back");
    drop(send);
    let end = timeout(PATIENCE, answer.body_mut().frame()).await.expect("no end");
    assert!(end.is_none_or(|frame| frame.is_ok()));
}

#[tokio::test]
async fn what_is_too_much_or_goes_to_the_wrong_place_is_refused_on_a_page_of_the_site() {
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
            // What is too long is not read, so nobody knows where it went.
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

    // Somebody else's name, or none.
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
async fn who_asks_far_too_often_is_told_when_to_come_back() {
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
        reply.assert_is_late();
    }
}

#[tokio::test]
async fn who_sends_nothing_more_is_cut_off() {
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

#[tokio::test]
async fn one_process_is_enough_and_without_any_nginx_says_so_until_one_is_back() {
    let mut chain = Chain::new().await;
    let member = chain.site.member("ada").await;
    let cookie = member.cookie_header();
    let post = chain.site.post_by("ada", "A post").await;
    let vote = format!("/posts/{post}/vote");

    let [first, second] = &mut chain.processes;
    first.signal(Signal::SIGTERM);
    assert_eq!(first.ended().await, Some(0));
    for n in 0..10 {
        assert_eq!(chain.nginx.get("/").await.status, 200);
        let value = format!("value={}", n % 2);
        let reply = chain.nginx.send(form(&vote, &cookie), value).await;
        assert_eq!(reply.status, 303, "a refused connection has carried nothing");
    }
    second.signal(Signal::SIGTERM);
    assert_eq!(second.ended().await, Some(0));
    for (method, path) in [
        (Method::GET, "/"),
        (Method::POST, "/posts"),
        (Method::GET, "/api/v1/posts"),
        (Method::DELETE, "/api/v1/posts/1"),
    ] {
        let asked = format!("{method} {path}");
        let reply = chain.nginx.send(request(method, path), "").await;
        check(&reply, &asked, true);
        check_refusal(&reply, &asked, 503);
        reply.assert_is_late();
    }
    let address = second.address.to_string();
    chain.processes[1] = process(&chain.database, &address, &[]).await;
    for _ in 0..10 {
        assert_eq!(chain.nginx.get("/").await.status, 200, "at once");
    }
}

/// Each with another request hidden in it, which must never run.
fn framing() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let hidden = "GET /users/smuggled HTTP/1.1\r\nHost: social.test\r\n\r\n";
    let sized = |head: &str, body: &str| {
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let post = "POST /login HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n";
    let get = "GET / HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n";
    let chunked = format!("0\r\n\r\n{hidden}");
    let refused: &[u16] = &[400, 421];
    let mut table = vec![
        ("a length and chunks", sized(&format!("{post}Transfer-Encoding: chunked\r\n"), &chunked)),
        ("two lengths", format!("{post}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        ("a length twice", format!("{post}Content-Length: 0\r\nContent-Length: 0\r\n\r\n{hidden}").into_bytes()),
        ("lengths in a list", format!("{post}Content-Length: 0, {}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        ("a length with a sign", format!("{post}Content-Length: +{}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        ("a length below zero", format!("{post}Content-Length: -1\r\n\r\n{hidden}").into_bytes()),
        ("no known coding", format!("{post}Transfer-Encoding: xchunked\r\n\r\n{chunked}").into_bytes()),
        ("a coding twice", format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{chunked}").into_bytes()),
        ("codings in a list", format!("{post}Transfer-Encoding: identity, chunked\r\n\r\n{chunked}").into_bytes()),
        ("chunks in HTTP/1.0", format!("POST /login HTTP/1.0\r\nHost: social.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}").into_bytes()),
        ("a bad size of a chunk", format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{hidden}").into_bytes()),
        ("a size without end", format!("{post}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{hidden}").into_bytes()),
        ("two hosts", format!("{get}Host: evil.test\r\n\r\n").into_bytes()),
        ("the same host twice", format!("{get}Host: social.test\r\n\r\n").into_bytes()),
        ("no host", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec()),
        ("a list of hosts", b"GET / HTTP/1.1\r\nHost: social.test, evil.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("an address of another host", b"GET http://evil.test/ HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("an address of ours for another host", b"GET http://social.test/ HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("no version", b"GET /users/smuggled\r\n\r\n".to_vec()),
        ("another version", b"GET / HTTP/3.1\r\nHost: social.test\r\n\r\n".to_vec()),
        ("a space before the colon", format!("{post}Content-Length : {}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        ("NUL in a header", format!("{get}X-A: a\0b\r\n\r\n").into_bytes()),
        ("a bare CR in a header", format!("{get}X-A: a\rGET /users/smuggled HTTP/1.1\r\n\r\n").into_bytes()),
        ("NUL in the address", b"GET /a%00b HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("a space in the address", b"GET /a b HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("up out of the root", b"GET /../../etc/passwd HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("a method in small letters", b"get / HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name, bytes, refused))
    .collect::<Vec<_>>();
    table.extend([
        (
            "a tunnel",
            b"CONNECT evil.test:443 HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n"
                .to_vec(),
            &[400, 405][..],
        ),
        (
            "a method that is none",
            format!("FOO{}", &get[3..]).into_bytes().into_iter().chain(*b"\r\n").collect(),
            &[403, 405],
        ),
        // Understood in one way only, so they are passed on, or read past, in that way.
        (
            "a folded header",
            format!("{get}X-A: a\r\n Host: evil.test\r\n\r\n").into_bytes(),
            &[200, 400],
        ),
        (
            "bare LF",
            b"GET / HTTP/1.1\nHost: social.test\nConnection: close\n\n".to_vec(),
            &[200, 400],
        ),
        ("another protocol", format!("{get}Upgrade: h2c\r\n\r\n").into_bytes(), &[200, 400]),
        ("a form with a GET", sized(get, hidden), &[200, 400]),
        (
            "an underscore for a dash",
            format!("{post}Content_Length: {}\r\n\r\n{hidden}", hidden.len()).into_bytes(),
            &[400, 403, 415],
        ),
    ]);
    table
}

#[tokio::test]
async fn odd_framing_is_refused_and_no_answer_crosses_between_two_people() {
    let chain = Chain::new().await;
    let ada = chain.site.member("ada").await.cookie_header();
    let bob = chain.site.member("bob").await.cookie_header();
    // A connection that bob keeps while others try theirs.
    let kept = chain.nginx.http2().await;
    for (name, bytes, expected) in framing() {
        // Ada's name goes with it, and would show in an answer that is not hers.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let bytes = match text.split_once("\r\n") {
            Some((line, rest)) if line.contains("HTTP/1.") => {
                format!("{line}\r\nCookie: {ada}\r\n{rest}").into_bytes()
            }
            _ => bytes,
        };
        let answer = chain.nginx.exchange(&bytes).await;
        if !answer.is_empty() {
            let statuses: Vec<u16> = answer
                .match_indices("HTTP/1.1 ")
                .map(|(at, _)| answer[at + 9..at + 12].parse().unwrap())
                .collect();
            assert!(
                statuses.len() == 1 && expected.contains(&statuses[0]),
                "{name}: {statuses:?}, not {expected:?}: {answer}"
            );
            assert!(!answer.contains("smuggled"), "{name}: {answer}");
        }
        for _ in 0..2 {
            let asked = request(Method::GET, "/").header("cookie", &bob);
            let asked = as_http2(asked, "");
            let reply = whole(kept.clone().send_request(asked).await.unwrap()).await;
            assert_eq!(reply.status, 200, "{name}");
            reply.has("Logged in as <b>bob</b>").lacks("<b>ada</b>");
        }
    }
    for process in &chain.processes {
        let log = process.log.lock().unwrap();
        assert!(!log.contains("/users/{username}"), "a hidden request ran: {log}");
    }
}

/// The first of eight free ports in a row, below those that the system gives to other tests meanwhile.
async fn eight_ports() -> u16 {
    loop {
        let first = 20_000 + rand::random::<u16>() % 12_000;
        let mut held = Vec::new();
        for port in first..first.saturating_add(8) {
            held.extend(TcpListener::bind(("127.0.0.1", port)).await);
        }
        if held.len() == 8 {
            return first;
        }
    }
}

/// The short form of the drill that `docs/OPERATIONS.md` describes.
#[tokio::test]
async fn processes_are_replaced_behind_nginx_and_nothing_fails_or_is_lost() {
    let drill = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drills/rolling-restart");
    let mut command = tokio::process::Command::new(drill);
    command
        .args(["3", "60", "--port", &eight_ports().await.to_string()])
        .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap()))
        .env("PROGRAM", env!("CARGO_BIN_EXE_social-post"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let done = command.output().await.unwrap();
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stderr),
        String::from_utf8_lossy(&done.stdout)
    );
    assert!(done.status.success(), "{told}");
    let summary = String::from_utf8(done.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(summary.trim()).unwrap();
    assert_eq!((summary["failed"].as_u64(), summary["wrong"].as_u64()), (Some(0), Some(0)));
    assert!(summary["posts_acknowledged"].as_u64() > Some(0), "{summary}");
}

#[test]
fn a_certificate_that_ends_soon_is_said_in_time() {
    let directory = empty_directory("certificate-ends");
    let ends = || {
        let said = Command::new("deploy/nginx/certificate-ends")
            .env("TLS_DIRECTORY", &directory)
            .output()
            .unwrap();
        (said.status.code(), String::from_utf8(said.stdout).unwrap())
    };
    let (code, said) = ends();
    assert!(code == Some(3) && said.contains("is no certificate"), "{code:?} {said}");
    certificate(&directory, 19);
    let (code, said) = ends();
    assert!(code == Some(3) && said.contains("ends on"), "{code:?} {said}");
    certificate(&directory, 21);
    assert_eq!(ends(), (Some(0), String::new()));
}
