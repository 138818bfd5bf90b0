//! Whether the program is to end, as signals and the service manager ask for it.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Whether the program is to end: asked once, it finishes what runs; asked again, it ends at once.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<Signals>);

#[derive(Debug, Default)]
struct Signals {
    requested: CancellationToken,
    immediate: CancellationToken,
}

impl Shutdown {
    pub fn request(&self) {
        if self.is_requested() {
            self.0.immediate.cancel();
        }
        self.0.requested.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.0.requested.is_cancelled()
    }

    pub async fn requested(&self) {
        self.0.requested.cancelled().await;
    }

    pub fn is_immediate(&self) -> bool {
        self.0.immediate.is_cancelled()
    }

    /// Asks at each SIGTERM and SIGINT; does not end.
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

impl Shutdown {
    /// Waits until the shutdown was requested a second time.
    pub async fn immediate(&self) {
        self.0.immediate.cancelled().await;
    }
}
