use crate::support::{PASSWORD, TestSite, Visitor, encode};

async fn log_in(visitor: &Visitor, name: &str) {
    let reply = visitor.post("/login", &[("login", name), ("password", PASSWORD)]).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
}

async fn is_logged_in(site: &TestSite, cookie: &str) -> bool {
    let request = site.visitor().request("GET".parse().unwrap(), "/").header("cookie", cookie);
    site.visitor().send(request, "").await.body.contains("action=\"/logout\"")
}

#[tokio::test]
async fn over_https_the_cookie_is_bound_to_this_host_and_over_http_it_has_another_name() {
    let site = TestSite::at("https://site.test").await;
    let ada = site.member("ada").await;
    let reply = ada.post("/login", &[("login", "ada"), ("password", PASSWORD)]).await;
    let cookie = reply.cookies().into_iter().find(|cookie| cookie.contains("sid")).unwrap();
    assert!(cookie.starts_with("__Host-sid="), "{cookie}");
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age="] {
        assert!(cookie.contains(attribute), "{attribute} in {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let id = ada.cookie("__Host-sid").unwrap();
    assert!(is_logged_in(&site, &format!("__Host-sid={id}")).await);
    assert!(!is_logged_in(&site, &format!("sid={id}")).await);

    let plain = TestSite::new().await;
    let bob = plain.member("bob").await;
    assert!(bob.cookie("sid").is_some() && bob.cookie("__Host-sid").is_none());
}

#[tokio::test]
async fn only_the_exact_name_authenticates() {
    let site = TestSite::at("https://site.test").await;
    let ada = site.member("ada").await;
    let id = ada.cookie("__Host-sid").unwrap();
    let other = site.member("bob").await.cookie("__Host-sid").unwrap();

    for cookie in [
        format!("%5F_Host-sid={id}"),
        format!("__%48ost-sid={id}"),
        format!("\u{a0}__Host-sid={id}"),
        format!("\u{2003}__Host-sid={id}"),
        format!("\t__Host-sid={id}"),
        format!("__Host-sid\t={id}"),
        format!("=__Host-sid={id}"),
        format!("__host-sid={id}"),
        format!("__Host-sid=\"{id}\""),
        format!("__Host-sid={id}; __Host-sid={other}"),
        format!("__Host-sid={other}; __Host-sid={id}"),
    ] {
        assert!(!is_logged_in(&site, &cookie).await, "{cookie:?}");
    }
    for cookie in
        [format!("__Host-sid={id}"), format!("a=b; __Host-sid={id}; %5F_Host-sid={other}")]
    {
        assert!(is_logged_in(&site, &cookie).await, "{cookie:?}");
    }
    let request = site.visitor().request("GET".parse().unwrap(), "/");
    let twice = request
        .header("cookie", format!("__Host-sid={id}"))
        .header("cookie", format!("__Host-sid={other}"));
    site.visitor().send(twice, "").await.lacks("action=\"/logout\"");
}

#[tokio::test]
async fn logging_in_makes_a_new_id_and_kills_the_old_one_even_another_persons() {
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
async fn an_invented_id_is_never_adopted_and_leaves_nothing() {
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
async fn logging_out_ends_the_session_on_the_server_and_in_the_browser() {
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
    for round in 0..30 {
        let visitor = std::sync::Arc::new(site.visitor());
        log_in(&visitor, "ada").await;
        let id = visitor.cookie("sid").unwrap();
        let slow = tokio::spawn({
            let visitor = visitor.clone();
            async move {
                let path = format!("/posts/{post}/vote");
                visitor.post(&path, &[("value", if round % 2 == 0 { "1" } else { "0" })]).await
            }
        });
        tokio::time::sleep(std::time::Duration::from_micros(round * 150)).await;
        let request = site.visitor().form("/logout").header("cookie", format!("sid={id}"));
        assert_eq!(site.visitor().send(request, "").await.status, 303);
        slow.await.unwrap();
        assert!(!is_logged_in(&site, &format!("sid={id}")).await, "round {round}");
    }
}

#[tokio::test]
async fn the_database_holds_no_id_that_a_browser_holds() {
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
async fn the_databases_clock_ends_sessions_idle_or_old() {
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
async fn a_person_has_at_most_twenty_sessions_and_the_oldest_goes() {
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

#[tokio::test]
async fn data_nobody_can_read_is_no_session_and_no_error() {
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
async fn a_form_counts_only_from_a_page_of_this_site() {
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
            reply.has("The address of this site is http://site.test").lacks("not yours");
        }
    }
}
