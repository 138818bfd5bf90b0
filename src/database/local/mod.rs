//! The program's own Postgres: one cluster in `DATA_DIR/postgres`, reached over a Unix socket only.
//!
//! Two lock files in `DATA_DIR` coordinate the programs that use it; the system releases them however a
//! program ends. `lock` is held by the program that started the cluster, `in-use` is shared by all that
//! use it: the last one stops the cluster.

mod cluster;
mod db;
mod make;
mod os_user;
pub mod programs;
mod settings;
mod supervisor;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{Instant, sleep};

pub use os_user::complaint;
pub use supervisor::{GIVE_UP_AFTER, Outage, Status, outage};

use cluster::Cluster;
pub use programs::Programs;
use settings::Durability;

/// How long a cluster may take to answer: after a crash it first replays its log.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How often to check for what we wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A running local cluster. Dropping it leaves the cluster running: the next program adopts it.
pub struct LocalPostgres {
    cluster: Cluster,
    role: Role,
}

/// What this program holds of the cluster, which decides what `stop` does.
enum Role {
    /// The locks on `lock` and `in-use`.
    Owner {
        _lock: Lock,
        in_use: Lock,
    },
    Guest {
        in_use: Lock,
    },
    /// The session that shows the keeper that the cluster is in use.
    Test {
        _presence: PgConnection,
    },
}

impl LocalPostgres {
    /// For `serve`: creates the cluster if there is none, and starts it or adopts the one that a crash
    /// left running. Refuses a directory that another program owns.
    pub async fn start(data_dir: &Path) -> Result<LocalPostgres, LocalError> {
        let data_dir = prepare(data_dir)?;
        match take_ownership(&data_dir)? {
            Some(lock) => LocalPostgres::own(&data_dir, lock).await,
            None => Err(LocalError::InUse { pid: owner_pid(&data_dir), data_dir }),
        }
    }

    /// For the other commands: as `start`, but where another program owns the directory this one
    /// becomes a guest of its cluster.
    pub async fn join(data_dir: &Path) -> Result<LocalPostgres, LocalError> {
        let data_dir = prepare(data_dir)?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(lock) = take_ownership(&data_dir)? {
                return LocalPostgres::own(&data_dir, lock).await;
            }
            // The owner may be starting or stopping: then `lock` is free soon.
            if let Some(guest) = LocalPostgres::visit(&data_dir).await? {
                return Ok(guest);
            }
            if Instant::now() > deadline {
                return Err(LocalError::Silent { dir: data_dir.join("postgres") });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// For tests: a cluster that trades safety for speed and allows 300 connections. Any number of
    /// processes may call this at once; one of them starts it. It stays for the next run and stops by
    /// itself soon after the last guard is dropped, so keep the guard while you use the cluster.
    pub async fn for_tests(dir: &Path) -> Result<LocalPostgres, LocalError> {
        let dir = prepare(dir)?;
        let lock = Lock::open(&dir.join("lock"))?;
        wait_for(|| lock.0.try_lock(), &dir, 2 * START_TIMEOUT).await?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let cluster = up(&dir, Durability::None).await?;
            // Fails when the keeper is just stopping the cluster.
            let ready = match db::prepare(&cluster.admin_options()).await {
                Ok(()) => db::announce_presence(&cluster.admin_options()).await,
                Err(error) => Err(error),
            };
            match ready {
                Ok(presence) => {
                    let role = Role::Test { _presence: presence };
                    return Ok(LocalPostgres { cluster, role });
                }
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// The application's role on the application's database.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.cluster.connect_options()
    }

    /// The superuser on the database `postgres`.
    pub fn admin_options(&self) -> PgConnectOptions {
        self.cluster.admin_options()
    }

    /// Stops the cluster, unless another program still uses it or it is the tests'.
    pub async fn stop(self) {
        let (Role::Owner { in_use, .. } | Role::Guest { in_use }) = &self.role else { return };
        let is_last = in_use.0.unlock().is_ok() && in_use.0.try_lock().is_ok();
        if is_last {
            self.cluster.stop().await;
        }
    }

    async fn own(data_dir: &Path, lock: Lock) -> Result<LocalPostgres, LocalError> {
        // Held by the last guest while it stops the cluster.
        let in_use = Lock::open(&data_dir.join("in-use"))?;
        wait_for(|| in_use.0.try_lock_shared(), data_dir, START_TIMEOUT).await?;
        let cluster = up(data_dir, Durability::Full).await?;
        let prepared = db::prepare(&cluster.admin_options()).await;
        let local = LocalPostgres { cluster, role: Role::Owner { _lock: lock, in_use } };
        if let Err(error) = prepared {
            local.stop().await;
            return Err(error.into());
        }
        Ok(local)
    }

    /// A guest, or `None` when there is no running cluster at the moment.
    async fn visit(data_dir: &Path) -> Result<Option<LocalPostgres>, LocalError> {
        let in_use = Lock::open(&data_dir.join("in-use"))?;
        if in_use.0.try_lock_shared().is_err() {
            return Ok(None);
        }
        let Some(cluster) = Cluster::find(data_dir)? else { return Ok(None) };
        if !db::answers(&cluster.connect_options()).await {
            return Ok(None);
        }
        Ok(Some(LocalPostgres { cluster, role: Role::Guest { in_use } }))
    }
}

/// The running cluster of the directory. Call it under the directory's lock.
async fn up(data_dir: &Path, durability: Durability) -> Result<Cluster, LocalError> {
    let cluster = match Cluster::find(data_dir)? {
        Some(cluster) => cluster,
        None => make::make(data_dir).await?,
    };
    cluster.start(durability).await?;
    Ok(cluster)
}

/// The absolute path of the directory, which is created if it is missing.
fn prepare(data_dir: &Path) -> Result<PathBuf, LocalError> {
    let failed = |cause| LocalError::files(data_dir, cause);
    if let Some(parent) = data_dir.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    // As root the cluster belongs to another user, who has to reach it through this directory.
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(data_dir) {
        // Set again because of a strict umask.
        Ok(()) => fs::set_permissions(data_dir, Permissions::from_mode(mode)).map_err(failed)?,
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        Err(cause) => return Err(failed(cause)),
    }
    let data_dir = data_dir.canonicalize().map_err(failed)?;
    // The owner is checked first: otherwise the error would name some file that cannot be opened.
    os_user::for_cluster(&data_dir)?;
    Ok(data_dir)
}

/// The lock that makes this process the owner of the directory, or `None` when another has it.
fn take_ownership(data_dir: &Path) -> Result<Option<Lock>, LocalError> {
    let path = data_dir.join("lock");
    let mut lock = Lock::open(&path)?;
    match lock.0.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(cause)) => return Err(LocalError::files(&path, cause)),
    }
    // For the error message of the next program.
    lock.0
        .set_len(0)
        .and_then(|()| writeln!(lock.0, "{}", std::process::id()))
        .map_err(|cause| LocalError::files(&path, cause))?;
    Ok(Some(lock))
}

fn owner_pid(data_dir: &Path) -> String {
    let pid = fs::read_to_string(data_dir.join("lock")).unwrap_or_default();
    pid.trim().to_owned()
}

/// A lock file, unlocked when dropped.
///
/// Closing it would not be enough: a forked process has a copy of it until it executes another program,
/// and the lock would last as long.
struct Lock(File);

impl Lock {
    fn open(path: &Path) -> Result<Lock, LocalError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path).map(Lock).map_err(|cause| LocalError::files(path, cause))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where that fails, closing it has to suffice.
        let _ = self.0.unlock();
    }
}

/// Polls for a lock. Not the blocking call: the holder may be another task of the same thread.
async fn wait_for(
    lock: impl Fn() -> Result<(), TryLockError>,
    data_dir: &Path,
    wait: Duration,
) -> Result<(), LocalError> {
    let deadline = Instant::now() + wait;
    loop {
        match lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(cause)) => return Err(LocalError::files(data_dir, cause)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(LocalError::InUse {
                    pid: owner_pid(data_dir),
                    data_dir: data_dir.to_owned(),
                });
            }
            Err(TryLockError::WouldBlock) => sleep(POLL_INTERVAL).await,
        }
    }
}

/// Why there is no local cluster: one line each, with what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(
        "no Postgres 15 or newer is installed: install the package `postgresql`, \
         or set PG_BIN to the directory of `initdb`, `pg_ctl` and `postgres`, \
         or DATABASE_URL to use another server"
    )]
    NoPrograms,
    #[error("PG_BIN={0} has no `initdb`, `pg_ctl` and `postgres` of Postgres 15 or newer")]
    NotInPgBin(String),
    #[error(
        "the local cluster was made by Postgres {made_by}, and only {here} is installed here: \
         install Postgres {made_by} beside it, or move the data with pg_upgrade or pg_dump"
    )]
    OtherMajor { made_by: u32, here: String },
    #[error(
        "the server is Postgres {server}, and this machine has {}: install the package \
         `postgresql-client-{server}`, or set PG_BIN to the directory of its `pg_dump` and \
         `pg_restore`", if here.is_empty() { "no pg_dump" } else { here }
    )]
    NoClients { server: u32, here: String },
    #[error(
        "{} is in use by another social-post (process {pid}): stop that one, or set DATA_DIR to \
         another directory", .data_dir.display()
    )]
    InUse { data_dir: PathBuf, pid: String },
    #[error(
        "{} belongs to the user {owner}: run social-post as {owner} or as root, or set DATA_DIR to \
         another directory", .dir.display()
    )]
    OtherOwner { dir: PathBuf, owner: String },
    #[error(
        "{dir} belongs to root, and Postgres does not run as root: \
         change the owner with `chown -R {user} {dir}/`", dir = .dir.display()
    )]
    RootOwned { dir: PathBuf, user: String },
    #[error("this system has no user with the id {0}, and Postgres needs one: add it")]
    Nameless(u32),
    #[error(
        "the user {user}, as which Postgres runs, cannot reach {}: \
         allow it with `chmod o+x` on the directories above, or set DATA_DIR to another one",
        .dir.display()
    )]
    Unreachable { dir: PathBuf, user: String },
    #[error(
        "{} points to {}, which is not there: restore that directory, \
         or remove the link to start with an empty site", .link.display(), .target.display()
    )]
    Dangling { link: PathBuf, target: PathBuf },
    #[error("{} is not a Postgres cluster: move it away", .0.display())]
    NotACluster(PathBuf),
    #[error("{} was created by another user, and the socket belongs there: remove it", .0.display())]
    ForeignSocketDir(PathBuf),
    #[error("the disk is full, and Postgres needs space in {}: free some", .0.display())]
    DiskFull(PathBuf),
    #[error("cannot use {}: {cause}; fix that, or set DATA_DIR to another directory", .path.display())]
    Files { path: PathBuf, cause: io::Error },
    #[error("cannot run {}: {cause}", .program.display())]
    Run { program: PathBuf, cause: io::Error },
    #[error("cannot create a cluster in {}: {said}", .dir.display())]
    Init { dir: PathBuf, said: String },
    #[error("the local Postgres does not start: {said}; its logs are in {}", .dir.display())]
    Start { dir: PathBuf, said: String },
    #[error(
        "the local Postgres in {} does not answer: look at its logs there, and at the process \
         named in its postmaster.pid", .dir.display()
    )]
    Silent { dir: PathBuf },
    #[error(
        "the local Postgres ended and could not be started again for {minutes} minutes: {cause}"
    )]
    Lost { minutes: u64, cause: Box<LocalError> },
    #[error("the local Postgres refuses the connection: {0}")]
    Refused(sqlx::Error),
}

impl LocalError {
    fn files(path: &Path, cause: io::Error) -> LocalError {
        match cause.kind() {
            io::ErrorKind::StorageFull => LocalError::DiskFull(path.to_owned()),
            _ => LocalError::Files { path: path.to_owned(), cause },
        }
    }

    /// For the error of one of Postgres' programs, unless we know its cause.
    fn failed(dir: &Path, said: String, error: fn(PathBuf, String) -> LocalError) -> LocalError {
        if said.contains("No space left on device") || cluster::is_disk_full(dir) {
            return LocalError::DiskFull(dir.to_owned());
        }
        error(dir.to_owned(), said)
    }
}

impl From<sqlx::Error> for LocalError {
    fn from(cause: sqlx::Error) -> LocalError {
        LocalError::Refused(cause)
    }
}
