//! The program's own Postgres, ended in every way while the site serves.

use std::{
    fs,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tokio::time::sleep;

use crate::{
    local_postgres::{Place, skip},
    program::{PATIENCE, Program, command, get, post, social_post},
    support::PASSWORD,
};

const DOWN: &str = "the program's own Postgres is down and is started again";
const BACK: &str = "the program's own Postgres is back after";

async fn serve(place: &Place) -> Program {
    let data = place.data();
    let settings = [
        ("DATA_DIR", data.to_str().unwrap()),
        ("LISTEN_ADDR", "127.0.0.1:0"),
        ("BASE_URL", "http://site.test"),
        ("RATE_LIMITS", "off"),
        ("NO_COLOR", "1"),
    ];
    let program = Program::run(command(&["serve"], &settings)).await;
    program.comes_to("/readyz", 200).await;
    program
}

/// Signs up and publishes; the address of the post.
async fn publish(program: &Program) -> String {
    let fields = [("username", "ada"), ("email", "ada@example.org"), ("password", PASSWORD)];
    let reply = program.ask(post("/signup", "", &fields)).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    let cookies = reply.cookies();
    let cookie = cookies.iter().find(|cookie| cookie.starts_with("sid=")).unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let reply = program.ask(post("/posts", cookie, &[("title", "Kept"), ("body", "text")])).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    reply.location().to_owned()
}

fn count(log: &str, words: &str) -> usize {
    log.matches(words).count()
}

/// The cluster's `pg_ctl`, run by the cluster's user.
fn pg_ctl(place: &Place, arguments: &[&str]) {
    use std::os::unix::fs::MetadataExt as _;
    let programs = social_post::database::local::Programs::find(None).unwrap();
    let mut command = Command::new(programs.path("pg_ctl"));
    command.arg("-D").arg(place.cluster()).args(arguments).current_dir("/");
    if geteuid().is_root() {
        let owner = fs::metadata(place.cluster()).unwrap();
        command.uid(owner.uid()).gid(owner.gid());
    }
    assert!(command.output().unwrap().status.success());
}

/// Until a new server answers; `/healthz` is 200 all the while.
async fn comes_back(program: &Program, place: &Place, ended: Pid, backs: usize, how: &str) {
    let started = Instant::now();
    loop {
        assert_eq!(program.ask(get("/healthz", "")).await.status, 200, "{how}");
        let log = program.log.lock().unwrap().clone();
        if count(&log, BACK) > backs && program.ask(get("/readyz", "")).await.status == 200 {
            break;
        }
        assert!(started.elapsed() < PATIENCE * 2, "{how}: it stays down: {log}");
        sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(place.pid(), ended, "{how}");
    assert_eq!(program.ask(get("/", "")).await.status, 200, "{how}");
}

type End = (&'static str, fn(&Place), &'static str);

async fn ends_and_comes_back(ends: &[End]) {
    let place = Place::new();
    let mut program = serve(&place).await;
    let kept = publish(&program).await;
    for (round, (how, end, cause)) in ends.iter().enumerate() {
        let pid = place.pid();
        end(&place);
        comes_back(&program, &place, pid, round, how).await;
        let log = program.log.lock().unwrap().clone();
        assert_eq!(count(&log, DOWN), round + 1, "{how} is logged once: {log}");
        assert_eq!(count(&log, BACK), round + 1, "{how}: {log}");
        let told = log.lines().rfind(|line| line.contains(DOWN)).unwrap();
        assert!(told.contains(cause), "{how}: {told}");
        assert_eq!(program.ask(get(&kept, "")).await.status, 200, "{how} lost a post");
    }
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));
    assert!(!place.cluster().join("postmaster.pid").exists(), "its Postgres is stopped with it");
}

fn signal(place: &Place, signal: Signal) {
    kill(place.pid(), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_programs_own_postgres_is_started_again_after_it_was_killed_or_stopped() {
    ends_and_comes_back(&[
        ("SIGKILL", |place| signal(place, Signal::SIGKILL), "cause="),
        ("SIGINT", |place| signal(place, Signal::SIGINT), "received fast shutdown request"),
        ("SIGTERM", |place| signal(place, Signal::SIGTERM), "received smart shutdown request"),
        ("SIGQUIT", |place| signal(place, Signal::SIGQUIT), "received immediate shutdown request"),
        (
            "pg_ctl stop",
            |place| pg_ctl(place, &["stop", "-m", "fast"]),
            "received fast shutdown request",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_programs_own_postgres_is_started_again_when_its_socket_is_gone_or_it_hung_and_was_killed()
 {
    fn socket(place: &Place) -> PathBuf {
        let file = fs::read_to_string(place.cluster().join("postmaster.pid")).unwrap();
        let place = place.cluster().join(file.lines().nth(4).unwrap());
        assert!(place.join(".s.PGSQL.5432").exists(), "{}", place.display());
        place
    }
    ends_and_comes_back(&[
        (
            "its socket removed",
            |place| fs::remove_file(socket(place).join(".s.PGSQL.5432")).unwrap(),
            "its socket was removed",
        ),
        (
            "its socket's directory removed",
            |place| fs::remove_dir_all(socket(place)).unwrap(),
            "its socket was removed",
        ),
        (
            "SIGSTOP and SIGKILL",
            |place| {
                signal(place, Signal::SIGSTOP);
                signal(place, Signal::SIGKILL);
            },
            "cause=",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_and_one_that_recovers_from_a_backend_crash_are_not_started_a_second_time()
{
    let place = Place::new();
    let program = serve(&place).await;
    let pid = place.pid();
    let children = || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let pids = children.split_whitespace().map(|child| child.parse().unwrap());
        Some(pids.map(Pid::from_raw).collect::<Vec<_>>())
    };
    let Some(all) = children() else { return skip("only Linux tells who the children are") };
    for one in all.iter().chain([&pid]) {
        kill(*one, Signal::SIGSTOP).unwrap();
    }
    // A 503 in the end, and not a client that waits for ever.
    program.comes_to("/readyz", 503).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(program.ask(get("/healthz", "")).await.status, 200);
    for one in all.iter().chain([&pid]) {
        // A connection may have been given up meanwhile.
        let _ = kill(*one, Signal::SIGCONT);
    }
    program.comes_to("/readyz", 200).await;

    let serves_us = |child: &Pid| {
        let words = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        words.contains("social_post social_post")
    };
    let backend =
        children().unwrap().into_iter().find(serves_us).expect("a connection of the pool");
    kill(backend, Signal::SIGKILL).unwrap();
    // The server may not have noticed yet, and then recovers for a moment.
    program.comes_to("/readyz", 200).await;
    program.comes_to("/", 200).await;
    assert_eq!(place.pid(), pid);
    let log = program.log.lock().unwrap().clone();
    assert_eq!(count(&log, DOWN), 0, "{log}");
    end(program, place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_one_line_in_the_log_and_the_site_returns_once_there_is_space() {
    let place = Place::new();
    if !place.mount_tiny_disk("mode=755,size=250m") {
        return skip("nothing can be mounted here");
    }
    let program = serve(&place).await;
    let kept = publish(&program).await;
    let data = place.data();
    let doctor = || {
        let done = social_post(&["doctor"], &[("DATA_DIR", data.to_str().unwrap())]);
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let filler = place.0.join("filler");
    let fill_disk = || drop(fs::write(&filler, vec![0; 250 << 20]).unwrap_err());
    fill_disk();
    signal(&place, Signal::SIGKILL);
    program.comes_to("/readyz", 503).await;
    program.log_with("the disk is full").await;
    // Long enough for several tries.
    sleep(Duration::from_secs(3)).await;
    let reply = program.ask(get("/readyz", "")).await;
    assert_eq!(reply.header("retry-after"), "2");
    assert!(reply.body.contains("own Postgres is down"), "{}", reply.body);
    assert_eq!(program.ask(get("/healthz", "")).await.status, 200);
    let (code, said) = doctor();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("problem: database: the program's own Postgres is down: "), "{said}");
    assert!(said.contains("its disk is full") && said.contains("starts it again"), "{said}");
    let log = program.log.lock().unwrap().clone();
    assert_eq!(count(&log, "the disk is full"), 1, "{log}");
    fs::remove_file(&filler).unwrap();
    program.log_with(BACK).await;
    program.comes_to("/readyz", 200).await;
    assert_eq!(program.ask(get(&kept, "")).await.status, 200);

    // Once more. This time it may find enough space to start.
    fill_disk();
    let pid = place.pid();
    signal(&place, Signal::SIGKILL);
    sleep(Duration::from_secs(3)).await;
    fs::remove_file(&filler).unwrap();
    comes_back(&program, &place, pid, 1, "a disk that was full twice").await;
    assert_eq!(program.ask(get(&kept, "")).await.status, 200);
    let log = program.log.lock().unwrap().clone();
    assert!(count(&log, "the disk is full") <= 2, "{log}");
    end(program, place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_while_the_own_postgres_is_down_ends_the_program_and_leaves_no_server() {
    let place = Place::new();
    let mut program = serve(&place).await;
    signal(&place, Signal::SIGKILL);
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));
    let socket = place.cluster().join("socket/.s.PGSQL.5432");
    let log = program.log.lock().unwrap().clone();
    assert!(UnixStream::connect(socket).is_err(), "a server was left running: {log}");
}

async fn end(mut program: Program, place: Place) {
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));
    drop(place);
}
