//! Rate limits on log-in attempts, and how the owner of an account still gets in.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use social_post::{
    identity::UserId, server::Peer, users::password::Subject, web::throttle::Throttle,
};

use crate::{
    program::{Program, post},
    statements,
    support::{
        Database, PASSWORD, Reply, TestSite, Visitor, database, encode, post_office::PostOffice,
    },
};

const WRONG: &str = "wrong password here";
const BETTER: &str = "marble otter 7 lantern";

async fn throttled() -> TestSite {
    TestSite::altered(|app| app.throttle = Throttle::new(true)).await
}

/// The form, sent from an address of its own.
async fn post_from(address: &str, visitor: &Visitor, path: &str, fields: &[(&str, &str)]) -> Reply {
    let peer: SocketAddr = format!("{address}:4000").parse().unwrap();
    visitor.send(visitor.form(path).extension(Peer(peer)), encode(fields)).await
}

async fn log_in(visitor: &Visitor, login: &str, password: &str) -> Reply {
    visitor.post("/login", &[("login", login), ("password", password)]).await
}

#[track_caller]
fn waits(reply: &Reply, at_most: u64) {
    assert_eq!(reply.status, 429, "{}", reply.body);
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=at_most).contains(&wait), "{wait}");
    reply.has("Try again in");
}

/// As if the waiting time had passed.
async fn later(site: &TestSite) {
    let sql = "update password_tries set free_at = now() where network is not null";
    sqlx::query(sql).execute(&site.db).await.unwrap();
}

#[tokio::test]
async fn five_log_in_attempts_at_an_account_are_free_in_a_network_by_name_or_email_and_any_form() {
    let site = throttled().await;
    let ada = site.member("ada").await;
    // A device that is not known.
    let ada = {
        let visitor = site.visitor();
        visitor.set_cookie("sid", &ada.cookie("sid").unwrap());
        visitor
    };
    let stranger = site.visitor();
    for login in ["ada", "ADA ", "Ada@Example.ORG"] {
        assert_eq!(log_in(&stranger, login, WRONG).await.status, 401, "{login}");
    }
    let change = [("current_password", WRONG), ("new_password", BETTER)];
    assert_eq!(ada.post("/settings/password", &change).await.status, 422);
    let leave = [("current_password", WRONG)];
    assert_eq!(ada.post("/settings/delete-account", &leave).await.status, 422);

    for login in ["ada", "aDA", " ada@example.org "] {
        let reply = log_in(&stranger, login, PASSWORD).await;
        waits(&reply, 60);
        reply.has(&format!("value=\"{login}\"")).lacks(PASSWORD);
    }
    for (path, fields) in [
        ("/settings/password", vec![("current_password", PASSWORD), ("new_password", BETTER)]),
        ("/settings/email", vec![("current_password", PASSWORD), ("email", "typed@example.org")]),
        ("/settings/delete-account", vec![("current_password", PASSWORD)]),
    ] {
        waits(&ada.post(path, &fields).await, 60);
    }
    ada.get("/settings").await.has("ada@example.org");

    later(&site).await;
    assert_eq!(log_in(&stranger, "ada", PASSWORD).await.status, 303, "after the wait");
    for _ in 0..5 {
        let reply = log_in(&site.visitor(), "ada", WRONG).await;
        assert_eq!(reply.status, 401, "a right one forgives the wrong ones");
    }
}

#[tokio::test]
async fn each_further_log_in_attempt_waits_longer_up_to_a_quarter_of_an_hour_and_a_quiet_one_resets()
 {
    let site = throttled().await;
    let stranger = site.visitor();
    for _ in 0..5 {
        assert_eq!(
            log_in(&stranger, "nobody-here", WRONG).await.status,
            401,
            "as with a real name"
        );
    }
    for minutes in [1, 2, 4, 8, 15, 15] {
        let reply = log_in(&stranger, "Nobody-Here", WRONG).await;
        waits(&reply, minutes * 60);
        let wait: u64 = reply.header("retry-after").parse().unwrap();
        assert!(wait > minutes * 60 - 20, "{minutes} minutes are {wait} s");
        later(&site).await;
        assert_eq!(log_in(&stranger, "nobody-here", WRONG).await.status, 401);
    }
    sqlx::query("update password_tries set free_at = now() - interval '15 minutes 1 second'")
        .execute(&site.db)
        .await
        .unwrap();
    for _ in 0..5 {
        assert_eq!(log_in(&stranger, "nobody-here", WRONG).await.status, 401);
    }
    waits(&log_in(&stranger, "nobody-here", WRONG).await, 60);
    assert_eq!(log_in(&stranger, "somebody-else", WRONG).await.status, 401);
}

#[tokio::test]
async fn password_guessing_by_a_stranger_locks_nobody_out_of_a_known_device() {
    let site = throttled().await;
    let ada = site.member("ada").await;
    let bob = site.member("bob").await;
    let device = ada.cookie("device").unwrap();
    assert_eq!(ada.post("/logout", &[]).await.status, 303);
    assert_eq!(ada.cookie("device").as_ref(), Some(&device), "it outlives the session");
    for _ in 0..8 {
        log_in(&site.visitor(), "ada", WRONG).await;
    }
    waits(&log_in(&site.visitor(), "ada", PASSWORD).await, 60);
    let bobs = site.visitor();
    bobs.set_cookie("device", &bob.cookie("device").unwrap());
    waits(&log_in(&bobs, "ada", PASSWORD).await, 60);
    let invented = site.visitor();
    invented.set_cookie("device", "AAAAAAAAAAAAAAAAAAAAAA");
    waits(&log_in(&invented, "ada", PASSWORD).await, 60);

    assert_eq!(log_in(&ada, "ada", PASSWORD).await.status, 303, "her own browser");
    assert_ne!(ada.cookie("device").unwrap(), device, "and a new secret each time");
    let stale = site.visitor();
    stale.set_cookie("device", &device);
    waits(&log_in(&stale, "ada", PASSWORD).await, 60);

    // A known device has no more attempts than others.
    ada.post("/logout", &[]).await;
    for _ in 0..5 {
        assert_eq!(log_in(&ada, "ada", WRONG).await.status, 401);
    }
    waits(&log_in(&ada, "ada", PASSWORD).await, 60);

    let kept: Vec<String> =
        sqlx::query_scalar("select key from known_devices").fetch_all(&site.db).await.unwrap();
    assert!(!kept.contains(&ada.cookie("device").unwrap()), "the database has only hashes");
}

#[tokio::test]
async fn a_network_has_a_rate_limit_of_thirty_log_in_attempts_over_all_accounts() {
    let site = throttled().await;
    let mut tries = 0;
    // Addresses in one /64 cost nothing, so they count as one.
    for n in 0..40 {
        let (address, login) = (format!("[2001:db8:1:1::{n}]"), format!("person-{n}"));
        let fields = [("login", login.as_str()), ("password", WRONG)];
        let reply = post_from(&address, &site.visitor(), "/login", &fields).await;
        match reply.status.as_u16() {
            401 => tries += 1,
            _ => waits(&reply, 60),
        }
    }
    assert_eq!(tries, 30);
    for address in ["[2001:db8:1:2::1]", "192.0.2.1"] {
        let fields = [("login", "person-1"), ("password", WRONG)];
        assert_eq!(post_from(address, &site.visitor(), "/login", &fields).await.status, 401);
    }
}

/// The first stranger on the way counts: what a client writes into the header itself is further left.
#[tokio::test]
async fn behind_a_proxy_the_rate_limit_counts_the_client_address_and_no_forged_header() {
    let site = throttled().await;
    let mut tries = 0;
    for n in 0..35 {
        let visitor = site.visitor();
        let request = visitor
            .form("/login")
            .extension(Peer("127.0.0.1:4000".parse().unwrap()))
            .header("x-forwarded-for", format!("10.0.0.{n}, 198.51.100.7"))
            .header("x-real-ip", format!("10.0.1.{n}"))
            .header("forwarded", format!("for=10.0.2.{n}"));
        let login = format!("person-{n}");
        let reply = visitor.send(request, encode(&[("login", &login), ("password", WRONG)])).await;
        tries += usize::from(reply.status == 401);
    }
    assert_eq!(tries, 30);

    // A peer that is no proxy of ours is taken for itself.
    let visitor = site.visitor();
    let request = visitor
        .form("/login")
        .extension(Peer("203.0.113.1:4000".parse().unwrap()))
        .header("x-forwarded-for", "198.51.100.7");
    let reply = visitor.send(request, encode(&[("login", "person"), ("password", WRONG)])).await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_restart_forgets_no_log_in_attempt() {
    let database: Database = database().await;
    let start = || {
        let mut site = TestSite::over(database.options(), "http://site.test");
        site.app.throttle = Throttle::new(true);
        site.router = social_post::routes::router(site.app.clone());
        site
    };
    let before = start();
    before.member("ada").await;
    for _ in 0..5 {
        assert_eq!(log_in(&before.visitor(), "ada", WRONG).await.status, 401);
    }
    let after = start();
    waits(&log_in(&after.visitor(), "ada", PASSWORD).await, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_concurrent_log_in_attempts_five_are_checked() {
    let site = throttled().await;
    site.member("ada").await;
    let tries: Vec<_> = (0..30)
        .map(|n| {
            let visitor = site.visitor();
            tokio::spawn(async move {
                let fields = [("login", "ada"), ("password", WRONG)];
                // Addresses in one /64.
                let address = format!("[2001:db8:1:1::{n}]");
                post_from(&address, &visitor, "/login", &fields).await.status.as_u16()
            })
        })
        .collect();
    let mut counts = BTreeMap::new();
    for done in tries {
        *counts.entry(done.await.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(401, 5), (429, 25)]));
}

#[tokio::test]
async fn the_rate_limit_allows_a_network_five_sign_ups_an_hour_and_keeps_what_was_typed() {
    let site = throttled().await;
    let sign_up = async |address: &str, n: usize| {
        let (name, email) = (format!("person{n}"), format!("person{n}@example.org"));
        let fields = [("username", name.as_str()), ("email", &email), ("password", PASSWORD)];
        post_from(address, &site.visitor(), "/signup", &fields).await
    };
    for n in 0..5 {
        // An invalid form costs nothing.
        let fields = [("username", "!"), ("email", "x"), ("password", "short")];
        assert_eq!(post_from("192.0.2.1", &site.visitor(), "/signup", &fields).await.status, 422);
        assert_eq!(sign_up("192.0.2.1", n).await.status, 303);
    }
    let reply = sign_up("192.0.2.1", 5).await;
    waits(&reply, 12 * 60);
    reply.has("value=\"person5\"").has("value=\"person5@example.org\"").lacks(PASSWORD);
    assert_eq!(site.count("select count(*) from users").await, 5);
    assert_eq!(sign_up("192.0.2.2", 6).await.status, 303);
}

#[tokio::test]
async fn the_rate_limit_stops_a_search_for_taken_names_and_addresses() {
    let site = throttled().await;
    site.member("ada").await;
    let mut looks = 0;
    for n in 0..40 {
        let (name, email) = (format!("ada{n}"), "ada@example.org");
        let fields = [("username", name.as_str()), ("email", email), ("password", PASSWORD)];
        let reply = post_from("192.0.2.1", &site.visitor(), "/signup", &fields).await;
        match reply.status.as_u16() {
            422 => looks += 1,
            _ => waits(&reply, 60),
        }
    }
    assert_eq!(looks, 30);
}

#[tokio::test]
async fn the_rate_limit_allows_an_address_three_links_an_hour_whether_or_not_it_has_an_account() {
    let office = PostOffice::open().await;
    let outgoing = office.outgoing();
    let site = TestSite::altered(|app| {
        app.throttle = Throttle::new(true);
        app.mailer = social_post::mail::Mailer::new(Some(&outgoing)).unwrap();
    })
    .await;
    site.member("ada").await;
    for email in ["ada@example.org", "nobody@example.org"] {
        for (n, spelling) in [email, &email.to_uppercase(), email].into_iter().enumerate() {
            let address = format!("192.0.2.{n}");
            let reply =
                post_from(&address, &site.visitor(), "/password/forgot", &[("email", spelling)])
                    .await;
            assert_eq!(reply.status, 303);
        }
        let reply =
            post_from("192.0.2.9", &site.visitor(), "/password/forgot", &[("email", email)]).await;
        waits(&reply, 20 * 60);
        reply.has(&format!("value=\"{email}\""));
    }
    office.letters(4).await;
}

#[tokio::test]
async fn rate_limits_can_be_switched_off() {
    let site = TestSite::new().await;
    site.member("ada").await;
    for _ in 0..8 {
        assert_eq!(log_in(&site.visitor(), "ada", WRONG).await.status, 401);
    }
    assert_eq!(site.count("select count(*) from password_tries").await, 0);
}

#[tokio::test]
async fn a_free_log_in_attempt_that_waits_for_another_to_be_counted_stays_free() {
    let site = throttled().await;
    assert_eq!(log_in(&site.visitor(), "nobody-here", WRONG).await.status, 401);
    let mut another = site.db.begin().await.unwrap();
    sqlx::query("select from password_tries for update").execute(&mut *another).await.unwrap();
    let visitor = site.visitor();
    let waiting = tokio::spawn(async move { log_in(&visitor, "nobody-here", WRONG).await });
    let is_waiting = "select count(*) from pg_stat_activity where datname = current_database() \
                      and wait_event_type = 'Lock'";
    while site.count(is_waiting).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sql = "update password_tries set tries = tries + 1, free_at = clock_timestamp()";
    sqlx::query(sql).execute(&mut *another).await.unwrap();
    another.commit().await.unwrap();
    assert_eq!(waiting.await.unwrap().status, 401);
}

/// The queue is full of the requests of many accounts, and more keep coming.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_attempt_that_a_busy_site_did_not_check_does_not_count() {
    let site = throttled().await;
    site.member("ada").await;
    let (is_over, is_full) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let crowd: Vec<_> = (0..160)
        .map(|n| {
            let account = Subject::Account(UserId(n));
            let passwords = site.app.passwords.clone();
            let (is_over, is_full) = (is_over.clone(), is_full.clone());
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    if passwords.verify(account, None, None, Vec::new()).await.is_err() {
                        is_full.store(true, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            })
        })
        .collect();
    while !is_full.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let hers: Vec<_> = (0..4)
        .map(|_| {
            let visitor = site.visitor();
            tokio::spawn(async move { log_in(&visitor, "ada", WRONG).await.status.as_u16() })
        })
        .collect();
    let (mut looked_at, mut turned_away) = (0, 0);
    for done in hers {
        match done.await.unwrap() {
            401 => looked_at += 1,
            503 => turned_away += 1,
            status => panic!("{status} to a try that was hers"),
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for done in crowd {
        done.await.unwrap();
    }
    assert!(turned_away > 0, "nobody was in her way");
    for _ in looked_at..5 {
        assert_eq!(log_in(&site.visitor(), "ada", WRONG).await.status, 401);
    }
    waits(&log_in(&site.visitor(), "ada", PASSWORD).await, 60);
}

/// The work that the program does, because the time it takes depends on what else the machine does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failed_log_in_costs_the_same_work_whatever_the_reason() {
    const ROUNDS: usize = 8;
    let database = database().await;
    let site = TestSite::over(database.options(), "http://site.test");
    for name in ["ada", "eve", "old"] {
        site.member(name).await;
    }
    let sql = "update users set suspended_at = now() where username = 'eve'";
    sqlx::query(sql).execute(&site.db).await.unwrap();
    // An account of the old app, whose hash takes another time than ours.
    let sql = "update users set password_hash = $1 where username = 'old'";
    let hash = bcrypt::hash(PASSWORD, 9).unwrap();
    sqlx::query(sql).bind(hash).execute(&site.db).await.unwrap();
    let settings = [("LISTEN_ADDR", "127.0.0.1:0"), ("RATE_LIMITS", "on")];
    let program = Program::start_with(&database.url, &settings).await;
    program.comes_to("/readyz", 200).await;
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.child.id())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    };

    let kinds = [("nobody", WRONG), ("ada", WRONG), ("eve", PASSWORD), ("old", WRONG)];
    let mut work = [0; 4];
    for round in 0..ROUNDS {
        sqlx::query("delete from password_tries").execute(&site.db).await.unwrap();
        for (kind, (login, password)) in kinds.into_iter().enumerate() {
            // Each from an address of its own, of which the program itself makes as little.
            let from = format!("X-Forwarded-For: 192.0.2.{}\r\nHost:", round * 4 + kind);
            let request = post("/login", "", &[("login", login), ("password", password)]);
            let before = ticks();
            let reply = program.ask(request.replace("Host:", &from)).await;
            work[kind] += ticks() - before;
            assert_eq!(reply.status, 401, "{login}");
        }
    }
    let mean = work.iter().sum::<u64>() / 4;
    assert!(
        work.iter().all(|work| work.abs_diff(mean) * 4 <= mean),
        "hundredths of a second: {work:?}"
    );
}

#[tokio::test]
async fn every_failed_log_in_runs_the_same_queries_whatever_the_reason() {
    let site = throttled().await;
    for name in ["ada", "eve"] {
        site.member(name).await;
    }
    let sql = "update users set suspended_at = now() where username = 'eve'";
    sqlx::query(sql).execute(&site.db).await.unwrap();
    statements::listen();
    let mut all = BTreeMap::new();
    for login in ["nobody", "nobody@example.org", "ada", "ada@example.org", "eve"] {
        let password = if login == "eve" { PASSWORD } else { WRONG };
        statements::heard();
        assert_eq!(log_in(&site.visitor(), login, password).await.status, 401);
        let heard = statements::heard();
        assert!(heard.len() >= 2, "{login}: {heard:?}");
        all.insert(login, heard);
    }
    assert!(all.values().all(|heard| *heard == all["ada"]), "{all:#?}");
}

/// The form and the API share one log-in: a client refused by one is refused by the other.
#[tokio::test]
async fn the_log_in_form_and_the_api_share_their_rate_limits() {
    let site = throttled().await;
    let device = site.member("ada").await.cookie("device").unwrap();
    let program = site.caller_of("ada").await;
    let stranger = site.visitor();
    let nobody = site.caller();
    let change = |password: &str| json!({ "current_password": password, "new_password": BETTER });

    assert_eq!(log_in(&stranger, "ada", WRONG).await.status, 401);
    assert_eq!(nobody.log_in("ADA", WRONG).await.status, 401);
    assert_eq!(log_in(&stranger, " Ada@Example.org", WRONG).await.status, 401);
    assert_eq!(nobody.log_in("ada@EXAMPLE.org ", WRONG).await.status, 401);
    assert_eq!(program.put("/users/me/password", &change(WRONG)).await.status, 422);

    // A device that is known by its cookie is known to pages alone.
    let known = site.caller();
    known.visitor.set_cookie("device", &device);
    for reply in [
        log_in(&stranger, "ada", PASSWORD).await,
        nobody.log_in("ada", PASSWORD).await,
        known.log_in("ada@example.org", PASSWORD).await,
        program.put("/users/me/password", &change(PASSWORD)).await,
        program
            .put("/users/me/email", &json!({ "current_password": PASSWORD, "email": "x@y.org" }))
            .await,
        program.post("/users/me/deletion", &json!({ "current_password": PASSWORD })).await,
    ] {
        waits(&reply, 60);
    }
    let reply = nobody.log_in("ada", PASSWORD).await;
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.header("www-authenticate"), "");
    later(&site).await;
    assert_eq!(nobody.log_in("ada", PASSWORD).await.status, 200, "after the wait");
    for n in 0..5 {
        let status = if n % 2 == 0 {
            log_in(&stranger, "ada", WRONG).await.status
        } else {
            nobody.log_in("ada", WRONG).await.status
        };
        assert_eq!(status, 401, "a right one forgives the wrong ones");
    }
    waits(&nobody.log_in("ada", PASSWORD).await, 60);

    // By network: thirty in all, over all accounts and both the form and the API.
    let mut tries = 0;
    for n in 0..40 {
        let name = format!("person-{n}");
        let reply = if n % 2 == 0 {
            log_in(&site.visitor().at_address("198.51.100.1"), &name, WRONG).await
        } else {
            site.caller().at_address("198.51.100.1").log_in(&name, WRONG).await
        };
        match reply.status.as_u16() {
            401 => tries += 1,
            _ => waits(&reply, 60),
        }
    }
    assert_eq!(tries, 30);
}

#[tokio::test]
async fn the_form_and_the_api_share_the_rate_limits_of_sign_ups_and_links() {
    let office = PostOffice::open().await;
    let outgoing = office.outgoing();
    let site = TestSite::altered(|app| {
        app.throttle = Throttle::new(true);
        app.mailer = social_post::mail::Mailer::new(Some(&outgoing)).unwrap();
    })
    .await;
    for n in 0..7 {
        let (name, email) = (format!("person{n}"), format!("person{n}@example.org"));
        let fields = [("username", name.as_str()), ("email", &email), ("password", PASSWORD)];
        let account = json!({ "username": name, "email": email, "password": PASSWORD });
        let reply = if n % 2 == 0 {
            site.caller().post("/users", &account).await
        } else {
            site.visitor().post("/signup", &fields).await
        };
        match n {
            0..5 => assert!([201, 303].contains(&reply.status.as_u16()), "{}", reply.body),
            _ => waits(&reply, 12 * 60),
        }
    }
    assert_eq!(site.count("select count(*) from users").await, 5);
    office.letters(5).await;
    for n in 0..5 {
        let email = if n % 3 == 0 { "person1@example.org" } else { "Person1@EXAMPLE.org" };
        let reply = if n % 2 == 0 {
            site.caller().post("/password/forgot", &json!({ "email": email })).await
        } else {
            site.visitor().post("/password/forgot", &[("email", email)]).await
        };
        match n {
            0..3 => assert!([202, 303].contains(&reply.status.as_u16()), "{}", reply.body),
            _ => waits(&reply, 20 * 60),
        }
    }
    office.letters(8).await;
}
