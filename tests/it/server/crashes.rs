//! Clients that hang up, a killed program and a database that ends connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use rand::Rng as _;
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use crate::{
    ledger::{Crowd, Ledger, collect},
    program::{Program, free_port, get},
    support::TestSite,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_lose_nothing_that_was_acknowledged() {
    let crowd = Crowd::of(8).await;
    let program = Program::start(&crowd.database.url).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers = crowd.writes_at(program.address, 30, &stop);
    sleep(Duration::from_secs(4)).await;
    stop.store(true, Ordering::Relaxed);

    let mut ledger = Ledger::default();
    collect(writers, &mut ledger).await;
    assert!(ledger.acknowledged() > 20, "{} is no load", ledger.acknowledged());
    assert!(ledger.unknown.len() > 3, "hardly anybody hung up");
    crowd.check(&ledger).await;
    let is_rare = ledger.refused * 10 <= ledger.acknowledged();
    assert!(is_rare, "{} were refused because others went away", ledger.refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_killed_under_load_loses_nothing_that_was_acknowledged() {
    let crowd = Crowd::of(6).await;
    let port = free_port().await;
    let mut ledger = Ledger::default();
    for _ in 0..5 {
        let mut program = Program::start_with(&crowd.database.url, &[("LISTEN_ADDR", &port)]).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut round = Ledger::default();
        let writers = crowd.writes_at(program.address, 0, &stop);
        sleep(Duration::from_millis(rand::thread_rng().gen_range(300..700))).await;
        program.signal(Signal::SIGKILL);
        program.ended().await;
        stop.store(true, Ordering::Relaxed);
        collect(writers, &mut round).await;
        crowd.check(&round).await;
        ledger.published.extend(round.published);
    }
    assert!(ledger.published.len() > 5, "{} is no load", ledger.published.len());
    crowd.check(&ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_database_ends_are_replaced_and_cost_a_503_at_most() {
    let crowd = Crowd::of(6).await;
    let program = Program::start(&crowd.database.url).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers = crowd.writes_at(program.address, 0, &stop);
    let mut ended = 0;
    for _ in 0..15 {
        sleep(Duration::from_millis(150)).await;
        let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                   where datname = current_database() and usename = current_user \
                   and pid <> pg_backend_pid()";
        let mut own = PgConnection::connect_with(&crowd.database.options()).await.unwrap();
        ended += sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut own).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);

    let mut ledger = Ledger::default();
    collect(writers, &mut ledger).await;
    assert!(ended > 15, "only {ended} connections were ended");
    assert!(ledger.acknowledged() > 5, "it did not recover: {}", ledger.acknowledged());
    // By itself, and not only at the second try.
    program.comes_to("/readyz", 200).await;
    for _ in 0..20 {
        assert_eq!(program.ask(get("/", &crowd.cookies[0])).await.status, 200);
    }
    let crowd =
        Crowd { site: TestSite::over(crowd.database.options(), "http://site.test"), ..crowd };
    crowd.check(&ledger).await;
}
