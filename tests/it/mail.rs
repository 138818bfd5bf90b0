//! Links by mail, through a real mail server.

use crate::support::{PASSWORD, TestSite, Visitor, post_office::PostOffice};

const BETTER: &str = "marble otter 7 lantern";

async fn fits(site: &TestSite, name: &str, password: &str) -> bool {
    let reply = site.visitor().post("/login", &[("login", name), ("password", password)]).await;
    assert!(matches!(reply.status.as_u16(), 303 | 401), "{}", reply.body);
    reply.status == 303
}

async fn is_in(visitor: &Visitor) -> bool {
    visitor.get("/settings").await.status == 200
}

/// A new member whose welcome email has already arrived.
async fn member(site: &TestSite, office: &PostOffice, name: &str) -> Visitor {
    let before = office.arrived().len();
    let member = site.member(name).await;
    office.letters(before + 1).await;
    member
}

/// The latest email, once there are `count`.
async fn latest(
    office: &PostOffice,
    count: usize,
    subject: &str,
) -> crate::support::post_office::Received {
    let letters = office.letters(count).await;
    let mut fitting = letters.into_iter().filter(|letter| letter.subject.contains(subject));
    fitting.next_back().expect("a letter about it")
}

#[tokio::test]
async fn a_password_reset_link_works_once() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let ada = member(&site, &office, "ada").await;
    let stranger = site.visitor();

    stranger.get("/login").await.has("href=\"/password/forgot\"");
    stranger.get("/password/forgot").await.has("name=\"email\"");
    let reply = stranger.post("/password/forgot", &[("email", "ADA@Example.org")]).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/login"));
    stranger.get("/login").await.has("we sent it a link to set a new password");

    let letter = latest(&office, 2, "new password").await;
    assert_eq!(letter.to, "ada@example.org", "to the address that the database has");
    assert_eq!(letter.from, "\"Social Post\" <post@site.test>");
    assert!(letter.text.contains("ada") && letter.html.contains("ada"), "{letter:?}");
    let link = letter.link("/password/reset");
    let token = link.rsplit('/').next().unwrap();
    let kept: String =
        sqlx::query_scalar("select key from mailed_links where purpose = 'password'")
            .fetch_one(&site.db)
            .await
            .unwrap();
    assert_ne!(kept, token, "the database has only a hash");

    let page = stranger.get(&link).await;
    assert_eq!((page.status.as_u16(), page.header("cache-control")), (200, "no-store"));
    page.has("name=\"new_password\"").has("<b>ada</b>");
    stranger.get(&link).await.has("name=\"new_password\"");
    for bad in ["", "short", "passwordpassword", "ada@example.org"] {
        let reply = stranger.post(&link, &[("new_password", bad)]).await;
        assert_eq!(reply.status, 422);
        assert!(reply.problem("new_password").is_some(), "{bad}");
    }
    assert!(fits(&site, "ada", PASSWORD).await && is_in(&ada).await, "nothing has changed yet");

    let reply = stranger.post(&link, &[("new_password", BETTER)]).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/login"));
    assert!(!is_in(&stranger).await, "the link alone lets nobody in");
    assert!(!is_in(&ada).await, "every session is over");
    assert!(fits(&site, "ada", BETTER).await && !fits(&site, "ada", PASSWORD).await);
    latest(&office, 3, "was changed").await;

    let again = stranger.post(&link, &[("new_password", PASSWORD)]).await;
    assert_eq!(again.status, 404);
    again.has("This link has expired");
    assert_eq!(stranger.get(&link).await.status, 404);
    assert!(fits(&site, "ada", BETTER).await);
}

#[tokio::test]
async fn only_the_newest_reset_link_works_and_it_expires_after_half_an_hour_or_a_change() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let ada = member(&site, &office, "ada").await;
    let stranger = site.visitor();
    let ask = async |count: usize| {
        let known: Vec<_> = office.arrived().into_iter().map(|letter| letter.raw).collect();
        stranger.post("/password/forgot", &[("email", "ada@example.org")]).await;
        let letters = office.letters(count).await;
        let new = letters.into_iter().find(|letter| !known.contains(&letter.raw)).unwrap();
        new.link("/password/reset")
    };
    let is_good = async |link: &str| match stranger.get(link).await.status.as_u16() {
        200 => true,
        404 => {
            let reply = stranger.post(link, &[("new_password", BETTER)]).await;
            assert_eq!(reply.status, 404);
            false
        }
        status => panic!("{status}"),
    };

    let first = ask(2).await;
    assert!(is_good(&first).await);
    let second = ask(3).await;
    assert!(!is_good(&first).await, "a newer one was asked for");
    assert!(is_good(&second).await);

    for (age, good) in [("29 minutes 58 seconds", true), ("30 minutes", false)] {
        let sql = format!("update mailed_links set created_at = now() - interval '{age}'");
        sqlx::query(&sql).execute(&site.db).await.unwrap();
        assert_eq!(is_good(&second).await, good, "{age}");
    }

    let third = ask(4).await;
    let fields = [("current_password", PASSWORD), ("new_password", BETTER)];
    assert_eq!(ada.post("/settings/password", &fields).await.status, 303);
    assert!(!is_good(&third).await, "the password was changed");

    latest(&office, 5, "was changed").await;
    let fourth = ask(6).await;
    sqlx::query("update users set suspended_at = now()").execute(&site.db).await.unwrap();
    assert!(!is_good(&fourth).await, "its owner is suspended");
    sqlx::query("update users set suspended_at = null").execute(&site.db).await.unwrap();
    assert!(is_good(&fourth).await);

    let kept: String =
        sqlx::query_scalar("select key from mailed_links").fetch_one(&site.db).await.unwrap();
    for invented in [kept.as_str(), "x", "AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(stranger.get(&format!("/password/reset/{invented}")).await.status, 404);
        assert_eq!(stranger.get(&format!("/email/confirm/{invented}")).await.status, 404);
    }
    let other = fourth.replace("/password/reset/", "/email/confirm/");
    assert_eq!(stranger.get(&other).await.status, 404, "it is good for one thing only");
    assert_eq!(stranger.post(&other, &[]).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_concurrent_uses_of_a_reset_link_one_succeeds() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    member(&site, &office, "ada").await;
    site.visitor().post("/password/forgot", &[("email", "ada@example.org")]).await;
    let link = latest(&office, 2, "new password").await.link("/password/reset");

    let tries: Vec<_> = (0..6)
        .map(|n| {
            let (visitor, link) = (site.visitor(), link.clone());
            tokio::spawn(async move {
                let password = format!("marble otter {n} lantern");
                (
                    password.clone(),
                    visitor.post(&link, &[("new_password", &password)]).await.status.as_u16(),
                )
            })
        })
        .collect();
    let mut winners = Vec::new();
    for done in tries {
        let (password, status) = done.await.unwrap();
        assert!(matches!(status, 303 | 404), "{status}");
        winners.extend((status == 303).then_some(password));
    }
    assert_eq!(winners.len(), 1);
    assert!(fits(&site, "ada", &winners[0]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_concurrent_confirmations_of_an_address_one_succeeds() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let ada = site.member("ada").await;
    let link = office.letters(1).await.remove(0).link("/email/confirm");
    let tries: Vec<_> = (0..6)
        .map(|_| {
            let (visitor, link) = (site.visitor(), link.clone());
            tokio::spawn(async move { visitor.post(&link, &[]).await.status.as_u16() })
        })
        .collect();
    let mut statuses = Vec::new();
    for done in tries {
        statuses.push(done.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 404, 404, 404, 404, 404]);
    ada.get("/settings").await.has("(confirmed)");
}

#[tokio::test]
async fn an_email_change_or_a_suspension_invalidates_the_links_sent_before() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let ada = member(&site, &office, "ada").await;
    let stranger = site.visitor();
    let status = async |link: &str| stranger.get(link).await.status.as_u16();

    stranger.post("/password/forgot", &[("email", "ada@example.org")]).await;
    let reset = latest(&office, 2, "new password").await.link("/password/reset");
    let change = [("current_password", PASSWORD), ("email", "countess@example.org")];
    assert_eq!(ada.post("/settings/email", &change).await.status, 303);
    let letters = office.letters(3).await;
    let letter = letters.iter().find(|letter| letter.to == "countess@example.org").unwrap();
    let confirm = letter.link("/email/confirm");

    sqlx::query("update users set suspended_at = now()").execute(&site.db).await.unwrap();
    for link in [&reset, &confirm] {
        assert_eq!(status(link).await, 404, "{link}");
    }
    assert_eq!(stranger.post(&confirm, &[]).await.status, 404);
    assert_eq!(stranger.post(&reset, &[("new_password", BETTER)]).await.status, 404);
    sqlx::query("update users set suspended_at = null").execute(&site.db).await.unwrap();
    assert_eq!((status(&reset).await, status(&confirm).await), (200, 200));

    assert_eq!(stranger.post(&confirm, &[]).await.status, 303);
    assert_eq!(status(&reset).await, 404, "it went to an address that counts no more");
    assert_eq!(stranger.post(&reset, &[("new_password", BETTER)]).await.status, 404);
    assert!(fits(&site, "countess@example.org", PASSWORD).await);
}

/// An operator may call the site what they like.
#[tokio::test]
async fn an_email_escapes_everything_in_its_text_and_html_parts() {
    let office = PostOffice::open().await;
    let outgoing = office.outgoing();
    let site = TestSite::altered(|app| {
        app.mailer = social_post::mail::Mailer::new(Some(&outgoing)).unwrap();
        std::sync::Arc::make_mut(&mut app.site).name = "R&D <b>é</b> \"x\"".into();
    })
    .await;
    site.member("ada").await;
    let letter = office.letters(1).await.remove(0);
    assert_eq!(letter.subject, "Confirm your e-mail address for R&D <b>é</b> \"x\"");
    assert!(letter.text.contains("R&D <b>é</b> \"x\""), "{}", letter.text);
    assert!(letter.html.contains("R&#38;D &#60;b&#62;é&#60;/b&#62;"), "{}", letter.html);
    assert!(!letter.html.contains("<b>é"), "{}", letter.html);
}

#[tokio::test]
async fn a_request_for_a_reset_link_does_not_reveal_who_has_an_account() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    for name in ["ada", "mike", "kate"] {
        member(&site, &office, name).await;
    }
    sqlx::query("update users set suspended_at = now() where username = 'kate'")
        .execute(&site.db)
        .await
        .unwrap();

    let mut answers = Vec::new();
    for email in [
        "ada@example.org",
        "nobody@example.org",
        "kate@example.org",
        // A character that folds alike belongs to another address; the kelvin sign is a K in NFC, so this is Mike.
        "m\u{131}ke@example.org",
        "mi\u{212A}e@example.org",
        "mike@example.org.evil.test",
    ] {
        let stranger = site.visitor();
        let mut request = stranger.form("/password/forgot").header("x-forwarded-host", "evil.test");
        request.headers_mut().unwrap().insert("host", "evil.test".parse().unwrap());
        let reply = stranger.send(request, crate::support::encode(&[("email", email)])).await;
        let mut headers = reply.headers.clone();
        headers.remove("x-request-id");
        answers.push((reply.status, headers, reply.body));
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    for bad in [
        "",
        "no address",
        "a@b@c",
        "ada@example.org\r\nBcc: evil@example.org",
        "ada@example.org,evil@example.org",
    ] {
        let reply = site.visitor().post("/password/forgot", &[("email", bad)]).await;
        assert_eq!(reply.status, 422, "{bad:?}");
        assert!(reply.problem("email").is_some());
    }

    let letters = office.letters(5).await;
    let resets = letters.iter().filter(|letter| letter.subject.contains("new password"));
    let mut to: Vec<_> = resets.map(|letter| letter.to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["ada@example.org", "mike@example.org"], "as the database has them");
    assert!(letters.iter().all(|letter| !letter.raw.contains("evil")));
}

#[tokio::test]
async fn an_email_change_counts_once_its_link_was_followed() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let ada = member(&site, &office, "ada").await;
    let welcome = office.letters(1).await.remove(0);
    assert_eq!(welcome.to, "ada@example.org");
    ada.get("/settings").await.has("not confirmed yet");

    let link = welcome.link("/email/confirm");
    ada.get(&link).await.has("ada@example.org").has("method=\"post\"");
    ada.get("/settings").await.has("not confirmed yet");
    let reply = ada.post(&link, &[]).await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/settings"));
    ada.get("/settings").await.has("(confirmed)").has("Your e-mail address is confirmed.");
    assert_eq!(ada.post(&link, &[]).await.status, 404, "once");

    let change = [("current_password", PASSWORD), ("email", "Countess@example.org")];
    assert_eq!(ada.post("/settings/email", &change).await.status, 303);
    ada.get("/settings").await.has("ada@example.org").has("We sent a link to that address");
    let letter = latest(&office, 2, "Confirm").await;
    let letter = if letter.to == "ada@example.org" {
        office.arrived().into_iter().find(|letter| letter.to != "ada@example.org").unwrap()
    } else {
        letter
    };
    assert_eq!(letter.to, "Countess@example.org");
    assert!(!fits(&site, "countess@example.org", PASSWORD).await, "not yet");
    // Following the link needs no session: the email is the proof.
    let elsewhere = site.visitor();
    let link = letter.link("/email/confirm");
    assert_eq!(elsewhere.post(&link, &[]).await.status, 303);
    assert!(fits(&site, "countess@example.org", PASSWORD).await);
    assert!(!fits(&site, "ada@example.org", PASSWORD).await);
    let told = latest(&office, 3, "was changed").await;
    assert_eq!(told.to, "ada@example.org", "the old address hears of it");
}

#[tokio::test]
async fn an_email_is_sent_to_the_punycode_form_of_the_host() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let fields = [("username", "ada"), ("email", "Ada@BÜCHER.example"), ("password", PASSWORD)];
    assert_eq!(site.visitor().post("/signup", &fields).await.status, 303);
    assert_eq!(office.letters(1).await[0].to, "Ada@xn--bcher-kva.example");
}

/// A link sent to the thief's address would outlive the owner's new password.
#[tokio::test]
async fn no_link_is_sent_for_a_password_checked_before_all_sessions_ended() {
    use social_post::{
        identity::UserId,
        users::{Email, credentials::Authenticated, links::db::create_for_email},
    };
    let site = TestSite::new().await;
    site.member("ada").await;
    let user = UserId(site.count("select id from users").await);
    let email = Email::parse("thief@example.org").unwrap();
    let keep = async |epoch| {
        create_for_email(&site.db, Authenticated { user, epoch }, "key", &email).await.unwrap()
    };
    assert!(keep(0).await);
    sqlx::query("update users set auth_epoch = 1").execute(&site.db).await.unwrap();
    sqlx::query("delete from mailed_links").execute(&site.db).await.unwrap();
    assert!(!keep(0).await);
    assert_eq!(site.count("select count(*) from mailed_links").await, 0);
    assert!(keep(1).await);
}

#[tokio::test]
async fn an_email_change_does_not_reveal_that_an_address_is_taken() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let ada = member(&site, &office, "ada").await;
    member(&site, &office, "bob").await;
    let take = async |email: &str| {
        let fields = [("current_password", PASSWORD), ("email", email)];
        let reply = ada.post("/settings/email", &fields).await;
        let mut headers = reply.headers.clone();
        headers.remove("x-request-id");
        (reply.status, headers, reply.body)
    };

    assert_eq!(take("BOB@example.org").await, take("new@example.org").await, "the same answer");
    let letters = office.letters(4).await;
    let to_bob =
        letters.iter().find(|letter| letter.subject.contains("Your e-mail address on")).unwrap();
    assert_eq!(to_bob.to, "bob@example.org", "as he wrote it himself");
    assert!(!to_bob.text.contains("/email/confirm"));

    // Another member takes the address while the email is on its way.
    let link = letters
        .iter()
        .find(|letter| letter.to == "new@example.org")
        .unwrap()
        .link("/email/confirm");
    sqlx::query("update users set email = 'new@example.org', email_key = 'new@example.org' where username = 'bob'")
        .execute(&site.db)
        .await
        .unwrap();
    let reply = ada.post(&link, &[]).await;
    assert_eq!(reply.status, 422);
    reply.has("There is already an account with this e-mail address.");
    ada.get("/settings").await.has("ada@example.org");
}

#[tokio::test]
async fn without_mail_a_member_asks_the_operator_who_makes_a_reset_link() {
    let site = TestSite::new().await;
    site.member("ada").await;
    let page = site.visitor().get("/password/forgot").await;
    assert_eq!(page.status, 200);
    page.has("Ask the people who run it").lacks("name=\"email\"");
    assert_eq!(
        site.visitor().post("/password/forgot", &[("email", "ada@example.org")]).await.status,
        404
    );
    assert_eq!(site.count("select count(*) from mailed_links").await, 0);
}

#[tokio::test]
async fn a_mail_server_that_is_away_does_not_change_the_response() {
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    drop(office);
    let ada = site.member("ada").await;
    let reply = site.visitor().post("/password/forgot", &[("email", "ada@example.org")]).await;
    assert_eq!(reply.status, 303);
    assert!(is_in(&ada).await);
}
