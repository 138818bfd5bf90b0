//! A running nginx.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::{Method, request::Builder};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
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
    proxy::{NAME, PATIENCE, as_http2, request, whole},
    support::{Reply, empty_directory},
};

/// A running nginx. It does not outlive its test.
pub struct Nginx {
    pub child: Child,
    pub directory: PathBuf,
    pub http: SocketAddr,
    pub https: SocketAddr,
}

impl Nginx {
    /// A proxy for the two upstream addresses, which need not listen yet.
    pub async fn before(processes: [SocketAddr; 2]) -> Nginx {
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

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join("logs").join(name)).unwrap()
    }

    /// Both logs, once they contain `words`: nginx logs a request only after its response is sent.
    pub async fn log_with(&self, words: &str) -> String {
        let started = Instant::now();
        loop {
            let log = self.log("access.log") + &self.log("error.log");
            if log.contains(words) {
                return log;
            }
            assert!(started.elapsed() < PATIENCE, "no {words:?} in the log: {log}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// A connection with TLS, speaking `protocol`.
    pub async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        self.connect_as(NAME, protocol).await.unwrap()
    }

    pub async fn connect_as(
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

    pub async fn http2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect("h2").await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// One request over HTTP/2.
    pub async fn send(&self, request: Builder, body: impl Into<Bytes>) -> Reply {
        let request = as_http2(request, body);
        let answer = self.http2().await.send_request(request).await.unwrap();
        whole(answer).await
    }

    pub async fn send_over_http1(&self, request: Builder, body: impl Into<Bytes>) -> Reply {
        let stream = TokioIo::new(self.connect("http/1.1").await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut request = request.body(Full::new(body.into())).unwrap();
        *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse().unwrap();
        whole(sender.send_request(request).await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(request(Method::GET, path), "").await
    }

    /// Bytes as they are, over TLS, and all that comes back until the end.
    pub async fn exchange(&self, bytes: &[u8]) -> String {
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

pub fn certificate(directory: &Path, days: u16) {
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
pub async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
