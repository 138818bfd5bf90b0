//! A primary and a streaming standby of it, in clusters of the test's own.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use social_post::database::{MIGRATIONS, local::Programs};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, postgres::PgConnectOptions};
use tokio::time::sleep;

/// One server.
pub struct Server {
    dir: PathBuf,
    /// Where its socket is: a copy of the server must not have it.
    pub socket: PathBuf,
    bin: PathBuf,
}

/// Two servers that stop, and vanish, with this.
pub struct Pair {
    pub primary: Server,
    pub standby: Server,
    dir: PathBuf,
}

impl Pair {
    /// Both are up, and the site's database is there with its schema.
    pub async fn new() -> Pair {
        let dir = std::env::temp_dir()
            .join(format!("social-post-pair-{}", uuid::Uuid::now_v7().simple()));
        make_dir(&dir);
        let bin = Programs::find(None).unwrap().bin;
        let [primary, standby] = ["primary", "standby"].map(|name| {
            let (dir, socket) = (dir.join(name), dir.join(name).with_extension("socket"));
            make_dir(&socket);
            Server { dir, socket, bin: bin.clone() }
        });
        let pair = Pair { primary, standby, dir };

        let Pair { primary, standby, .. } = &pair;
        let made = path(&primary.dir);
        primary.run("initdb", &["-D", made, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]);
        primary.start();
        let mut admin = primary.admin().connect().await.unwrap();
        for sql in ["create role social_post login", "create database site owner social_post"] {
            admin.execute(sql).await.unwrap();
        }
        admin.close().await.unwrap();
        let mut site = primary.options().connect().await.unwrap();
        MIGRATIONS.run_direct(&mut site).await.unwrap();
        site.close().await.unwrap();
        let copy = path(&standby.dir);
        let from = ["-h", path(&primary.socket), "-U", "postgres", "-D", copy];
        standby.run("pg_basebackup", &[&from[..], &["-R", "-X", "stream", "-c", "fast"]].concat());
        standby.start();
        pair
    }

    /// Makes the standby apply nothing more until [`Pair::resume`].
    pub async fn pause(&self) {
        // What is written by now is still applied.
        let written: String = self.primary.value("select pg_current_wal_lsn()::text").await;
        let applied = format!("select pg_last_wal_replay_lsn() >= '{written}'");
        self.standby.comes_to(&applied).await;
        self.standby.say("select pg_wal_replay_pause()").await;
        self.standby.comes_to("select pg_get_wal_replay_pause_state() = 'paused'").await;
    }

    pub async fn resume(&self) {
        self.standby.say("select pg_wal_replay_resume()").await;
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for server in [&self.primary, &self.standby] {
            server.signal(Signal::SIGCONT);
            server.command("pg_ctl", &["stop", "-m", "immediate", "-D", path(&server.dir)]);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Server {
    /// As the site connects.
    pub fn options(&self) -> PgConnectOptions {
        self.admin().username("social_post").database("site")
    }

    /// The same, as a setting.
    pub fn url(&self) -> String {
        format!("postgres://social_post@localhost/site?host={}", path(&self.socket))
    }

    fn admin(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass().socket(&self.socket).username("postgres")
    }

    pub fn start(&self) {
        let settings = "-c listen_addresses='' -c fsync=off -c hot_standby_feedback=on";
        let options = format!("{settings} -c unix_socket_directories={}", path(&self.socket));
        let log = self.dir.with_extension("log");
        self.run(
            "pg_ctl",
            &["start", "-w", "-D", path(&self.dir), "-l", path(&log), "-o", &options],
        );
    }

    /// As a crash would.
    pub fn stop(&self) {
        self.run("pg_ctl", &["stop", "-m", "immediate", "-D", path(&self.dir)]);
    }

    pub fn promote(&self) {
        self.run("pg_ctl", &["promote", "-w", "-D", path(&self.dir)]);
    }

    /// To the server and every process of it.
    pub fn signal(&self, signal: Signal) {
        let Ok(text) = fs::read_to_string(self.dir.join("postmaster.pid")) else { return };
        let postmaster = text.lines().next().unwrap();
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        for pid in std::iter::once(postmaster).chain(children.split_whitespace()) {
            // One of them may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid.parse().unwrap()), signal);
        }
    }

    /// Says it to the site's database as its superuser.
    pub async fn say(&self, sql: &str) {
        let mut admin = self.admin().database("site").connect().await.unwrap();
        admin.execute(sql).await.unwrap();
        admin.close().await.unwrap();
    }

    pub async fn value<T>(&self, sql: &str) -> T
    where
        T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'a> sqlx::Decode<'a, sqlx::Postgres>,
    {
        let mut admin = self.admin().database("site").connect().await.unwrap();
        let value = sqlx::query_scalar(sql).fetch_one(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        value
    }

    pub async fn comes_to(&self, claim: &str) {
        let started = Instant::now();
        while !self.value::<bool>(claim).await {
            assert!(started.elapsed() < Duration::from_mins(1), "never: {claim}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) {
        let (is_done, said) = self.command(program, arguments);
        let log = fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default();
        assert!(is_done, "{program}: {said}{log}");
    }

    /// Postgres does not run as root. A server that is started keeps no pipe of ours open.
    fn command(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let said = self.dir.with_extension("said");
        let log = fs::File::create(&said).unwrap();
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        if let Some(user) = service_user() {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let is_done = command.status().unwrap().success();
        (is_done, fs::read_to_string(said).unwrap())
    }
}

fn make_dir(dir: &Path) {
    fs::create_dir(dir).unwrap();
    if let Some(user) = service_user() {
        chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

fn service_user() -> Option<User> {
    geteuid().is_root().then(|| User::from_name("postgres").unwrap().unwrap())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
