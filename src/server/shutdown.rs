//! The shutdown signal, set by SIGTERM and SIGINT or by the service manager.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Whether the program is to stop. After the first request it finishes running requests; after the
/// second it stops at once. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<Signals>);

#[derive(Debug, Default)]
struct Signals {
    requested: CancellationToken,
    immediate: CancellationToken,
}

impl Shutdown {
    /// Requests a graceful shutdown, or an immediate one if called again.
    pub fn request(&self) {
        if self.is_requested() {
            self.0.immediate.cancel();
        }
        self.0.requested.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.0.requested.is_cancelled()
    }

    /// Waits until a shutdown is requested.
    pub async fn requested(&self) {
        self.0.requested.cancelled().await;
    }

    pub fn is_immediate(&self) -> bool {
        self.0.immediate.is_cancelled()
    }

    /// Waits until a shutdown is requested a second time.
    pub async fn immediate(&self) {
        self.0.immediate.cancelled().await;
    }

    /// Calls [`Shutdown::request`] at each SIGTERM and SIGINT; does not return.
    ///
    /// # Errors
    ///
    /// If the signal handlers cannot be installed.
    pub async fn request_on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            self.request();
        }
    }
}
