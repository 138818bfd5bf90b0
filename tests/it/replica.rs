//! A second database server: what is read from it, what never is, and how the site does without.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;
use social_post::{database::Replica, routes::router};
use tokio::time::sleep;

use crate::{
    program::social_post,
    standby::Pair,
    support::{API, TestSite, Visitor},
};

const PATIENCE: Duration = Duration::from_mins(1);

/// A site over both servers, once it reads from the standby.
async fn site(pair: &Pair) -> TestSite {
    let mut site = TestSite::over(pair.primary.options(), "http://site.test");
    let replica = Replica::new(&pair.standby.options(), 8);
    tokio::spawn(replica.clone().watch(site.app.db.clone()));
    site.app.replica = Some(replica);
    site.router = router(site.app.clone());
    until(&site, true).await;
    site
}

/// Waits until the site reads from the standby, or does not.
async fn until(site: &TestSite, reads: bool) {
    let started = Instant::now();
    while reads_from_standby(site) != reads {
        assert!(started.elapsed() < PATIENCE, "it never comes to {reads}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn reads_from_standby(site: &TestSite) -> bool {
    site.app.replica.as_ref().unwrap().healthy().is_some()
}

#[tokio::test]
async fn the_replica_serves_reads_except_for_clients_who_have_just_written() {
    let pair = Pair::new().await;
    let first = site(&pair).await;
    // Another process of the same site.
    let second = site(&pair).await;
    let writer = first.member("ada").await;
    let program = first.program("bob").await;
    let post = first.post_by("ada", "An old kettle").await;
    let paths = [
        "/".to_owned(),
        "/new".to_owned(),
        "/top".to_owned(),
        "/search?q=kettle".to_owned(),
        format!("/posts/{post}"),
        "/users/ada".to_owned(),
        format!("{API}/posts"),
        format!("{API}/posts?search=kettle"),
        format!("{API}/posts/{post}"),
    ];

    // Should the machine stand still for so long that the standby is left out, it is tried again.
    for attempt in 1.. {
        assert!(attempt < 10, "the replica never stays");
        pair.resume().await;
        until(&first, true).await;
        until(&second, true).await;
        pair.standby
            .comes_to(&format!("select exists (select from posts where id = {post})"))
            .await;
        pair.primary.say("update posts set title = 'An old kettle'").await;
        pair.pause().await;
        pair.primary.say("update posts set title = 'A new kettle'").await;

        let (reader, recent) = (first.visitor(), second.visitor());
        recent.set_cookie("wrote", "1");
        let mut seen = Vec::new();
        for path in &paths {
            let fresh = match path.strip_prefix(API) {
                // A program keeps no cookie: its token is enough.
                Some(path) => program.get(path).await,
                None => recent.get(path).await,
            };
            seen.push((path, reader.get(path).await, fresh));
        }

        // Whoever writes sees it at once, whichever process answers; only others see it later.
        let title = format!("Fresh from the press {attempt}");
        let posted = writer.post("/posts", &[("title", &title), ("url", ""), ("body", "")]).await;
        assert_eq!(posted.status, 303);
        let mark = posted.cookies().into_iter().find(|cookie| cookie.starts_with("wrote="));
        assert_eq!(mark, Some("wrote=1; Path=/; Max-Age=10; HttpOnly; SameSite=Lax"));
        let elsewhere = Visitor::new(second.router.clone(), "http://site.test");
        for name in ["sid", "wrote"] {
            elsewhere.set_cookie(name, &writer.cookie(name).unwrap());
        }
        for own in [&writer, &elsewhere] {
            own.get("/new").await.has(&title);
            own.get(posted.location()).await.has(&title);
        }
        let draft = json!({ "title": format!("By a program {attempt}") });
        assert_eq!(program.post("/posts", &draft).await.status, 201);
        program.get("/posts").await.has(&format!("By a program {attempt}"));
        let lists = reader.get("/new").await;
        // Who was told its address finds it all the same.
        reader.get(posted.location()).await.has(&title);
        // The mark ends by itself, and a session alone does not bind anybody.
        elsewhere.forget("wrote");
        let later = elsewhere.get("/new").await;

        if !reads_from_standby(&first) || !reads_from_standby(&second) {
            continue;
        }
        for (path, late, fresh) in seen {
            assert!(late.body.contains("An old"), "not from the replica: {path} {}", late.body);
            assert!(fresh.body.contains("A new"), "from the replica: {path} {}", fresh.body);
        }
        lists.lacks(&title);
        later.lacks(&title).has("ada");
        break;
    }

    // Late, but not for long: then the replica is left out until it has caught up.
    let reader = first.visitor();
    let started = Instant::now();
    while !reader.get("/new").await.has("kettle").body.contains("Fresh from the press") {
        assert!(started.elapsed() < PATIENCE, "it stays late");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!reads_from_standby(&first));
    pair.resume().await;
    until(&first, true).await;
    reader.get("/new").await.has("Fresh from the press");
}

/// Reads the front page again and again until `stop`, and says how often.
async fn keep_reading(visitor: Visitor, stop: Arc<AtomicBool>, count: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let reply = visitor.get("/").await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.has("A lasting kettle");
        count.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_or_hanging_replica_is_skipped_without_a_failed_request_and_used_again_later() {
    let pair = Pair::new().await;
    let site = site(&pair).await;
    let member = site.member("ada").await;
    site.post_by("ada", "A lasting kettle").await;
    pair.standby.comes_to("select exists (select from posts)").await;
    // Nobody is bound to the primary.
    member.forget("wrote");

    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = [member, site.visitor(), site.visitor()]
        .into_iter()
        .map(|visitor| tokio::spawn(keep_reading(visitor, stop.clone(), count.clone())))
        .collect();
    let more = async || {
        let before = count.load(Ordering::Relaxed);
        let started = Instant::now();
        while count.load(Ordering::Relaxed) < before + 50 {
            assert!(started.elapsed() < PATIENCE, "nobody reads any more");
            sleep(Duration::from_millis(10)).await;
        }
    };

    more().await;
    pair.standby.stop();
    until(&site, false).await;
    more().await;
    pair.standby.start();
    until(&site, true).await;
    more().await;

    pair.standby.signal(Signal::SIGSTOP);
    until(&site, false).await;
    more().await;
    pair.standby.signal(Signal::SIGCONT);
    until(&site, true).await;
    more().await;

    // A standby that becomes a primary is none any more.
    pair.standby.promote();
    until(&site, false).await;
    more().await;
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn without_the_primary_the_replica_still_serves_anonymous_readers() {
    let pair = Pair::new().await;
    let site = site(&pair).await;
    site.post_by("ada", "A lasting kettle").await;
    pair.standby.comes_to("select exists (select from posts)").await;
    pair.primary.stop();
    for _ in 0..20 {
        let reply = site.visitor().get("/").await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.has("A lasting kettle");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The old primary lives on and takes no more writes, which is the worst case: no connection breaks.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_writes_succeed_again_without_a_restart() {
    let pair = Pair::new().await;
    let place = pair.primary.socket.with_file_name("place");
    symlink(&pair.primary.socket, &place).unwrap();
    let site = TestSite::over(pair.primary.options().socket(&place), "http://site.test");
    let post = site.post_by("ada", "A lasting kettle").await;
    let vote = format!("/posts/{post}/vote");

    // So many that no connection of the pool ever rests.
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let failed = Arc::new(AtomicUsize::new(0));
    let mut writers = Vec::new();
    for name in ["bob", "cleo", "dan", "eve", "fay", "gus", "hal", "ivy"] {
        let member = site.member(name).await;
        let (stop, written, failed) = (stop.clone(), written.clone(), failed.clone());
        let vote = vote.clone();
        writers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let reply = member.post(&vote, &[("value", "1")]).await;
                match reply.status.as_u16() {
                    303 => written.fetch_add(1, Ordering::Relaxed),
                    503 => failed.fetch_add(1, Ordering::Relaxed),
                    other => panic!("{other}: {}", reply.body),
                };
            }
        }));
    }
    let more = async |count: &AtomicUsize, how_many| {
        let before = count.load(Ordering::Relaxed);
        let started = Instant::now();
        while count.load(Ordering::Relaxed) < before + how_many {
            assert!(started.elapsed() < PATIENCE, "no more come");
            sleep(Duration::from_millis(5)).await;
        }
    };
    more(&written, 50).await;

    pair.primary.say("alter system set default_transaction_read_only = on").await;
    pair.primary.say("select pg_reload_conf()").await;
    more(&failed, 50).await;
    pair.standby.promote();
    fs::remove_file(&place).unwrap();
    symlink(&pair.standby.socket, &place).unwrap();
    let promoted = Instant::now();
    more(&written, 1).await;
    let first = promoted.elapsed();
    // And not one by luck: no connection to the old primary is left.
    let is_left =
        "select exists (select from pg_stat_activity where application_name = 'social-post')";
    pair.primary.comes_to(&format!("select not ({is_left})")).await;
    let (all, before) = (promoted.elapsed(), failed.load(Ordering::Relaxed));
    more(&written, 200).await;
    assert!(failed.load(Ordering::Relaxed) <= before + 8, "writes still fail");
    println!("the first write after {first:?}, the last old connection gone after {all:?}");
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_why_a_replica_is_not_read() {
    let pair = Pair::new().await;
    let site = site(&pair).await;
    let doctor = |replica: String| {
        let database = pair.primary.url();
        let output = social_post(
            &["doctor"],
            &[("DATABASE_URL", &database), ("DATABASE_REPLICA_URL", &replica)],
        );
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().find(|line| line.contains(": replica: ")).map(str::to_owned)
    };
    assert_eq!(doctor(pair.standby.url()), None);
    let primary = doctor(pair.primary.url()).unwrap();
    assert!(primary.contains("it is not a standby"), "{primary}");
    pair.pause().await;
    site.post_by("ada", "Not there yet").await;
    let late = doctor(pair.standby.url()).unwrap();
    assert!(late.contains("more than 5 seconds behind"), "{late}");
    pair.resume().await;
    pair.standby.stop();
    let dead = doctor(pair.standby.url()).unwrap();
    assert!(
        dead.starts_with("problem: replica: the replica is left out: it does not answer"),
        "{dead}"
    );
    assert!(dead.contains("mend it: "), "{dead}");
}
