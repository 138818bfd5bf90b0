//! Connections that the process has no room for: each gets a ready-made 503 at once, instead of waiting in
//! the kernel's queue.

use std::{
    fs::File,
    io,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::metrics::metrics;

/// How many connections may be refused at the same time.
const MAX_REFUSALS: usize = 64;
/// File descriptors kept in reserve for refusals when no others are left.
const SPARES: usize = 8;
/// For a client to send its request. It gets the response in any case.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(100);
/// For a client to send its request, read the response and close the connection.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(250);
/// The pause after a connection could not be accepted and no spare descriptor helped.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
const LOG_INTERVAL: Duration = Duration::from_mins(1);

const TEXT: &str = "The site has no room for this connection. Please try again in a few seconds.\n";

/// The whole response, with the headers of every response.
static RESPONSE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Retry-After: 5\r\n\
         Cache-Control: no-store\r\n\
         Connection: close\r\n\
         Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
         img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'; object-src 'none'; manifest-src 'self'\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: strict-origin-when-cross-origin\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Permissions-Policy: camera=(), geolocation=(), microphone=(), payment=(), usb=(), \
         interest-cohort=()\r\n\
         X-Frame-Options: DENY\r\n\r\n{TEXT}",
        TEXT.len(),
    )
});

/// Why a connection is refused.
#[derive(Debug, Clone, Copy)]
pub enum Reason {
    TooManyConnections,
    NoDescriptors,
    Clock,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Reason::TooManyConnections => "the limit of connections is reached",
            Reason::NoDescriptors => "no file descriptors are left",
            Reason::Clock => "this machine's clock is before 1970 or after 9999: set it",
        }
    }
}

/// Refuses connections, and says so in the log once a minute.
pub struct Overflow {
    refusals: Arc<Semaphore>,
    spares: Arc<Spares>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    written: Option<Instant>,
    /// Connections refused since.
    refused: u64,
}

impl Overflow {
    pub fn new() -> Overflow {
        let spares = Arc::new(Spares::default());
        spares.fill();
        Overflow { refusals: Arc::new(Semaphore::new(MAX_REFUSALS)), spares, log: Mutex::default() }
    }

    /// Answers the connection in a task of its own. Waits while [`MAX_REFUSALS`] are being answered.
    pub async fn refuse(&self, stream: TcpStream, reason: Reason) {
        self.note(reason.as_str());
        metrics().connection_refused();
        let permit = self.refusals.clone().acquire_owned().await;
        let spares = self.spares.clone();
        tokio::spawn(async move {
            let _ = timeout(REFUSAL_TIMEOUT, answer(stream)).await;
            spares.fill();
            drop(permit);
        });
    }

    /// To be called when `listener` could not accept a connection. Where the reason is that no file
    /// descriptor is left, the newcomer is accepted with a spare one and refused.
    pub async fn accept_failed(&self, listener: &TcpListener, err: &io::Error) {
        use nix::errno::Errno::{EMFILE, ENFILE};
        // The client is gone already.
        if err.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        let is_exhausted =
            [EMFILE, ENFILE].iter().any(|errno| err.raw_os_error() == Some(*errno as i32));
        if !is_exhausted {
            self.note(&err.to_string());
        } else if self.spares.release()
            && let Ok(Ok((stream, _))) = timeout(ACCEPT_RETRY, listener.accept()).await
        {
            return self.refuse(stream, Reason::NoDescriptors).await;
        } else {
            self.note(Reason::NoDescriptors.as_str());
            self.spares.fill();
        }
        sleep(ACCEPT_RETRY).await;
    }

    fn note(&self, reason: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.refused += 1;
        if log.written.is_none_or(|written| written.elapsed() >= LOG_INTERVAL) {
            tracing::warn!(refused = log.refused, "new connections are refused: {reason}");
            *log = Log { written: Some(Instant::now()), refused: 0 };
        }
    }
}

/// Whether the library can write the `Date` of a response; it panics otherwise.
pub fn is_clock_usable() -> bool {
    const YEAR_10000: u64 = 253_402_300_800;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.is_ok_and(|now| now.as_secs() < YEAR_10000)
}

/// Reads what the client sends until it closes the connection: closing a socket before everything is
/// read resets the connection, and the client may lose the response.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut sent = [0; 4096];
    let _ = timeout(REQUEST_TIMEOUT, stream.read(&mut sent)).await;
    stream.write_all(RESPONSE.as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut sent).await? > 0 {}
    Ok(())
}

/// File descriptors that are open only to be closed when one is needed.
#[derive(Default)]
struct Spares(Mutex<Vec<File>>);

impl Spares {
    /// Opens what is missing, as far as the system allows.
    fn fill(&self) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while spares.len() < SPARES {
            let Ok(spare) = File::open("/dev/null") else { return };
            spares.push(spare);
        }
    }

    /// Closes one, if one is left.
    fn release(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().is_some()
    }
}
