//! The accept loop: timeouts for slow clients, a connection limit, and a graceful shutdown with a
//! deadline.
//!
//! `axum::serve` has no timeout for headers, and waits for open connections without a deadline at
//! shutdown.

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
mod overflow;
mod peer;
mod shutdown;

pub use peer::Peer;
pub use shutdown::Shutdown;

use overflow::{Overflow, Reason};

/// How long the server waits for a slow client.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a request's headers to arrive, and for an idle connection to ask again.
    pub headers: Duration,
    /// For the client to read the next part of a response.
    pub write: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { headers: Duration::from_secs(15), write: Duration::from_secs(30) }
    }
}

/// From the first shutdown request to the exit, even if requests are still running.
pub const DRAIN: Duration = Duration::from_secs(10);
/// The minimum time between "not ready" and closing the listener, so that a proxy that polls `/readyz`
/// notices.
const READINESS_GRACE: Duration = Duration::from_secs(1);
/// How long connections accepted before the shutdown may stay idle. A proxy in front must close its
/// own idle connections sooner (nginx: `keepalive_timeout 2s` in `upstream`), so that this server does
/// not close one while a request is on its way.
const KEEPALIVE_DRAIN: Duration = Duration::from_secs(4);
/// How long the connections accepted last have to send their first request.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Most of them are open pages with an event stream.
const MAX_CONNECTIONS: usize = 10_000;
/// File descriptors left to the database's connections, to files and to refused clients.
const OTHER_DESCRIPTORS: usize = 96;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Serves until a shutdown is requested, then returns within [`DRAIN`] without losing a request:
///
/// 1. `/readyz` responds 503 and every response closes its connection, so that proxies turn to another
///    process. New connections are still accepted.
/// 2. The connections that the kernel has already queued are accepted, and the listener is closed. A
///    shared listener stays open: another process accepts its queue.
/// 3. Open connections are finished, and so is `running`: the requests whose clients may be gone.
pub async fn serve(
    listener: Listener,
    router: Router,
    running: TaskTracker,
    timeouts: Timeouts,
    shutdown: Shutdown,
) {
    let acceptor = Acceptor {
        router,
        timeouts,
        shutdown: shutdown.clone(),
        permits: Arc::new(Semaphore::new(max_connections(open_files::limit()))),
        overflow: Overflow::new(),
        connections: GracefulShutdown::new(),
    };
    // Connections accepted before the shutdown, which may be idle, and those accepted during it.
    let (early, late) = (TaskTracker::new(), TaskTracker::new());
    tokio::select! {
        () = acceptor.accept_loop(&listener, &early) => {}
        () = shutdown.requested() => {}
    }
    tracing::info!("shutting down: finishing running requests");
    early.close();
    late.close();
    running.close();
    let finished = async {
        let drained =
            async { tokio::join!(sleep(READINESS_GRACE), timeout(KEEPALIVE_DRAIN, early.wait())) };
        tokio::select! {
            () = acceptor.accept_loop(&listener, &late) => {}
            _ = drained => {}
        }
        if let Err(err) = acceptor.close(listener, &late) {
            tracing::warn!(%err, "cannot accept the connections still in the queue");
        }
        let _ = timeout(FIRST_REQUEST_GRACE, late.wait()).await;
        acceptor.connections.shutdown().await;
        running.wait().await;
    };
    tokio::select! {
        result = timeout(DRAIN, finished) => if result.is_err() {
            tracing::warn!("stopped before every request was finished");
        },
        () = shutdown.immediate() => tracing::warn!("second signal: stopped at once"),
    }
}

/// The socket that the site listens on.
pub struct Listener {
    socket: TcpListener,
    /// Whether another process holds the socket too, so that queued connections wait for the process
    /// that follows.
    is_shared: bool,
}

impl Listener {
    /// A socket of this process alone; a shutdown closes it.
    pub fn own(socket: TcpListener) -> Listener {
        Listener { socket, is_shared: false }
    }

    /// A socket that stays open in another process, such as systemd (socket activation).
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
    overflow: Overflow,
    connections: GracefulShutdown,
}

/// At least half of the descriptors are for clients.
fn max_connections(descriptors: usize) -> usize {
    MAX_CONNECTIONS.min(descriptors.saturating_sub(OTHER_DESCRIPTORS).max(descriptors / 2))
}

impl Acceptor {
    /// Accepts connections into `tracker`; does not return.
    async fn accept_loop(&self, listener: &Listener, tracker: &TaskTracker) {
        loop {
            let (stream, peer) = match listener.socket.accept().await {
                Ok(accepted) => accepted,
                Err(err) => {
                    self.overflow.accept_failed(&listener.socket, &err).await;
                    continue;
                }
            };
            if !overflow::is_clock_usable() {
                self.overflow.refuse(stream, Reason::Clock).await;
            } else if let Ok(permit) = self.permits.clone().try_acquire_owned() {
                self.serve(stream, peer, tracker, Some(permit));
            } else {
                self.overflow.refuse(stream, Reason::TooManyConnections).await;
            }
        }
    }

    /// Accepts the connections in the kernel's queue, then closes the listener. Those clients are
    /// already connected from their side: what they have sent would be lost, and a proxy may not
    /// retry a form elsewhere. Of 960 clients that kept connecting, 58 lost a request without this,
    /// and none with it.
    fn close(&self, listener: Listener, tracker: &TaskTracker) -> std::io::Result<()> {
        if listener.is_shared {
            return Ok(());
        }
        // Not tokio's `accept`: it may return `WouldBlock` without having asked the kernel.
        let socket = listener.socket.into_std()?;
        loop {
            match socket.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    self.serve(TcpStream::from_std(stream)?, peer, tracker, None);
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
        tracker: &TaskTracker,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let (router, shutdown) = (self.router.clone(), self.shutdown.clone());
        let connection = connection(stream, Peer(peer), router, self.timeouts, shutdown);
        let connection = self.connections.watch(connection);
        tracker.spawn(async move {
            if let Err(err) = connection.await {
                tracing::debug!(%err, "connection error");
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
    // Responses are small and written whole. Waiting to fill a packet would only delay them.
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
    // A client that reads nothing is disconnected; a slow one is not.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(timeouts.write));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.headers)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service))
}
