//! The accept loop: deadlines for slow clients, a bound on connections, a bounded drain.
//!
//! `axum::serve` has no timer for headers and waits for ever at shutdown.

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulConnection, GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

pub mod open_files;
mod peer;
mod shutdown;

pub use peer::Peer;
pub use shutdown::Shutdown;

/// How long a client may keep the server waiting.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a request's headers to arrive, and for an idle connection to ask again.
    pub headers: Duration,
    /// For a client to take the next part of an answer.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { headers: Duration::from_secs(15), write: Duration::from_secs(30) }
    }
}

/// From the wish to stop to the end, whatever still runs.
pub const DRAIN: Duration = Duration::from_secs(10);
/// The least time between "not ready" and a closed door, for proxies that ask `/readyz` to notice.
const READINESS_GRACE: Duration = Duration::from_secs(1);
/// How long connections that were there before may stay idle. A proxy in front must give up its own
/// idle ones sooner (nginx: `keepalive_timeout 2s` in `upstream`), so that none is closed from here
/// while a request is on its way.
const KEEPALIVE_DRAIN: Duration = Duration::from_secs(4);
/// For the first request of those who came last.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Most of them are open pages that listen.
const MAX_CONNECTIONS: usize = 10_000;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Serves until asked to stop, and then ends within ten seconds without losing a request:
///
/// 1. `/readyz` says 503 and every answer ends its connection, so that proxies turn elsewhere. Who
///    comes is still served.
/// 2. The door closes behind those who already stand before it, unless others serve there too.
/// 3. What runs is finished: connections, and `running`, the requests whose clients may be gone.
pub async fn serve(
    listener: Listener,
    router: Router,
    running: TaskTracker,
    timeouts: Timeouts,
    shutdown: Shutdown,
) {
    let door = Acceptor {
        router,
        timeouts,
        shutdown: shutdown.clone(),
        permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        connections: GracefulShutdown::new(),
    };
    // Those that came before the wish to stop and may be idle, and those that came after it.
    let (early, late) = (TaskTracker::new(), TaskTracker::new());
    tokio::select! {
        () = door.accept_loop(&listener, &early) => {}
        () = shutdown.requested() => {}
    }
    tracing::info!("stopping: finishing what runs");
    early.close();
    late.close();
    running.close();
    let ended = async {
        let left =
            async { tokio::join!(sleep(READINESS_GRACE), timeout(KEEPALIVE_DRAIN, early.wait())) };
        tokio::select! {
            () = door.accept_loop(&listener, &late) => {}
            _ = left => {}
        }
        if let Err(err) = door.close(listener, &late) {
            tracing::warn!(%err, "those who came last are turned away");
        }
        let _ = timeout(FIRST_REQUEST_GRACE, late.wait()).await;
        door.connections.shutdown().await;
        running.wait().await;
    };
    tokio::select! {
        ended = timeout(DRAIN, ended) => if ended.is_err() {
            tracing::warn!("stopped before everything was finished");
        },
        () = shutdown.immediate() => tracing::warn!("asked twice: stopped at once"),
    }
}

/// Where the site listens.
pub struct Listener {
    socket: TcpListener,
    /// Whether somebody else holds it too, so that connections wait there for whoever comes next.
    is_shared: bool,
}

impl Listener {
    pub fn own(socket: TcpListener) -> Listener {
        Listener { socket, is_shared: false }
    }

    /// A socket that stays open elsewhere.
    pub fn shared(socket: std::net::TcpListener) -> std::io::Result<Listener> {
        socket.set_nonblocking(true)?;
        Ok(Listener { socket: TcpListener::from_std(socket)?, is_shared: true })
    }

    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

struct Acceptor {
    router: Router,
    timeouts: Timeouts,
    shutdown: Shutdown,
    permits: Arc<Semaphore>,
    connections: GracefulShutdown,
}

impl Acceptor {
    /// Takes in whoever comes; does not end.
    async fn accept_loop(&self, listener: &Listener, guests: &TaskTracker) {
        loop {
            let permit = self.permits.clone().acquire_owned().await;
            match listener.socket.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, guests, permit.ok()),
                Err(err) => {
                    // No file descriptor left, most likely: they come back when connections end.
                    tracing::warn!(%err, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Takes in those who already stand before it. To them it looks as if they were connected, so
    /// that what they have sent would be lost, and a proxy may not send a form again elsewhere.
    /// Of 960 clients that connected all the time, 58 lost a request without this, and none with it.
    fn close(&self, listener: Listener, guests: &TaskTracker) -> std::io::Result<()> {
        if listener.is_shared {
            return Ok(());
        }
        // Not tokio's own `accept`, which may say "nobody" before it has looked.
        let socket = listener.socket.into_std()?;
        loop {
            match socket.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    self.serve(TcpStream::from_std(stream)?, peer, guests, None);
                }
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(err) => return Err(err),
            }
        }
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        guests: &TaskTracker,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let (router, shutdown) = (self.router.clone(), self.shutdown.clone());
        let connection = connection(stream, Peer(peer), router, self.timeouts, shutdown);
        let connection = self.connections.watch(connection);
        guests.spawn(async move {
            if let Err(err) = connection.await {
                tracing::debug!(%err, "a connection ended early");
            }
            drop(permit);
        });
    }
}

fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    timeouts: Timeouts,
    shutdown: Shutdown,
) -> impl GracefulConnection<Error = hyper::Error> {
    // Answers are small and complete; waiting to fill a packet only delays them.
    if let Err(err) = stream.set_nodelay(true) {
        tracing::debug!(%err, "cannot set TCP_NODELAY");
    }
    let service = router
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        })
        .map_response(move |mut response| {
            if shutdown.is_requested() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            response
        });
    // A reader that takes nothing is dropped; one that takes a little is not.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(timeouts.write));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.headers)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service))
}
