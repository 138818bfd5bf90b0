//! The program itself, running on a real port.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{sleep, timeout};

use crate::support::{Reply, empty_directory, encode, wire::exchange};

/// Long enough for a slow machine; what takes longer never comes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the program in an empty directory with nothing in its environment but `settings`.
pub fn social_post(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    command(arguments, settings).output().unwrap()
}

/// The program as [`social_post`] runs it, not yet started.
pub fn command(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_social-post"));
    command
        .args(arguments)
        .current_dir(empty_directory("cwd"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(settings.iter().copied())
        .stdin(Stdio::null());
    command
}

/// A running program. It does not outlive its test.
pub struct Program {
    pub child: Child,
    pub address: SocketAddr,
    pub log: Arc<Mutex<String>>,
    /// Copies the program's standard error to `log` until its end.
    reader: JoinHandle<()>,
}

impl Program {
    pub async fn start(url: &str) -> Program {
        Program::start_with(url, &[("LISTEN_ADDR", "127.0.0.1:0")]).await
    }

    /// Waits until it listens.
    pub async fn start_with(url: &str, settings: &[(&str, &str)]) -> Program {
        let mut all = vec![("DATABASE_URL", url), ("BASE_URL", "http://site.test")];
        all.extend([("RATE_LIMITS", "off"), ("ACCESS_LOG", "all")]);
        all.extend(settings);
        Program::run(command(&["serve"], &all)).await
    }

    /// Waits until what the command starts listens.
    pub async fn run(mut command: Command) -> Program {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (send, listening) = tokio::sync::oneshot::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let reader = std::thread::spawn({
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
        Program { child, address: SocketAddr::from(([127, 0, 0, 1], port)), log, reader }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Its exit code, once it has exited and the log is complete.
    pub async fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let status = self.child.try_wait().unwrap();
            if let Some(status) = status.filter(|_| self.reader.is_finished()) {
                return status.code();
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not end: {}", self.log.lock().unwrap());
    }

    /// The log, once it contains `words`.
    pub async fn log_with(&self, words: &str) -> String {
        let started = Instant::now();
        loop {
            let log = self.log.lock().unwrap().clone();
            if log.contains(words) {
                return log;
            }
            assert!(started.elapsed() < PATIENCE, "no {words:?} in the log: {log}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Reply {
        exchange(self.address, request).await.unwrap()
    }

    /// Repeats the request until the response has this status.
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
