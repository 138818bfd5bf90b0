//! Keeps the cluster of `serve` running: a server that has ended is started again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::database::local::{
    LocalError, LocalPostgres,
    cluster::{Cluster, Fault},
    owner_pid, prepare,
    settings::Durability,
    take_ownership,
};

/// How often to look at the server. Looking costs two small files to read, and no connection.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// How many times in a row a server that still runs must be found without its socket, or stopping.
const FAULTS: u32 = 3;
/// The pause before a start; doubled each time, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// After a server has run for so long, the pauses begin anew.
const STABLE: Duration = Duration::from_secs(3);

/// After so long without a server the process should end, so that its service manager starts it anew.
pub const GIVE_UP_AFTER: Duration = Duration::from_mins(5);

/// Whether the program's own Postgres is down at the moment. Clones share one state; always `false`
/// with a `DATABASE_URL`.
#[derive(Debug, Clone, Default)]
pub struct Status(Arc<AtomicBool>);

impl Status {
    pub fn is_down(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set_down(&self, is_down: bool) {
        self.0.store(is_down, Ordering::Relaxed);
    }
}

impl LocalPostgres {
    /// Starts the server again whenever it has ended. Returns only when that has failed for
    /// `give_up_after` without a break. It goes on trying for as long as the disk is full, which a new
    /// process could not change, and while a server runs that does not answer yet: it may be recovering.
    pub async fn supervise(&self, status: &Status, give_up_after: Duration) -> LocalError {
        let mut supervisor =
            Supervisor { cluster: &self.cluster, pause: FIRST_PAUSE, said: String::new() };
        loop {
            let started = Instant::now();
            let fault = supervisor.fault().await;
            status.set_down(true);
            let ended = Instant::now();
            if ended - started > STABLE {
                supervisor.pause = FIRST_PAUSE;
            }
            supervisor.said.clear();
            supervisor.report(&self.cluster.cause(fault));
            if let Err(error) = supervisor.start(give_up_after).await {
                let minutes = give_up_after.as_secs() / 60;
                return LocalError::Lost { minutes, cause: Box::new(error) };
            }
            status.set_down(false);
            let seconds = ended.elapsed().as_secs_f64();
            tracing::info!("the program's own Postgres is back after {seconds:.1} s");
        }
    }
}

struct Supervisor<'a> {
    cluster: &'a Cluster,
    pause: Duration,
    /// What the log says already of this outage, so that it says each thing once.
    said: String,
}

impl Supervisor<'_> {
    /// Waits until the server has to be started again.
    async fn fault(&self) -> Fault {
        let mut seen = 0;
        loop {
            sleep(WATCH_INTERVAL).await;
            match self.cluster.fault() {
                None => seen = 0,
                Some(Fault::Ended) => return Fault::Ended,
                Some(_) if seen + 1 < FAULTS => seen += 1,
                Some(fault) => return fault,
            }
        }
    }

    async fn start(&mut self, give_up_after: Duration) -> Result<(), LocalError> {
        let mut hopeless_since = Instant::now();
        loop {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(MAX_PAUSE);
            if let Some(Fault::Stopping | Fault::NoSocket) = self.cluster.fault() {
                self.cluster.stop().await;
            }
            let Err(error) = self.cluster.start(Durability::Full).await else { return Ok(()) };
            if matches!(error, LocalError::DiskFull(_)) || self.cluster.is_alive() {
                hopeless_since = Instant::now();
            } else if hopeless_since.elapsed() >= give_up_after {
                return Err(error);
            }
            self.report(&error.to_string());
        }
    }

    fn report(&mut self, cause: &str) {
        if self.said != cause {
            cause.clone_into(&mut self.said);
            tracing::error!(cause, "the program's own Postgres is down and is started again");
        }
    }
}

/// A server that is down although the program that owns it runs.
#[derive(Debug)]
pub struct Outage {
    /// The process that starts it again.
    pub owner: String,
    pub cause: String,
}

/// Whether the cluster of the directory is down while another program owns it.
pub fn outage(data_dir: &Path) -> Result<Option<Outage>, LocalError> {
    let data_dir = prepare(data_dir)?;
    if take_ownership(&data_dir)?.is_some() {
        return Ok(None);
    }
    let Some(cluster) = Cluster::find(&data_dir)? else { return Ok(None) };
    let Some(fault) = cluster.fault() else { return Ok(None) };
    Ok(Some(Outage { owner: owner_pid(&data_dir), cause: cluster.cause(fault) }))
}
