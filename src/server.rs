//! The accept loop: deadlines for slow clients, a bound on connections, a bounded drain.
//!
//! `axum::serve` has no timer for headers and waits for ever at shutdown.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulConnection, GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::web::client::Peer;

/// How long a client may keep the server waiting.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a request's headers to arrive, and for an idle connection to ask again.
    pub headers: Duration,
    /// For a client to take the next part of an answer.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { headers: Duration::from_secs(15), write: Duration::from_secs(30) }
    }
}

/// For what runs at shutdown.
pub const DRAIN: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 4096;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Serves until `stop` resolves, then finishes what runs: connections and `running`, the requests
/// whose clients may be gone, within ten seconds.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    running: TaskTracker,
    patience: Patience,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);

    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = &mut stop => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => {
                // No file descriptor left, most likely: they come back when connections end.
                tracing::warn!(%err, "cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = connection(stream, Peer(peer), router.clone(), patience);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(err) = connection.await {
                tracing::debug!(%err, "a connection ended early");
            }
            drop(place);
        });
    }

    drop(listener);
    tracing::info!("stopping: finishing what runs");
    running.close();
    let drained = async {
        connections.shutdown().await;
        running.wait().await;
    };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("stopped before everything was finished");
    }
}

fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    patience: Patience,
) -> impl GracefulConnection<Error = hyper::Error> {
    // Answers are small and complete; waiting to fill a packet only delays them.
    if let Err(err) = stream.set_nodelay(true) {
        tracing::debug!(%err, "cannot set TCP_NODELAY");
    }
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    // A reader that takes nothing is dropped; one that takes a little is not.
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.write));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.headers)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service))
}

/// Resolves at SIGTERM or SIGINT.
pub async fn signalled() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
