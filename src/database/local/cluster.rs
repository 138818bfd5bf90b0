//! One cluster and its server process.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::database::local::{
    GLANCE, LocalError, START,
    db::{self, APPLICATION, SUPERUSER},
    os_user::{self, OsUser, complaint, run},
    programs::Programs,
    settings::{self, Durability},
};

const STOP: Duration = Duration::from_secs(20);
/// How long the remains of a killed server may take to vanish.
const REMAINS: Duration = Duration::from_secs(20);

const SOCKET: &str = ".s.PGSQL.5432";
/// What macOS allows; Linux has four bytes more.
const LONGEST_SOCKET_PATH: usize = 103;

pub struct Cluster {
    /// Without links.
    dir: PathBuf,
    socket_dir: PathBuf,
    user: OsUser,
    programs: Programs,
}

/// What goes on in the cluster's directory.
enum State {
    /// Somebody is at the socket.
    Listening,
    /// A server is there, but not at the socket: it begins or ends.
    Busy,
    Down,
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
            // An empty directory is fine: a container's volume begins as one.
            Err(_) if fs::read_dir(&dir).map_err(failed)?.next().is_none() => Ok(None),
            Err(_) => Err(LocalError::NotACluster(place)),
        }
    }

    pub fn new(dir: PathBuf, user: OsUser, programs: Programs) -> Result<Cluster, LocalError> {
        let mut socket_dir = dir.join("socket");
        if socket_dir.join(SOCKET).as_os_str().len() > LONGEST_SOCKET_PATH {
            socket_dir = Path::new("/tmp").join(format!("social-post-{}", fingerprint(&dir)));
            // Somebody else may have been there first, to play Postgres for us.
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

    /// Starts the server, or adopts the one that runs. Call it under the directory's lock.
    pub async fn start(&self, durability: Durability) -> Result<(), LocalError> {
        if !self.user.can_enter(&self.dir).await {
            let (dir, user) = (self.dir.clone(), self.user.name.clone());
            return Err(LocalError::Unreachable { dir, user });
        }
        let major = self.programs.major;
        let socket_dir = self.socket_dir.display();
        let deadline = Instant::now() + REMAINS;
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
                    // Processes of a killed server, or of one just starting, are about.
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
            sleep(GLANCE).await;
        }
    }

    fn state(&self) -> State {
        if UnixStream::connect(self.socket_dir.join(SOCKET)).is_ok() {
            State::Listening
        } else if self.pid().is_some_and(|pid| is_postgres_in(pid, &self.dir)) {
            State::Busy
        } else {
            State::Down
        }
    }

    /// What Postgres' own lock file says, unless that is garbage.
    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.dir.join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok().filter(|pid| *pid > 0)?;
        Some(Pid::from_raw(pid))
    }

    /// False too when the server ends while we wait.
    async fn is_answering_soon(&self) -> bool {
        let admin = self.admin_options();
        let answer = async {
            while !db::answers(&admin).await {
                if !matches!(self.state(), State::Listening) {
                    return false;
                }
                sleep(GLANCE).await;
            }
            true
        };
        timeout(START, answer).await.unwrap_or(false)
    }

    async fn launch(&self, durability: Durability) -> Result<(), LocalError> {
        let failed = |cause| LocalError::files(&self.dir, cause);
        self.clear_traces().map_err(failed)?;
        settings::write(&self.dir, &self.socket_dir, &self.user, durability).map_err(failed)?;
        if durability == Durability::None {
            self.keep().map_err(failed)?;
        }

        let began = SystemTime::now();
        let seconds = START.as_secs().to_string();
        let mut pg_ctl = self.pg_ctl(&["start", "-s", "-w", "-l", "start.log", "-t", &seconds]);
        match run(&mut pg_ctl, START + STOP).await? {
            Ok(()) => Ok(()),
            Err(said) => {
                let said = self.last_words(began).unwrap_or(said);
                Err(LocalError::failed(&self.dir, said, |dir, said| LocalError::Start {
                    dir,
                    said,
                }))
            }
        }
    }

    /// Removes what a server left that was killed; nobody is at the socket, so it means nothing.
    ///
    /// Postgres does so itself, except where the process number in a lock file has become another
    /// program's, as happens in a restarted container, or is no number at all.
    fn clear_traces(&self) -> io::Result<()> {
        let is_dead = |pid| kill(pid, None) == Err(Errno::ESRCH);
        if !self.pid().is_some_and(is_dead) {
            absent(fs::remove_file(self.dir.join("postmaster.pid")))?;
        }
        absent(fs::remove_file(self.dir.join("start.log")))?;
        absent(fs::remove_dir_all(&self.socket_dir))?;
        self.user.make_dir(&self.socket_dir)
    }

    /// Leaves a process behind that stops the cluster when no test uses it any more.
    fn keep(&self) -> io::Result<()> {
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

    /// Fast, which lets no transaction finish; and hard if that is not fast enough.
    pub async fn stop(&self) {
        for mode in ["fast", "immediate"] {
            let seconds = STOP.as_secs().to_string();
            let mut pg_ctl = self.pg_ctl(&["stop", "-s", "-w", "-m", mode, "-t", &seconds]);
            match run(&mut pg_ctl, STOP + STOP).await {
                Ok(Ok(())) => {
                    // Nobody misses it, and it may be in the temporary directory.
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
        // The directory goes by the environment: `pg_ctl` has a shell read its arguments.
        let mut command = self.user.command(&self.programs.path("pg_ctl"), &self.dir);
        command.env("PGDATA", &self.dir).args(arguments);
        command
    }

    /// The reason a server gave for not starting: first it writes to one log, then to the other.
    fn last_words(&self, began: SystemTime) -> Option<String> {
        let is_fresh = |path: &PathBuf| {
            fs::metadata(path).and_then(|file| file.modified()).is_ok_and(|time| time >= began)
        };
        let later_logs = fs::read_dir(self.dir.join("log")).into_iter().flatten().flatten();
        let mut logs = vec![self.dir.join("start.log")];
        logs.extend(later_logs.map(|entry| entry.path()).filter(is_fresh));

        logs.iter().filter_map(|log| fs::read(log).ok()).find_map(|text| {
            let text = String::from_utf8_lossy(&text);
            text.lines().rev().find_map(complaint).map(str::to_owned)
        })
    }
}

/// Removed now or not there before.
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

/// Whether the process is a Postgres of this cluster; one that may not be looked at counts.
fn is_postgres_in(pid: Pid, dir: &Path) -> bool {
    if cfg!(target_os = "linux") {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Z: it has ended, but the container's first process takes no note.
        let is_alive = stat.contains(" (postgres) ") && !stat.contains(" (postgres) Z ");
        let works_in = fs::read_link(format!("/proc/{pid}/cwd"));
        is_alive && works_in.map_or(true, |place| place == dir)
    } else {
        kill(pid, None) != Err(Errno::ESRCH)
    }
}
