//! What one may do with one's own account, and what nobody else may.

use serde_json::Value;

use crate::support::{PASSWORD, Reply, TestSite, Visitor};

const BETTER: &str = "marble otter 7 lantern";

async fn log_in(site: &TestSite, name: &str, password: &str) -> Visitor {
    let visitor = site.visitor();
    let reply = visitor.post("/login", &[("login", name), ("password", password)]).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    visitor
}

async fn is_in(visitor: &Visitor) -> bool {
    match visitor.get("/settings").await {
        Reply { status, .. } if status == 200 => true,
        reply => {
            assert_eq!((reply.status.as_u16(), reply.location()), (303, "/login?next=/settings"));
            false
        }
    }
}

async fn fits(site: &TestSite, name: &str, password: &str) -> bool {
    let reply = site.visitor().post("/login", &[("login", name), ("password", password)]).await;
    assert!(matches!(reply.status.as_u16(), 303 | 401), "{} {}", reply.status, reply.body);
    reply.status == 303
}

/// What the page says to who comes back to it.
async fn told(visitor: &Visitor, reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{}", reply.body);
    let page = visitor.get(reply.location()).await;
    let (_, rest) = page.body.split_once("role=\"status\"").expect("a flash message");
    rest.split_once("<p>").unwrap().1.split_once("</p>").unwrap().0.to_owned()
}

#[tokio::test]
async fn a_password_change_needs_the_current_password_and_a_good_new_one() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let change = async |current: &str, new: &str| {
        ada.post("/settings/password", &[("current_password", current), ("new_password", new)])
            .await
    };

    for (current, new, field) in [
        ("wrong password here", BETTER, "current_password"),
        ("", BETTER, "current_password"),
        (PASSWORD, "short", "new_password"),
        (PASSWORD, "", "new_password"),
        (PASSWORD, "ada@example.org", "new_password"),
        (PASSWORD, "passwordpassword", "new_password"),
    ] {
        let reply = change(current, new).await;
        assert_eq!(reply.status, 422);
        assert!(reply.problem(field).is_some(), "{field}: {}", reply.body);
        reply.lacks(BETTER).lacks("value=\"passwordpassword");
    }
    assert!(fits(&site, "ada", PASSWORD).await, "nothing changed");

    let before = ada.cookie("sid").unwrap();
    assert_eq!(
        told(&ada, &change(PASSWORD, BETTER).await).await,
        "Your password is changed. You are logged out everywhere else."
    );
    assert_ne!(ada.cookie("sid").unwrap(), before, "the session has a new id");
    assert!(is_in(&ada).await);
    assert!(!fits(&site, "ada", PASSWORD).await);
    assert!(fits(&site, "ada", BETTER).await);
}

#[tokio::test]
async fn a_password_change_ends_all_other_sessions_and_renews_the_id_of_this_one() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let elsewhere = log_in(&site, "ada", PASSWORD).await;
    let bob = site.member("bob").await;
    let old_self = site.visitor();
    old_self.set_cookie("sid", &ada.cookie("sid").unwrap());

    let fields = [("current_password", PASSWORD), ("new_password", BETTER)];
    assert_eq!(ada.post("/settings/password", &fields).await.status, 303);

    assert!(is_in(&ada).await && is_in(&bob).await);
    assert!(!is_in(&elsewhere).await && !is_in(&old_self).await);
    assert_eq!(site.count("select auth_epoch::int8 from users where username = 'ada'").await, 1);
    assert_eq!(site.count("select count(*) from user_sessions").await, 2);
}

#[tokio::test]
async fn without_mail_an_email_change_counts_at_once_and_the_address_is_unique() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    site.member("bob").await;
    let change = async |current: &str, email: &str| {
        ada.post("/settings/email", &[("current_password", current), ("email", email)]).await
    };

    for (current, email, field) in [
        ("wrong password here", "new@example.org", "current_password"),
        (PASSWORD, "not an address", "email"),
        (PASSWORD, "a@example.org\r\nBcc: b@example.org", "email"),
        (PASSWORD, "", "email"),
        (PASSWORD, "BOB@example.org", "email"),
    ] {
        let reply = change(current, email).await;
        assert_eq!(reply.status, 422, "{email}");
        assert!(reply.problem(field).is_some(), "{field}: {}", reply.body);
    }
    change("wrong password here", "typed@example.org").await.has("value=\"typed@example.org\"");
    assert!(fits(&site, "ada@example.org", PASSWORD).await, "nothing changed");

    let reply = change(PASSWORD, "Countess@example.org").await;
    assert_eq!(told(&ada, &reply).await, "Your e-mail address is changed.");
    ada.get("/settings").await.has("Countess@example.org");
    assert!(fits(&site, "countess@EXAMPLE.org", PASSWORD).await);
    assert!(!fits(&site, "ada@example.org", PASSWORD).await);
}

/// The handles on the page, this device's first.
fn handles(page: &Reply) -> Vec<String> {
    let parts = page.body.split("name=\"session\" value=\"").skip(1);
    parts.map(|part| part.split_once('"').unwrap().0.to_owned()).collect()
}

#[tokio::test]
async fn a_member_lists_their_sessions_and_ends_one_or_all_others() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let bob = site.member("bob").await;
    let browsers = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
        "<svg/onload=alert(1)>\u{e9}",
    ];
    let mut others = Vec::new();
    for browser in browsers {
        let other = site.visitor();
        let request = other.form("/login").header("user-agent", browser.as_bytes());
        let body = crate::support::encode(&[("login", "ada"), ("password", PASSWORD)]);
        assert_eq!(other.send(request, body).await.status, 303);
        others.push(other);
    }

    let page = ada.get("/settings/sessions").await;
    assert_eq!(page.header("cache-control"), "no-store");
    page.has("Firefox on Windows")
        .has("Safari on iPhone")
        .has("An unknown browser")
        .lacks("<svg/onload");
    let handles = handles(&page);
    assert_eq!(handles.len(), 4);
    assert_eq!(page.body.matches("This device").count(), 1);
    assert!(page.body.find("This device") < page.body.find("Firefox on Windows"), "first");

    let missing = bob.post("/settings/sessions/revoke", &[("session", "x")]).await;
    for handle in [handles[1].as_str(), "00000000-0000-0000-0000-000000000000", "x", ""] {
        let reply = bob.post("/settings/sessions/revoke", &[("session", handle)]).await;
        assert_eq!(reply.status, 404, "{handle} is not Bob's");
        assert_eq!(reply.body, missing.body, "{handle} looks like none at all");
    }
    for fields in
        [vec![], vec![("others", "false")], vec![("others", "true"), ("session", &handles[1])]]
    {
        assert_eq!(ada.post("/settings/sessions/revoke", &fields).await.status, 422, "{fields:?}");
    }
    assert!(is_in(&others[0]).await && is_in(&others[1]).await && is_in(&others[2]).await);

    // The latest seen first: the one that logged in last.
    let reply = ada.post("/settings/sessions/revoke", &[("session", &handles[1])]).await;
    assert_eq!(told(&ada, &reply).await, "That device is logged out.");
    assert_eq!(
        ada.post("/settings/sessions/revoke", &[("session", &handles[1])]).await.status,
        404,
        "it is gone"
    );
    let mut left = 0;
    for other in &others {
        left += usize::from(is_in(other).await);
    }
    assert_eq!(left, 2);

    let part = ada.post_part("/settings/sessions/revoke", &[("others", "true")]).await;
    assert_eq!(part.status, 200);
    part.has("This device").lacks("Firefox").lacks("<html").lacks("everywhere else");
    for other in &others {
        assert!(!is_in(other).await);
    }
    assert!(is_in(&ada).await && is_in(&bob).await);
    assert_eq!(site.count("select auth_epoch::int8 from users where username = 'ada'").await, 1);

    let reply = ada.post("/settings/sessions/revoke", &[("session", &handles[0])]).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/"));
    assert!(ada.cookie("sid").is_none(), "to end this session is to log out");
    assert!(!is_in(&ada).await);
}

#[tokio::test]
async fn a_session_handle_is_random_and_does_not_reveal_the_session_id() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let handle = async || handles(&ada.get("/settings/sessions").await).remove(0);
    let first = handle().await;
    let uuid: uuid::Uuid = first.parse().unwrap();
    assert_eq!(uuid.get_version(), Some(uuid::Version::Random), "{first}");
    // The same session, put in once more.
    sqlx::query("delete from user_sessions").execute(&site.db).await.unwrap();
    let sql = "insert into user_sessions (session_id, user_id, user_agent) \
               select id, 1, '' from tower_sessions.session";
    sqlx::query(sql).execute(&site.db).await.unwrap();
    assert_ne!(handle().await, first);
}

#[tokio::test]
async fn an_account_export_is_one_document_with_nothing_of_other_members() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    site.member("bob").await;
    let fields =
        [("title", "Mine \"quoted\" é"), ("url", "https://a.test/"), ("body", "*text*\n\tx")];
    let mine = ada.post("/posts", &fields).await.location().to_owned();
    let theirs = site.post_by("bob", "Theirs").await;
    ada.post(&format!("{mine}/vote"), &[("value", "1")]).await;
    ada.post(&format!("/posts/{theirs}/vote"), &[("value", "1")]).await;

    let reply = ada.get("/settings/export").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("content-disposition"), "attachment; filename=\"ada.json\"");
    assert_eq!(reply.header("cache-control"), "no-store");
    let document: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(document["profile"]["username"], "ada");
    assert_eq!(document["profile"]["email"], "ada@example.org");
    assert_eq!(document["posts"].as_array().unwrap().len(), 1);
    assert_eq!(document["posts"][0]["title"], "Mine \"quoted\" é");
    assert_eq!(document["posts"][0]["body"], "*text*\n\tx");
    assert_eq!(document["posts"][0]["score"], 1);
    let voted: Vec<_> =
        document["votes"].as_array().unwrap().iter().map(|vote| &vote["title"]).collect();
    assert_eq!(voted, ["Mine \"quoted\" é", "Theirs"]);
    for secret in ["bob@", "$argon2", "password"] {
        reply.lacks(secret);
    }

    let nothing: Value =
        serde_json::from_str(&site.member("newcomer").await.get("/settings/export").await.body)
            .unwrap();
    assert_eq!(
        (nothing["posts"].to_string(), nothing["votes"].to_string()),
        ("[]".into(), "[]".into())
    );
}

#[tokio::test]
async fn deleting_an_account_deletes_its_posts_votes_and_sessions_and_scores_stay_right() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let bob = site.member("bob").await;
    let elsewhere = log_in(&site, "ada", PASSWORD).await;
    let (adas, bobs) = (site.post_by("ada", "Of Ada").await, site.post_by("bob", "Of Bob").await);
    for visitor in [&ada, &bob] {
        for post in [adas, bobs] {
            assert_eq!(
                visitor.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await.status,
                303
            );
        }
    }

    ada.get("/settings/delete-account").await.has("name=\"current_password\"");
    for wrong in ["", "wrong password here"] {
        let reply = ada.post("/settings/delete-account", &[("current_password", wrong)]).await;
        assert_eq!(reply.status, 422);
        assert!(reply.problem("current_password").is_some());
    }
    assert!(is_in(&ada).await && is_in(&elsewhere).await);

    let reply = ada.post("/settings/delete-account", &[("current_password", PASSWORD)]).await;
    assert_eq!(told(&ada, &reply).await, "Your account is deleted, with your posts and votes.");
    assert!(!is_in(&ada).await && !is_in(&elsewhere).await);
    assert!(!fits(&site, "ada", PASSWORD).await);
    assert_eq!(bob.get("/users/ada").await.status, 404);
    assert_eq!(bob.get(&format!("/posts/{adas}")).await.status, 404);
    bob.get(&format!("/posts/{bobs}")).await.has(&format!("id=\"score-{bobs}\">1<"));
    assert_eq!(site.wrong_scores().await, []);
    let left = "select (select count(*) from user_sessions) + (select count(*) from tower_sessions.session) \
        + (select count(*) from posts) + (select count(*) from votes) + (select count(*) from known_devices)";
    assert_eq!(site.count(left).await, 5, "Bob's session, its record, post, vote and device");

    site.member("ada").await;
    assert_eq!(
        site.count("select count(*) from votes").await,
        1,
        "another Ada has nothing of hers"
    );
}

#[tokio::test]
async fn the_last_admin_cannot_delete_their_account_and_of_two_at_once_only_one_can() {
    let site = TestSite::new().await;
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    sqlx::query("update users set role = 'admin' where username = 'ada'")
        .execute(&site.db)
        .await
        .unwrap();
    let leave = [("current_password", PASSWORD)];

    ada.post("/settings/delete-account", &leave).await.has("only admin");
    assert!(is_in(&ada).await);

    sqlx::query("update users set role = 'admin'").execute(&site.db).await.unwrap();
    let (one, other) = tokio::join!(
        ada.post("/settings/delete-account", &leave),
        bob.post("/settings/delete-account", &leave)
    );
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 422]);
    assert_eq!(site.count("select count(*) from users").await, 1);
}

/// People vote for everything while half of them leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_deleted_while_they_vote_leave_every_score_equal_to_its_rows() {
    let site = TestSite::new().await;
    let mut posts = Vec::new();
    for n in 0..6 {
        posts.push(site.post_by(&format!("author{}", n % 3), &format!("Post {n}")).await);
    }
    let mut people = Vec::new();
    for n in 0..8 {
        people.push(site.member(&format!("voter{n}")).await);
    }

    let tasks: Vec<_> = people
        .into_iter()
        .enumerate()
        .map(|(n, person)| {
            let posts = posts.clone();
            tokio::spawn(async move {
                let votes = async {
                    for round in 0..12 {
                        let post = posts[(n + round * 5) % posts.len()];
                        let value = if round % 4 == 3 { "0" } else { "1" };
                        let reply =
                            person.post(&format!("/posts/{post}/vote"), &[("value", value)]).await;
                        let status = reply.status.as_u16();
                        assert!(matches!(status, 303 | 401 | 404), "{status} {}", reply.body);
                    }
                };
                let leaves = async {
                    if n % 2 == 0 {
                        let fields = [("current_password", PASSWORD)];
                        let reply = person.post("/settings/delete-account", &fields).await;
                        assert_eq!(reply.status, 303, "{}", reply.body);
                    }
                };
                tokio::join!(votes, leaves);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }

    assert_eq!(site.count("select count(*) from users where username like 'voter%'").await, 4);
    assert_eq!(site.wrong_scores().await, []);
}

#[tokio::test]
async fn the_settings_need_a_session_of_a_member_who_is_not_suspended() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    sqlx::query("update users set suspended_at = now()").execute(&site.db).await.unwrap();
    let cookie = site.visitor();
    cookie.set_cookie("sid", &ada.cookie("sid").unwrap());
    for visitor in [site.visitor(), cookie] {
        for path in
            ["/settings", "/settings/sessions", "/settings/export", "/settings/delete-account"]
        {
            let reply = visitor.get(path).await;
            assert_eq!(reply.status, 303, "{path}");
            assert_eq!(reply.location(), format!("/login?next={path}"));
        }
        for (path, fields) in [
            ("/settings/password", vec![("current_password", PASSWORD), ("new_password", BETTER)]),
            ("/settings/email", vec![("current_password", PASSWORD), ("email", "x@example.org")]),
            ("/settings/sessions/revoke", vec![("others", "true")]),
            ("/settings/delete-account", vec![("current_password", PASSWORD)]),
        ] {
            assert_eq!(visitor.post(path, &fields).await.status, 401, "{path}");
        }
    }
    assert_eq!(site.count("select count(*) from users").await, 1);
}

#[tokio::test]
async fn an_old_or_weaker_password_hash_logs_in_and_is_rehashed_in_the_same_request() {
    let site = TestSite::new().await;
    let old = bcrypt::hash(PASSWORD, 5).unwrap();
    for (name, hash) in [
        ("bcrypt_a", old.replacen("$2b$", "$2a$", 1)),
        ("bcrypt_b", old.clone()),
        ("bcrypt_y", old.replacen("$2b$", "$2y$", 1)),
        // m=8192, t=1 of the same password, made with another program.
        ("weaker", weaker()),
    ] {
        sqlx::query("insert into users (username, password_hash) values ($1, $2)")
            .bind(name)
            .bind(&hash)
            .execute(&site.db)
            .await
            .unwrap();
        assert!(!fits(&site, name, "violet kettle 9 harbouR").await);
        let sql = format!(
            "select count(*) from users where username = '{name}' and password_hash = '{hash}'"
        );
        assert_eq!(site.count(&sql).await, 1, "a wrong password changes nothing");

        assert!(fits(&site, name, PASSWORD).await, "{name}");
        let now: String = sqlx::query_scalar("select password_hash from users where username = $1")
            .bind(name)
            .fetch_one(&site.db)
            .await
            .unwrap();
        assert!(now.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{name}: {now}");
        assert!(fits(&site, name, PASSWORD).await, "{name}, again");
    }
}

fn weaker() -> String {
    use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher as _};
    let params = Params::new(8192, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(PASSWORD.as_bytes()).unwrap().to_string()
}

/// A thief who still knows the old password is quick, but the owner has just chosen another.
#[tokio::test]
async fn a_password_checked_before_all_sessions_ended_changes_nothing_afterwards() {
    let site = TestSite::new().await;
    for (path, fields) in [
        (
            "/settings/email",
            [("current_password", PASSWORD), ("email", "thief@example.org")].as_slice(),
        ),
        ("/settings/password", &[("current_password", PASSWORD), ("new_password", BETTER)]),
        ("/settings/delete-account", &[("current_password", PASSWORD)]),
    ] {
        let name = format!("ada-{}", path.rsplit('/').next().unwrap());
        let thief = site.member(&name).await;
        let mut owner = site.db.begin().await.unwrap();
        sqlx::query("select from users where username = $1 for update")
            .bind(&name)
            .execute(&mut *owner)
            .await
            .unwrap();
        let sent = {
            let session = thief.cookie("sid").unwrap();
            let thief = site.visitor();
            thief.set_cookie("sid", &session);
            let fields: Vec<(&str, &str)> = fields.to_vec();
            let (path, fields) = (path.to_owned(), crate::support::encode(&fields));
            tokio::spawn(async move { thief.send(thief.form(&path), fields).await })
        };
        let waits = "select count(*) from pg_stat_activity \
                     where datname = current_database() and wait_event_type = 'Lock'";
        while site.count(waits).await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        sqlx::query("update users set auth_epoch = auth_epoch + 1 where username = $1")
            .bind(&name)
            .execute(&mut *owner)
            .await
            .unwrap();
        owner.commit().await.unwrap();

        assert_eq!(sent.await.unwrap().status, 401, "{path}");
        let kept = format!(
            "select count(*) from users where username = '{name}' and email = '{name}@example.org' \
             and auth_epoch = 1"
        );
        assert_eq!(site.count(&kept).await, 1, "{path}");
        assert!(fits(&site, &name, PASSWORD).await, "{path}");
    }
}
