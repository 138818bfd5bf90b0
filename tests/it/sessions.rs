use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use social_post::{
    identity::UserId,
    users::{credentials::Authenticated, secret::Secret},
    web::throttle::Throttle,
};

use crate::{
    program::social_post,
    support::{PASSWORD, Reply, TestSite, Visitor, database, encode, oracle},
};

async fn log_in(visitor: &Visitor, name: &str) {
    let reply = visitor.post("/login", &[("login", name), ("password", PASSWORD)]).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
}

async fn is_logged_in(site: &TestSite, cookie: &str) -> bool {
    let request = site.visitor().request("GET".parse().unwrap(), "/").header("cookie", cookie);
    site.visitor().send(request, "").await.body.contains("action=\"/logout\"")
}

/// One that costs next to nothing, so that there is time for many rounds.
fn weak_hash() -> String {
    hash(8, 1)
}

/// A hash that is never rehashed.
fn strong_hash() -> String {
    hash(19_456, 2)
}

fn hash(memory: u32, passes: u32) -> String {
    let params = Params::new(memory, passes, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(PASSWORD.as_bytes()).unwrap().to_string()
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_this_host_and_over_http_it_has_another_name() {
    let site = TestSite::at("https://site.test").await;
    let ada = site.member("ada").await;
    let reply = ada.post("/login", &[("login", "ada"), ("password", PASSWORD)]).await;
    let cookie = reply.cookies().into_iter().find(|cookie| cookie.contains("sid")).unwrap();
    let id = ada.cookie("__Host-sid").unwrap();
    let mut parts: Vec<_> = cookie.split("; ").collect();
    parts.sort_unstable();
    let name_and_value = format!("__Host-sid={id}");
    let age = format!("Max-Age={}", 90 * 24 * 3600);
    assert_eq!(parts, ["HttpOnly", &age, "Path=/", "SameSite=Lax", "Secure", &name_and_value]);
    assert_eq!(id.len(), 22, "128 bits");
    assert!(is_logged_in(&site, &format!("__Host-sid={id}")).await);
    assert!(!is_logged_in(&site, &format!("sid={id}")).await);

    let plain = TestSite::new().await;
    let bob = plain.member("bob").await;
    assert!(bob.cookie("sid").is_some() && bob.cookie("__Host-sid").is_none());
}

#[tokio::test]
async fn only_a_cookie_with_the_exact_name_authenticates() {
    let site = TestSite::at("https://site.test").await;
    let ada = site.member("ada").await;
    let id = ada.cookie("__Host-sid").unwrap();
    let other = site.member("bob").await.cookie("__Host-sid").unwrap();

    let spaces = "\t\u{85}\u{a0}\u{1680}\u{180e}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\
                  \u{2007}\u{2008}\u{2009}\u{200a}\u{200b}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";
    let mut lookalikes: Vec<String> =
        ["%5F_Host-sid", "__%48ost-sid", "%5f%5fHost%2dsid", "__Host-sid%20"]
            .into_iter()
            .chain([
                "=__Host-sid",
                "__host-sid",
                "__HOST-SID",
                "__Host-sid[]",
                "$Version=1,__Host-sid",
                "\"__Host-sid\"",
            ])
            .map(str::to_owned)
            .collect();
    for space in spaces.chars() {
        lookalikes.extend([format!("{space}__Host-sid"), format!("__Host-sid{space}")]);
    }
    let mut refused = vec![
        format!("__Host-sid=\"{id}\""),
        format!("__Host-sid={id}; __Host-sid={other}"),
        format!("__Host-sid={other}; __Host-sid={id}"),
        format!("__Host-sid={id}; __Host-sid={id}"),
        format!("__Host-sid={id}; __Host-sid="),
        format!("__Host-sid={id}, other=x"),
        format!("__Host-sid={id} "),
        format!("__Host-sid= {id}"),
        format!("__Host-sid={}", id.replace('A', "%41") + "%20"),
        format!("sid={id}"),
        id.clone(),
    ];
    refused.extend(lookalikes.iter().map(|name| format!("{name}={id}")));
    for cookie in &refused {
        assert!(!is_logged_in(&site, cookie).await, "{cookie:?}");
    }
    // Nor does a planted cookie block or replace the real one.
    let mut accepted = vec![format!("__Host-sid={id}"), format!("a=b;__Host-sid={id};;c")];
    for name in &lookalikes {
        accepted.push(format!("{name}={other}; __Host-sid={id}"));
        accepted.push(format!("__Host-sid={id}; {name}={other}"));
    }
    for cookie in &accepted {
        let request = site.visitor().request("GET".parse().unwrap(), "/").header("cookie", cookie);
        site.visitor().send(request, "").await.has("Logged in as <b>ada</b>");
    }
    let request = site.visitor().request("GET".parse().unwrap(), "/");
    let twice = request
        .header("cookie", format!("__Host-sid={id}"))
        .header("cookie", format!("__Host-sid={other}"));
    site.visitor().send(twice, "").await.lacks("action=\"/logout\"");
}

#[tokio::test]
async fn a_log_in_makes_a_new_session_id_and_ends_the_old_session_even_of_another_member() {
    let site = TestSite::new().await;
    site.member("bob").await;
    let visitor = site.member("ada").await;
    let mut seen = vec![visitor.cookie("sid").unwrap()];
    for name in ["ada", "bob", "ada"] {
        log_in(&visitor, name).await;
        let now = visitor.cookie("sid").unwrap();
        assert!(!seen.contains(&now));
        for old in &seen {
            assert!(!is_logged_in(&site, &format!("sid={old}")).await);
        }
        assert!(is_logged_in(&site, &format!("sid={now}")).await);
        seen.push(now);
    }
}

#[tokio::test]
async fn an_invented_session_id_is_never_adopted_and_leaves_nothing() {
    let site = TestSite::new().await;
    site.member("ada").await;
    let before = site.count("select count(*) from tower_sessions.session").await;
    let invented = "AAAAAAAAAAAAAAAAAAAAAA";
    let visitor = site.visitor();
    visitor.set_cookie("sid", invented);
    for path in ["/", "/users", "/login"] {
        assert_eq!(visitor.get(path).await.cookies(), [""; 0]);
    }
    assert_eq!(site.count("select count(*) from tower_sessions.session").await, before);
    log_in(&visitor, "ada").await;
    assert_ne!(visitor.cookie("sid").unwrap(), invented);
    assert!(!is_logged_in(&site, &format!("sid={invented}")).await);
}

#[tokio::test]
async fn a_log_out_ends_the_session_on_the_server_and_in_the_browser() {
    let site = TestSite::at("https://site.test").await;
    let ada = site.member("ada").await;
    let id = ada.cookie("__Host-sid").unwrap();

    let reply = ada.post("/logout", &[]).await;

    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/"));
    let cookie = reply.cookies().join("\n");
    assert!(
        cookie.contains("__Host-sid=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    assert_eq!(
        reply.header("clear-site-data"),
        "\"storage\"",
        "cookies would be those of other sites too"
    );
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(!is_logged_in(&site, &format!("__Host-sid={id}")).await);
    assert_eq!(site.count("select count(*) from tower_sessions.session").await, 0);
    assert_eq!(ada.get("/logout").await.status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_does_not_bring_a_session_back() {
    let site = TestSite::new().await;
    let post = site.post_by("cy", "Hello").await;
    site.member("ada").await;
    let weak = weak_hash();
    sqlx::query("delete from tower_sessions.session").execute(&site.db).await.unwrap();
    for round in 0..200 {
        sqlx::query("update users set password_hash = $1 where username = 'ada'")
            .bind(&weak)
            .execute(&site.db)
            .await
            .unwrap();
        let visitor = site.visitor();
        log_in(&visitor, "ada").await;
        let id = visitor.cookie("sid").unwrap();
        // The visit is to be noted as well.
        sqlx::query("update user_sessions set last_seen_at = now() - interval '10 minutes'")
            .execute(&site.db)
            .await
            .unwrap();
        let slow = tokio::spawn(async move {
            let login = [("login", "ada"), ("password", PASSWORD)];
            match round % 4 {
                0 => visitor.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await,
                1 => visitor.get("/").await,
                2 => visitor.post("/login", &login).await,
                _ => visitor.post("/posts", &[("title", "Late")]).await,
            }
        });
        tokio::time::sleep(Duration::from_micros(round * 40)).await;
        let request = site.visitor().form("/logout").header("cookie", format!("sid={id}"));
        let out = site.visitor().send(request, "").await;
        let again = slow.await.unwrap();
        // A new log-in in the meantime has another session, and this one has ended.
        assert!(out.status == 303 || round % 4 == 2 && out.status == 401, "{}", out.status);
        assert!(!is_logged_in(&site, &format!("sid={id}")).await, "round {round}");
        let alive = site.count("select count(*) from user_sessions").await;
        assert_eq!(alive, i64::from(round % 4 == 2 && again.status == 303), "round {round}");
        sqlx::query("delete from tower_sessions.session").execute(&site.db).await.unwrap();
    }
}

/// A browser logged in as `user`, without the time that a password takes.
async fn logged_in(site: &TestSite, user: i64) -> Visitor {
    let id = tower_sessions::session::Id::default();
    let key = social_post::users::sessions::key(id);
    let sql = "insert into tower_sessions.session values ($1, '', now() + interval '1 day')";
    sqlx::query(sql).bind(&key).execute(&site.db).await.unwrap();
    let sql = "insert into user_sessions (session_id, user_id, user_agent, last_seen_at) \
               values ($1, $2, '', now() - interval '10 minutes')";
    sqlx::query(sql).bind(&key).bind(user).execute(&site.db).await.unwrap();
    let visitor = site.visitor();
    visitor.set_cookie("sid", &id.to_string());
    visitor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_revoked_elsewhere_stays_ended_while_it_is_in_use() {
    let site = TestSite::new().await;
    let post = site.post_by("cy", "Hello").await;
    for round in 0..32 {
        let user: i64 = sqlx::query_scalar(
            "insert into users (username, password_hash) values ($1, $2) returning id",
        )
        .bind(format!("person{round}"))
        .bind(weak_hash())
        .fetch_one(&site.db)
        .await
        .unwrap();
        let (owner, lost) = (logged_in(&site, user).await, logged_in(&site, user).await);
        let (cookie, lost) = (lost.cookie_header(), Arc::new(lost));
        let is_over = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..3)
            .map(|n| {
                let (lost, is_over) = (lost.clone(), is_over.clone());
                tokio::spawn(async move {
                    while !is_over.load(Ordering::Relaxed) {
                        let reply = match n {
                            0 => lost.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await,
                            1 => lost.get("/settings/sessions").await,
                            _ => lost.post("/posts", &[("title", "Late")]).await,
                        };
                        assert!(reply.status.as_u16() < 500, "{} {}", reply.status, reply.body);
                    }
                })
            })
            .collect();
        let current = ("current_password", PASSWORD);
        let (ended, left) = match round % 4 {
            0 => {
                let fields = [current, ("new_password", "marble otter 7 lantern")];
                (owner.post("/settings/password", &fields).await, 1)
            }
            1 => (owner.post("/settings/sessions/revoke", &[("others", "true")]).await, 1),
            2 => (owner.post("/settings/delete-account", &[current]).await, 0),
            _ => (reset_by_link(&site, user).await, 0),
        };
        assert_eq!(ended.status, 303, "round {round}: {}", ended.body);
        assert!(!is_logged_in(&site, &cookie).await, "round {round}");
        is_over.store(true, Ordering::Relaxed);
        for task in busy {
            task.await.unwrap();
        }
        assert!(!is_logged_in(&site, &cookie).await, "round {round}");
        assert_eq!(site.count("select count(*) from user_sessions").await, left, "round {round}");
        let kept = site.count("select count(*) from tower_sessions.session").await;
        assert_eq!(kept, left, "round {round}");
        sqlx::query("delete from tower_sessions.session").execute(&site.db).await.unwrap();
    }
}

/// A new password through a link that needs no mail to get here.
async fn reset_by_link(site: &TestSite, user: i64) -> Reply {
    let secret = Secret::new();
    sqlx::query("insert into mailed_links (user_id, purpose, key) values ($1, 'password', $2)")
        .bind(user)
        .bind(secret.key())
        .execute(&site.db)
        .await
        .unwrap();
    let path = format!("/password/reset/{}", secret.reveal());
    site.visitor().post(&path, &[("new_password", "marble otter 7 lantern")]).await
}

/// A log-in with the old password that was in progress during the change leaves no session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_begun_before_all_sessions_ended_starts_none() {
    let database = database().await;
    let mut site = TestSite::over(database.options(), "http://site.test");
    site.app.throttle = Throttle::new(true);
    site.router = social_post::routes::router(site.app.clone());
    site.db = database.pool.clone();
    site.member("ada").await;
    // Stops a log-in after its password was checked, until this test releases it.
    for sql in [
        "create function wait_here() returns trigger language plpgsql as \
         $$ begin perform pg_advisory_lock(1), pg_advisory_unlock(1); return new; end $$",
        "create trigger wait_here before insert on tower_sessions.session for each row execute function wait_here()",
    ] {
        sqlx::query(sql).execute(&site.db).await.unwrap();
    }
    let settings = [("DATABASE_URL", database.url.as_str())];
    let command = |name: &str| {
        let output = social_post(&["user", name, "ada"], &settings);
        assert!(output.status.success(), "{output:?}");
    };
    for ending in ["a link", "reset-password", "suspend"] {
        let sql = "update users set password_hash = $1";
        sqlx::query(sql).bind(strong_hash()).execute(&site.db).await.unwrap();
        sqlx::query("delete from tower_sessions.session").execute(&site.db).await.unwrap();
        let mut authenticator = site.db.acquire().await.unwrap();
        sqlx::query("select pg_advisory_lock(1)").execute(&mut *authenticator).await.unwrap();
        let visitor = Arc::new(site.visitor());
        let log_in = tokio::spawn({
            let visitor = visitor.clone();
            async move { visitor.post("/login", &[("login", "ada"), ("password", PASSWORD)]).await }
        });
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted \
                       and database = (select oid from pg_database where datname = current_database())";
        while site.count(waiting).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        match ending {
            "a link" => assert_eq!(reset_by_link(&site, 1).await.status, 303),
            "suspend" => {
                command("suspend");
                command("restore");
            }
            other => command(other),
        }
        sqlx::query("select pg_advisory_unlock(1)").execute(&mut *authenticator).await.unwrap();

        let reply = log_in.await.unwrap();
        site.app.limits.running.close();
        site.app.limits.running.wait().await;
        site.app.limits.running.reopen();
        // Told to come back where the machine was too slow for one request.
        assert!(matches!(reply.status.as_u16(), 401 | 503), "{ending}: {}", reply.status);
        assert_eq!(visitor.get("/settings").await.status, 303, "{ending}: it is in");
        assert_eq!(site.count("select count(*) from user_sessions").await, 0, "{ending}");
        assert_eq!(site.count("select count(*) from tower_sessions.session").await, 0, "{ending}");
    }
}

#[tokio::test]
async fn the_database_stores_only_hashes_of_session_ids() {
    let site = TestSite::new().await;
    let id = site.member("ada").await.cookie("sid").unwrap();
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("select id, data from tower_sessions.session")
            .fetch_all(&site.db)
            .await
            .unwrap();
    assert_eq!(rows.len(), 1);
    let raw: tower_sessions::session::Id = id.parse().unwrap();
    for (key, data) in rows {
        assert_ne!(key, id);
        assert!(!data.windows(22).any(|part| part == id.as_bytes()));
        for bytes in [raw.0.to_le_bytes(), raw.0.to_be_bytes()] {
            assert!(!data.windows(16).any(|part| part == bytes));
        }
    }
}

#[tokio::test]
async fn sessions_expire_idle_or_absolute_by_the_database_clock() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let cookie = ada.cookie_header();
    let shift = async |column: &str, by: &str| {
        let sql = format!("update user_sessions set {column} = now() - interval '{by}'");
        sqlx::query(&sql).execute(&site.db).await.unwrap();
    };

    shift("last_seen_at", "29 days 23:59:50").await;
    assert!(is_logged_in(&site, &cookie).await);
    let seen =
        "select count(*) from user_sessions where last_seen_at > now() - interval '1 minute'";
    assert_eq!(site.count(seen).await, 1, "the visit is noted");
    shift("last_seen_at", "30 days 00:00:01").await;
    assert!(!is_logged_in(&site, &cookie).await);
    shift("last_seen_at", "1 minute").await;
    assert!(is_logged_in(&site, &cookie).await);
    assert_eq!(site.count(seen).await, 0, "and not at every request");
    shift("created_at", "90 days 00:00:01").await;
    assert!(!is_logged_in(&site, &cookie).await);

    shift("last_seen_at", "31 days").await;
    assert_eq!(social_post::users::sessions::db::sweep(&site.db, &site.app.site).await.unwrap(), 1);
    assert_eq!(site.count("select count(*) from user_sessions").await, 0);
}

#[tokio::test]
async fn a_suspension_counts_at_the_next_request() {
    let site = TestSite::new().await;
    let cookie = site.member("ada").await.cookie_header();
    assert!(is_logged_in(&site, &cookie).await);
    sqlx::query("update users set suspended_at = now()").execute(&site.db).await.unwrap();
    assert!(!is_logged_in(&site, &cookie).await);
}

#[tokio::test]
async fn a_member_has_at_most_twenty_sessions_and_the_oldest_ends() {
    let site = TestSite::new().await;
    let first = site.member("ada").await.cookie_header();
    let mut last = String::new();
    for _ in 0..22 {
        let visitor = site.visitor();
        log_in(&visitor, "ada").await;
        last = visitor.cookie_header();
    }
    assert_eq!(site.count("select count(*) from user_sessions").await, 20);
    assert!(!is_logged_in(&site, &first).await);
    assert!(is_logged_in(&site, &last).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_log_ins_make_no_more_than_twenty_sessions() {
    let site = TestSite::new().await;
    site.member("ada").await;
    for _ in 0..10 {
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..30 {
            let db = site.db.clone();
            opening.spawn(async move {
                let id = tower_sessions::session::Id::default();
                let key = social_post::users::sessions::key(id);
                sqlx::query(
                    "insert into tower_sessions.session values ($1, '', now() + interval '1 day')",
                )
                .bind(&key)
                .execute(&db)
                .await
                .unwrap();
                let ada = Authenticated { user: UserId(1), epoch: 0 };
                assert!(social_post::users::sessions::db::open(&db, &key, ada, "").await.unwrap());
            });
        }
        opening.join_all().await;
        assert_eq!(site.count("select count(*) from user_sessions").await, 20);
        assert_eq!(site.count("select count(*) from tower_sessions.session").await, 20);
    }
}

#[tokio::test]
async fn unreadable_session_data_is_no_session_and_no_error() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    sqlx::query("update tower_sessions.session set data = 'rubbish'")
        .execute(&site.db)
        .await
        .unwrap();
    assert_eq!(ada.get("/").await.status, 200);
    log_in(&ada, "ada").await;
    ada.get("/").await.has("action=\"/logout\"");
}

#[tokio::test]
async fn csrf_a_form_from_another_site_is_refused() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let cookie = ada.cookie_header();
    let own = "http://site.test";
    // Fetch metadata, origin, with a session: is it let in?
    let table: &[(&[&str], &[&str], bool, bool)] = &[
        (&["same-origin"], &[own], true, true),
        (&["same-origin"], &[], true, true),
        (&["none"], &[], true, true),
        (&["none"], &["https://evil.test"], true, false),
        (&["same-site"], &[own], true, false),
        (&["cross-site"], &[own], true, false),
        (&["cross-site"], &["https://evil.test"], false, false),
        (&["SAME-ORIGIN"], &[own], true, false),
        (&["same-origin", "cross-site"], &[own], true, false),
        (&[], &[own], true, true),
        (&[], &["null"], true, false),
        (&[], &["null"], false, false),
        (&[], &["https://site.test"], true, false),
        (&[], &["http://site.test:80"], true, false),
        (&[], &["http://site.test:8080"], true, false),
        (&[], &["http://site.test.evil.test"], true, false),
        (&[], &["http://site.test@evil.test"], true, false),
        (&[], &["http://SITE.test"], true, false),
        (&[], &[own, own], true, false),
        (&[""], &[own], true, false),
        (&["same-origin, cross-site"], &[own], true, false),
        (&["none"], &[own], true, true),
        (&["none"], &["null"], true, false),
        (&["none"], &[own, "https://evil.test"], true, false),
        (&["cross-site"], &[], false, false),
        (&["same-site"], &[], false, false),
        (&["weird"], &[], false, false),
        (&[], &["https://host@evil.test"], true, false),
        (&[], &["https://evil.test"], false, false),
        (&[], &["http://site.test/"], true, false),
        (&[], &["http://site.test "], true, false),
        (&[], &["http://www.site.test"], true, false),
        (&[], &["http://site.test."], true, false),
        (&[], &["http://127.0.0.1"], true, false),
        (&[], &[""], true, false),
        (&[], &[], true, false),
        (&[], &[], false, true),
    ];
    for (fetch_site, origins, has_session, is_let_in) in table {
        let mut request = site
            .visitor()
            .request("POST".parse().unwrap(), "/login")
            .header("content-type", "application/x-www-form-urlencoded");
        for value in *fetch_site {
            request = request.header("sec-fetch-site", *value);
        }
        for value in *origins {
            request = request.header("origin", *value);
        }
        if *has_session {
            request = request.header("cookie", &cookie);
        }
        let body = encode(&[("login", "ada"), ("password", "wrong password")]);
        let reply = site.visitor().send(request, body).await;
        let expected = if *is_let_in { 401 } else { 403 };
        assert_eq!(reply.status, expected, "{fetch_site:?} {origins:?} {has_session}");
        if !is_let_in {
            reply.has("The address of this site is http://site.test").lacks("do that");
        }
    }

    // The method makes no difference, but for those that only look.
    for (method, status) in [
        ("POST", 403),
        ("PUT", 403),
        ("PATCH", 403),
        ("DELETE", 403),
        ("FOO", 403),
        ("GET", 200),
        ("HEAD", 200),
        ("OPTIONS", 405),
    ] {
        let request = site
            .visitor()
            .request(method.parse().unwrap(), "/users/ada")
            .header("sec-fetch-site", "cross-site")
            .header("origin", "https://evil.test");
        let reply = site.visitor().send(request, "").await;
        assert_eq!(reply.status, status, "{method}");
    }
}

/// The library saves it after the handler.
#[tokio::test]
async fn a_session_that_cannot_be_saved_after_the_handler_is_a_503_and_no_500() {
    let site = TestSite::new().await;
    site.member("ada").await;
    // The handler saves a new row, and the library the same row again.
    let fails = "create function fail() returns trigger language plpgsql as \
                 $$ begin raise exception 'gone' using errcode = '57P01'; end $$; \
                 create trigger fails before update on tower_sessions.session \
                 for each row execute function fail()";
    sqlx::raw_sql(fails).execute(&site.db).await.unwrap();
    let visitor = site.visitor();
    let reply = visitor.post("/login", &[("login", "ada"), ("password", PASSWORD)]).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "2"), "{}", reply.body);
    oracle::check(&reply, "a session that was not saved", &[PASSWORD]);
}
