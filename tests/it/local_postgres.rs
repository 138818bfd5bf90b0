//! The local cluster, started, killed and damaged for real.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use social_post::database::local::{LocalError, LocalPostgres, Status};
use sqlx::{ConnectOptions, Connection};
use tokio::time::sleep;
use uuid::Uuid;

/// A new directory in the temporary one, which every user may enter. A server in it ends with it.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Place {
        let place = env::temp_dir().join(format!("social-post-test-{}", Uuid::now_v7().simple()));
        DirBuilder::new().mode(0o755).create(&place).unwrap();
        Place(place.canonicalize().unwrap())
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub fn cluster(&self) -> PathBuf {
        self.data().join("postgres")
    }

    /// Of the cluster's main process.
    pub fn pid(&self) -> Pid {
        let file = fs::read_to_string(self.cluster().join("postmaster.pid")).unwrap();
        Pid::from_raw(file.lines().next().unwrap().parse().unwrap())
    }

    async fn start(&self) -> LocalPostgres {
        LocalPostgres::start(&self.data()).await.unwrap()
    }

    /// What a start in the directory complains about.
    async fn complaint(&self) -> String {
        complaint(LocalPostgres::start(&self.data()).await)
    }

    pub fn mount_tiny_disk(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(&self.0).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(file) = fs::read_to_string(self.cluster().join("postmaster.pid"))
            && let Some(Ok(pid)) = file.lines().next().map(str::parse)
            && file.lines().count() > 1
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        if let Ok(elsewhere) = self.cluster().read_link() {
            let _ = fs::remove_dir_all(elsewhere);
        }
        let _ = Command::new("umount").arg(&self.0).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn complaint(outcome: Result<LocalPostgres, LocalError>) -> String {
    let complaint = outcome.err().unwrap().to_string();
    assert!(!complaint.contains('\n'), "{complaint}");
    complaint
}

async fn write_note(local: &LocalPostgres, note: &str) {
    let mut db = local.connect_options().connect().await.unwrap();
    sqlx::query("create table if not exists notes (note text)").execute(&mut db).await.unwrap();
    sqlx::query("insert into notes values ($1)").bind(note).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

async fn notes(local: &LocalPostgres) -> Vec<String> {
    let mut db = local.connect_options().connect().await.unwrap();
    let notes = sqlx::query_scalar("select note from notes").fetch_all(&mut db).await.unwrap();
    db.close().await.unwrap();
    notes
}

async fn setting(local: &LocalPostgres, name: &str) -> String {
    let mut db = local.admin_options().connect().await.unwrap();
    let value = sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&mut db);
    value.await.unwrap()
}

pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

#[tokio::test]
async fn a_new_directory_gets_a_cluster_that_outlives_the_program_only_as_data() {
    let place = Place::new();

    let local = place.start().await;
    write_note(&local, "first").await;
    assert_eq!(setting(&local, "listen_addresses").await, "", "no TCP");
    assert_eq!(setting(&local, "server_encoding").await, "UTF8");
    assert_eq!(setting(&local, "data_checksums").await, "on");
    assert_eq!(setting(&local, "fsync").await, "on");
    // For a short recovery after a crash.
    assert_eq!(setting(&local, "max_wal_size").await, "256MB");
    if cfg!(target_os = "linux") {
        assert_eq!(setting(&local, "recovery_init_sync_method").await, "syncfs");
    }
    local.stop().await;
    assert!(!place.cluster().join("postmaster.pid").exists(), "it is stopped");

    let local = place.start().await;
    assert_eq!(notes(&local).await, ["first"]);
    local.stop().await;
}

#[tokio::test]
async fn the_postgres_log_contains_no_parameter_of_a_slow_or_failed_statement() {
    let place = Place::new();
    let local = place.start().await;
    let mut db = local.admin_options().connect().await.unwrap();
    for sql in [
        "create table notes (note text primary key)",
        // As an operator does to find slow statements.
        "set log_min_duration_statement = 0",
        "set log_error_verbosity = default",
    ] {
        sqlx::query(sql).execute(&mut db).await.unwrap();
    }
    for sql in [
        "insert into notes values ($1)",
        "insert into notes values ($1)",
        "select $1::text, pg_sleep(0.1)",
        "select count(*) from notes where note = $1 and 1 / (select 0) = 1",
    ] {
        let _ = sqlx::query(sql).bind("canary7f3a").execute(&mut db).await;
    }
    db.close().await.unwrap();
    local.stop().await;

    let read_log = || -> String {
        let logs = fs::read_dir(place.cluster().join("log")).unwrap();
        logs.map(|log| fs::read_to_string(log.unwrap().path()).unwrap()).collect()
    };
    // Its logger is a process of its own and may write for a moment longer.
    let mut log = read_log();
    for _ in 0..500 {
        if log.contains("database system is shut down") {
            break;
        }
        sleep(Duration::from_millis(20)).await;
        log = read_log();
    }
    assert!(log.contains("duration") && log.contains("duplicate key"), "{log}");
    let telling: Vec<_> = log.lines().filter(|line| line.contains("canary7f3a")).collect();
    assert!(telling.is_empty(), "{telling:#?}");
}

#[tokio::test]
async fn nothing_is_lost_when_the_server_is_killed() {
    let place = Place::new();
    let local = place.start().await;
    write_note(&local, "before the crash").await;
    kill(place.pid(), Signal::SIGKILL).unwrap();
    drop(local);

    let local = place.start().await;
    assert_eq!(notes(&local).await, ["before the crash"]);
    local.stop().await;
}

#[tokio::test]
async fn the_remaining_processes_of_a_killed_server_are_waited_for() {
    let place = Place::new();
    let local = place.start().await;
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", place.pid()));
    let Ok(children) = children else { return skip("only Linux tells who the children are") };
    // One that stays: the last is at times a connection's, which is just ending.
    let stays = |child: &&str| {
        let words = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        words.contains("checkpointer")
    };
    let child = children.split_whitespace().find(stays).expect("every server has a checkpointer");
    let child = Pid::from_raw(child.parse().unwrap());
    kill(child, Signal::SIGSTOP).unwrap();
    kill(place.pid(), Signal::SIGKILL).unwrap();
    drop(local);

    let end_of_the_child = tokio::spawn(async move {
        sleep(Duration::from_secs(1)).await;
        kill(child, Signal::SIGKILL)
    });
    let local = place.start().await;
    assert!(end_of_the_child.is_finished(), "it shared the memory until then");
    local.stop().await;
}

#[tokio::test]
async fn a_cluster_left_running_is_adopted() {
    let place = Place::new();
    drop(place.start().await);
    let before = place.pid();

    let local = place.start().await;
    assert_eq!(place.pid(), before);
    local.stop().await;
    assert!(!place.cluster().join("postmaster.pid").exists(), "who adopts it stops it");
}

#[tokio::test]
async fn stale_lock_files_are_no_obstacle() {
    let place = Place::new();
    place.start().await.stop().await;
    // Of the cluster's user, as a number that was given out again would be.
    let mut stranger = Command::new("sleep");
    stranger.arg("60");
    if geteuid().is_root() {
        use std::os::unix::{fs::MetadataExt, process::CommandExt};
        stranger.uid(fs::metadata(place.cluster()).unwrap().uid());
    }
    let mut stranger = stranger.spawn().unwrap();

    let rest = format!("\n{}\n1700000000\n5432\n", place.cluster().display());
    let of_the_dead = format!("4194303{rest}");
    let of_a_stranger = format!("{}{rest}", stranger.id());
    for content in [&of_the_dead, &of_a_stranger, "rubbish", ""] {
        fs::write(place.cluster().join("postmaster.pid"), content).unwrap();
        fs::create_dir_all(place.cluster().join("socket")).unwrap();
        fs::write(place.cluster().join("socket/.s.PGSQL.5432"), "").unwrap();
        fs::write(place.cluster().join("socket/.s.PGSQL.5432.lock"), content).unwrap();
        place.start().await.stop().await;
    }
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger is left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_second_owner_is_refused_and_named_the_first() {
    let place = Place::new();
    let local = place.start().await;

    let complaint = place.complaint().await;
    let me = format!("in use by another social-post (process {})", std::process::id());
    assert!(complaint.contains(&me), "{complaint}");
    local.stop().await;
}

/// A process that has just been forked holds copies of all our files until it becomes another program.
#[tokio::test]
async fn a_process_that_exits_releases_the_cluster_at_once_while_others_start() {
    let place = Place::new();
    drop(place.start().await);
    let goes_on = Arc::new(AtomicBool::new(true));
    let forks = [(); 4].map(|()| {
        let goes_on = goes_on.clone();
        std::thread::spawn(move || {
            while goes_on.load(Ordering::Relaxed) {
                let _ = Command::new("true").current_dir("/").status();
            }
        })
    });

    for _ in 0..100 {
        drop(place.start().await);
    }
    goes_on.store(false, Ordering::Relaxed);
    for fork in forks {
        fork.join().unwrap();
    }
    place.start().await.stop().await;
}

#[tokio::test]
async fn a_guest_shares_the_owners_cluster_and_the_last_to_leave_stops_it() {
    let place = Place::new();
    let data = place.data();
    // Both at once: one of them becomes the owner, the other waits for it.
    let (one, other) = tokio::join!(LocalPostgres::join(&data), LocalPostgres::join(&data));
    let (one, other) = (one.unwrap(), other.unwrap());
    write_note(&one, "from one").await;

    one.stop().await;
    assert_eq!(notes(&other).await, ["from one"]);
    other.stop().await;
    assert!(!place.cluster().join("postmaster.pid").exists());
}

#[tokio::test]
async fn a_cluster_of_another_version_is_left_alone() {
    let place = Place::new();
    place.start().await.stop().await;
    fs::write(place.cluster().join("PG_VERSION"), "12\n").unwrap();

    let complaint = place.complaint().await;
    assert!(complaint.contains("made by Postgres 12, and only"), "{complaint}");
}

#[tokio::test]
async fn a_half_created_cluster_is_created_again() {
    let place = Place::new();
    let half_made = place.data().join("postgres.new-1700000000");
    fs::create_dir_all(half_made.join("base")).unwrap();

    place.start().await.stop().await;
    assert!(!half_made.exists());
}

#[tokio::test]
async fn a_directory_that_is_no_cluster_is_left_alone() {
    let place = Place::new();
    fs::create_dir_all(place.cluster()).unwrap();
    fs::write(place.cluster().join("diary.txt"), "dear diary").unwrap();

    let complaint = place.complaint().await;
    assert!(complaint.ends_with("is not a Postgres cluster: move it away"), "{complaint}");
    assert!(place.cluster().join("diary.txt").exists());
}

#[tokio::test]
async fn a_dangling_symbolic_link_is_explained() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    symlink("/nowhere/cluster", place.cluster()).unwrap();

    let complaint = place.complaint().await;
    assert!(complaint.contains("points to /nowhere/cluster, which is not there"), "{complaint}");
}

#[tokio::test]
async fn a_path_that_is_too_long_for_a_socket_or_has_odd_characters_works() {
    let place = Place::new();
    for name in ["x".repeat(100).as_str(), "it's $HOME, \"quoted\" `id` and späce"] {
        let data = place.0.join(name);
        let local = LocalPostgres::start(&data).await.unwrap();
        write_note(&local, "here").await;
        local.stop().await;
    }
}

#[tokio::test]
async fn root_may_keep_its_data_where_others_cannot_go() {
    if !geteuid().is_root() {
        return skip("this is about root");
    }
    let place = Place::new();
    fs::set_permissions(&place.0, Permissions::from_mode(0o700)).unwrap();

    let local = place.start().await;
    write_note(&local, "private").await;
    local.stop().await;
    let elsewhere = place.cluster().read_link().unwrap();
    assert!(elsewhere.join("PG_VERSION").exists());

    let local = place.start().await;
    assert_eq!(notes(&local).await, ["private"]);
    local.stop().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let place = Place::new();
    if geteuid().is_root() {
        if !place.mount_tiny_disk("ro") {
            return skip("nothing can be mounted here");
        }
    } else {
        fs::set_permissions(&place.0, Permissions::from_mode(0o500)).unwrap();
    }

    let complaint = place.complaint().await;
    let here = format!("cannot use {}", place.data().display());
    assert!(complaint.starts_with(&here), "{complaint}");
    assert!(complaint.ends_with("or set DATA_DIR to another directory"), "{complaint}");
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_is_named() {
    let place = Place::new();
    fs::write(place.data(), "").unwrap();

    let complaint = place.complaint().await;
    assert!(complaint.contains("Not a directory"), "{complaint}");
}

#[tokio::test]
async fn a_full_disk_is_reported_and_the_start_succeeds_once_there_is_room() {
    let place = Place::new();
    if !place.mount_tiny_disk("mode=755,size=8m") {
        return skip("nothing can be mounted here");
    }
    assert!(place.complaint().await.starts_with("the disk is full"));

    let remount = |size: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={size}")]).arg(&place.0);
        assert!(mount.status().unwrap().success());
    };
    remount("200m");
    place.start().await.stop().await;

    let filler = place.0.join("filler");
    fs::write(&filler, vec![0; 200 << 20]).unwrap_err();
    let complaint = place.complaint().await;
    assert!(complaint.starts_with("the disk is full"), "{complaint}");

    fs::remove_file(filler).unwrap();
    place.start().await.stop().await;
}

#[tokio::test]
async fn a_supervisor_gives_up_when_the_server_cannot_be_started_again_for_some_time() {
    let place = Place::new();
    let local = place.start().await;
    fs::write(place.cluster().join("postgresql.conf"), "shared_buffers = nonsense\n").unwrap();
    kill(place.pid(), Signal::SIGKILL).unwrap();

    let status = Status::default();
    let lost = local.supervise(&status, Duration::from_secs(2)).await.to_string();
    assert!(status.is_down());
    assert!(lost.contains("could not be started again"), "{lost}");
    assert!(lost.contains("configuration file"), "{lost}");
    // Nothing runs, so there is nothing to wait for.
    local.stop().await;
}

#[tokio::test]
async fn the_tests_own_cluster_is_fast_and_shared() {
    let place = Place::new();
    let data = place.data();
    let (one, other) =
        tokio::join!(LocalPostgres::for_tests(&data), LocalPostgres::for_tests(&data));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(setting(&one, "fsync").await, "off");
    assert_eq!(setting(&other, "max_connections").await, "300");

    one.stop().await;
    assert!(exists_for(&place.cluster(), Duration::from_secs(1)).await, "it stays for the others");
}

#[tokio::test]
#[ignore = "takes a minute: run it when you touch the keeper"]
async fn the_tests_own_cluster_ends_when_nobody_uses_it() {
    let place = Place::new();
    let guard = LocalPostgres::for_tests(&place.data()).await.unwrap();
    assert!(exists_for(&place.cluster(), Duration::from_secs(40)).await, "somebody is there");

    drop(guard);
    assert!(!exists_for(&place.cluster(), Duration::from_secs(20)).await, "nobody is there");
}

async fn exists_for(cluster: &Path, time: Duration) -> bool {
    sleep(time).await;
    cluster.join("postmaster.pid").exists()
}
