//! One cluster and its server process.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::database::local::{
    LocalError, POLL_INTERVAL, START_TIMEOUT,
    db::{self, APPLICATION, SUPERUSER},
    os_user::{self, OsUser, complaint, run},
    programs::Programs,
    settings::{self, Durability},
};

const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the processes of a killed server may take to end.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(20);

const SOCKET: &str = ".s.PGSQL.5432";
/// The limit of macOS; Linux allows four bytes more.
const MAX_SOCKET_PATH: usize = 103;

pub struct Cluster {
    /// With symbolic links resolved.
    dir: PathBuf,
    socket_dir: PathBuf,
    user: OsUser,
    programs: Programs,
}

/// The state of the cluster's server.
enum State {
    /// Something accepts connections at the socket.
    Listening,
    /// A server runs, but does not listen: it is starting or stopping.
    Busy,
    Down,
}

/// Why the server has to be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Ended,
    /// It finishes what is open and accepts no connection.
    Stopping,
    /// It runs, but nobody can connect any more.
    NoSocket,
}

impl Cluster {
    /// The cluster of the directory, running or not.
    pub fn find(data_dir: &Path) -> Result<Option<Cluster>, LocalError> {
        let place = data_dir.join("postgres");
        let failed = |cause| LocalError::files(&place, cause);
        let dir = match place.canonicalize() {
            Ok(dir) => dir,
            Err(cause) if cause.kind() == ErrorKind::NotFound => match place.read_link() {
                Ok(target) => return Err(LocalError::Dangling { link: place, target }),
                Err(_) => return Ok(None),
            },
            Err(cause) => return Err(failed(cause)),
        };
        match fs::read_to_string(dir.join("PG_VERSION")) {
            Ok(version) => {
                let made_by = version.trim().parse().map_err(|_| LocalError::NotACluster(place))?;
                let user = os_user::for_cluster(data_dir)?;
                Cluster::new(dir, user, Programs::find(Some(made_by))?).map(Some)
            }
            // An empty directory is fine: a container's volume starts as one.
            Err(_) if fs::read_dir(&dir).map_err(failed)?.next().is_none() => Ok(None),
            Err(_) => Err(LocalError::NotACluster(place)),
        }
    }

    pub fn new(dir: PathBuf, user: OsUser, programs: Programs) -> Result<Cluster, LocalError> {
        let mut socket_dir = dir.join("socket");
        if socket_dir.join(SOCKET).as_os_str().len() > MAX_SOCKET_PATH {
            socket_dir = Path::new("/tmp").join(format!("social-post-{}", fingerprint(&dir)));
            // Another user may have created it first, to impersonate Postgres.
            if let Ok(found) = socket_dir.symlink_metadata()
                && (found.uid() != user.uid || found.permissions().mode() & 0o077 != 0)
            {
                return Err(LocalError::ForeignSocketDir(socket_dir));
            }
        }
        Ok(Cluster { dir, socket_dir, user, programs })
    }

    pub fn connect_options(&self) -> PgConnectOptions {
        self.options().username(APPLICATION).database(APPLICATION)
    }

    pub fn admin_options(&self) -> PgConnectOptions {
        self.options().username(SUPERUSER).database("postgres")
    }

    fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass();
        options.socket(&self.socket_dir).port(5432).ssl_mode(PgSslMode::Disable)
    }

    /// Starts the server, or adopts a running one. Call it under the directory's lock.
    pub async fn start(&self, durability: Durability) -> Result<(), LocalError> {
        if !self.user.can_enter(&self.dir).await {
            let (dir, user) = (self.dir.clone(), self.user.name.clone());
            return Err(LocalError::Unreachable { dir, user });
        }
        let major = self.programs.major;
        let socket_dir = self.socket_dir.display();
        let deadline = Instant::now() + CLEANUP_TIMEOUT;
        loop {
            match self.state() {
                State::Listening if self.is_answering_soon().await => {
                    tracing::info!("Postgres {major} was running, its socket in {socket_dir}");
                    return Ok(());
                }
                State::Down => match self.launch(durability).await {
                    Ok(()) => {
                        tracing::info!("Postgres {major} is running, its socket in {socket_dir}");
                        return Ok(());
                    }
                    // Processes of a killed server, or of one that is starting, still run.
                    Err(LocalError::Start { said, .. })
                        if (said.contains("still in use") || said.contains("already exists"))
                            && Instant::now() < deadline => {}
                    Err(error) => return Err(error),
                },
                State::Listening | State::Busy if Instant::now() < deadline => {}
                State::Listening | State::Busy => {
                    return Err(LocalError::Silent { dir: self.dir.clone() });
                }
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// What keeps the server from serving, or from doing so for long. `None` also while it starts, recovers
    /// from a crash or hangs: it is alive then.
    pub fn fault(&self) -> Option<Fault> {
        if !self.is_alive() {
            // Its lock file alone may have been removed.
            return matches!(self.state(), State::Down).then_some(Fault::Ended);
        }
        if self.is_stopping() {
            return Some(Fault::Stopping);
        }
        // It is created before anything else at the start, and never again.
        (!self.socket_dir.join(SOCKET).exists()).then_some(Fault::NoSocket)
    }

    pub fn is_alive(&self) -> bool {
        self.pid().is_some_and(|pid| is_postgres_in(pid, &self.dir))
    }

    /// Whether the server was told to stop, from the last line of its lock file.
    fn is_stopping(&self) -> bool {
        let text = fs::read_to_string(self.dir.join("postmaster.pid")).unwrap_or_default();
        text.lines().nth(7).is_some_and(|status| status.trim() == "stopping")
    }

    fn state(&self) -> State {
        if UnixStream::connect(self.socket_dir.join(SOCKET)).is_ok() {
            State::Listening
        } else if self.is_alive() {
            State::Busy
        } else {
            State::Down
        }
    }

    /// The process id in Postgres' own lock file, unless that is garbage.
    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.dir.join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok().filter(|pid| *pid > 0)?;
        Some(Pid::from_raw(pid))
    }

    /// Also false when the server stops while we wait.
    async fn is_answering_soon(&self) -> bool {
        let admin = self.admin_options();
        let answer = async {
            while !db::answers(&admin).await {
                if !matches!(self.state(), State::Listening) {
                    return false;
                }
                sleep(POLL_INTERVAL).await;
            }
            true
        };
        timeout(START_TIMEOUT, answer).await.unwrap_or(false)
    }

    async fn launch(&self, durability: Durability) -> Result<(), LocalError> {
        let failed = |cause| LocalError::files(&self.dir, cause);
        self.clear_traces().map_err(failed)?;
        settings::write(&self.dir, &self.socket_dir, &self.user, durability).map_err(failed)?;
        if durability == Durability::None {
            self.start_keeper().map_err(failed)?;
        }

        let began = SystemTime::now();
        let seconds = START_TIMEOUT.as_secs().to_string();
        let mut pg_ctl = self.pg_ctl(&["start", "-s", "-w", "-l", "start.log", "-t", &seconds]);
        match run(&mut pg_ctl, START_TIMEOUT + STOP_TIMEOUT).await? {
            Ok(()) => Ok(()),
            Err(said) => {
                let said = self.start_error(began).unwrap_or(said);
                Err(LocalError::failed(&self.dir, said, |dir, said| LocalError::Start {
                    dir,
                    said,
                }))
            }
        }
    }

    /// Removes the files of a killed server; nothing listens at the socket, so they are stale.
    ///
    /// Postgres does so itself, except where the process id in a lock file now belongs to another
    /// program, as happens in a restarted container, or is not a number.
    fn clear_traces(&self) -> io::Result<()> {
        let is_dead = |pid| kill(pid, None) == Err(Errno::ESRCH);
        if !self.pid().is_some_and(is_dead) {
            absent(fs::remove_file(self.dir.join("postmaster.pid")))?;
        }
        absent(fs::remove_file(self.dir.join("start.log")))?;
        absent(fs::remove_dir_all(&self.socket_dir))?;
        self.user.make_dir(&self.socket_dir)
    }

    /// Starts a process that stops the cluster once no test uses it.
    fn start_keeper(&self) -> io::Result<()> {
        let path = std::env::var("PATH").unwrap_or_default();
        self.user
            .command(Path::new("/bin/sh"), &self.dir)
            .args(["-c", include_str!("keeper.sh")])
            .env("PATH", format!("{}:{path}", self.programs.bin.display()))
            .env("PGDATA", &self.dir)
            .env("PGHOST", &self.socket_dir)
            .env("PGUSER", SUPERUSER)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map(drop)
    }

    /// In the mode `fast`, which aborts transactions, and `immediate` if that takes too long.
    pub async fn stop(&self) {
        if matches!(self.state(), State::Down) {
            return;
        }
        for mode in ["fast", "immediate"] {
            let seconds = STOP_TIMEOUT.as_secs().to_string();
            let mut pg_ctl = self.pg_ctl(&["stop", "-s", "-w", "-m", mode, "-t", &seconds]);
            match run(&mut pg_ctl, 2 * STOP_TIMEOUT).await {
                Ok(Ok(())) => {
                    // It may be in the temporary directory; failing to remove it does no harm.
                    let _ = fs::remove_dir(&self.socket_dir);
                    return tracing::info!("Postgres is stopped");
                }
                Ok(Err(said)) => tracing::warn!("stopping Postgres ({mode}): {said}"),
                Err(error) => tracing::warn!("stopping Postgres ({mode}): {error}"),
            }
        }
    }

    /// `pg_ctl`, which gives the server a session of its own: Ctrl-C does not reach it.
    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        // The directory is passed in the environment: `pg_ctl` passes its arguments through a shell.
        let mut command = self.user.command(&self.programs.path("pg_ctl"), &self.dir);
        command.env("PGDATA", &self.dir).args(arguments);
        command
    }

    /// Why the server did not start: it first writes to one log, then to the other.
    fn start_error(&self, began: SystemTime) -> Option<String> {
        let is_fresh = |path: &PathBuf| modified(path).is_some_and(|time| time >= began);
        let mut logs = vec![self.dir.join("start.log")];
        logs.extend(self.logs().into_iter().filter(is_fresh));
        logs.iter().filter_map(|log| fs::read(log).ok()).find_map(|text| {
            let text = String::from_utf8_lossy(&text);
            text.lines().rev().find_map(complaint).map(str::to_owned)
        })
    }

    /// Why the server has to be started again, in words for the operator.
    pub fn cause(&self, fault: Fault) -> String {
        match fault {
            Fault::NoSocket => "its socket was removed".to_owned(),
            Fault::Ended if is_disk_full(&self.dir) => "its disk is full".to_owned(),
            Fault::Ended | Fault::Stopping => self.last_words().unwrap_or_else(|| {
                "it ended without a word in its log, as when it is killed".to_owned()
            }),
        }
    }

    /// Why the server ended or does not start, from what it wrote last: a request to stop, or an error.
    /// `None` where it wrote nothing of it, as when it was killed.
    fn last_words(&self) -> Option<String> {
        let started = fs::read_to_string(self.dir.join("start.log")).unwrap_or_default();
        if let Some(said) = started.lines().rev().find_map(complaint) {
            return Some(said.to_owned());
        }
        let newest = self.logs().into_iter().max_by_key(|log| modified(log))?;
        let text = tail(&newest).ok()?;
        let text = String::from_utf8_lossy(&text);
        let of_this_run = |line: &&str| !line.contains("is ready to accept connections");
        let words = text.lines().rev().take_while(of_this_run).find_map(|line| {
            let request =
                line.split_once("LOG: ").filter(|(_, said)| said.contains(" shutdown request"));
            request
                .map(|(_, said)| said.trim())
                .or_else(|| complaint(line).filter(|said| is_the_servers(said)))
        });
        words.map(str::to_owned)
    }

    fn logs(&self) -> Vec<PathBuf> {
        let logs = fs::read_dir(self.dir.join("log")).into_iter().flatten().flatten();
        logs.map(|entry| entry.path()).collect()
    }
}

/// Whether less is free than one segment of Postgres' write-ahead log takes. A server that finds no space may
/// also find none to say so in its log.
pub fn is_disk_full(dir: &Path) -> bool {
    const SEGMENT: u128 = 16 << 20;
    statvfs(dir).is_ok_and(|disk| {
        u128::from(disk.blocks_available()) * u128::from(disk.fragment_size()) < SEGMENT
    })
}

/// Whether a fatal error was the server's, not that of one connection.
fn is_the_servers(said: &str) -> bool {
    !said.contains("the database system is") && !said.contains("administrator command")
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// The last 64 KiB of a file.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    const MOST: u64 = 64 * 1024;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// Treats a missing file as removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A short name for a path that may be long.
pub fn fingerprint(path: &Path) -> String {
    let mut name = format!("{:x}", Sha256::digest(path.as_os_str().as_bytes()));
    name.truncate(12);
    name
}

/// Whether the process is a Postgres of this cluster; one that cannot be inspected counts.
fn is_postgres_in(pid: Pid, dir: &Path) -> bool {
    if cfg!(target_os = "linux") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Z: it has ended, but the container's first process does not reap it.
        let is_alive = stat.contains(" (postgres) ") && !stat.contains(" (postgres) Z ");
        let works_in = fs::read_link(format!("/proc/{pid}/cwd"));
        is_alive && works_in.map_or(true, |place| place == dir)
    } else {
        kill(pid, None) != Err(Errno::ESRCH)
    }
}
