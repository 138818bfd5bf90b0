//! How many letters the site can be made to send: by one sender, from one network, to one mailbox.

use serde_json::json;
use social_post::{mail::Mailer, web::throttle::Throttle};

use crate::support::{Caller, PASSWORD, Reply, TestSite, Visitor, encode, post_office::PostOffice};

async fn site_with(office: &PostOffice) -> TestSite {
    let mailer = Mailer::new(Some(&office.outgoing())).unwrap();
    TestSite::altered(|app| {
        app.throttle = Throttle::new(true);
        app.mailer = mailer;
    })
    .await
}

/// The site has sent what it will send; returns to whom, without the letters of `before`.
async fn recipients(site: &TestSite, office: &PostOffice, before: usize) -> Vec<String> {
    site.app.limits.running.close();
    site.app.limits.running.wait().await;
    site.app.limits.running.reopen();
    let letters = office.arrived();
    let mut all: Vec<String> = letters.into_iter().map(|letter| letter.to).collect();
    assert!(all.len() >= before, "{all:?}");
    all.sort();
    all
}

/// Members whose accounts are made without any letter, each with the same password.
async fn members(site: &TestSite, count: usize) -> Vec<Caller> {
    site.member("first").await;
    let mut all = Vec::new();
    for n in 0..count {
        sqlx::query(
            "insert into users (username, email, email_key, password_hash) \
             select $1, $1 || '@own.example', $1 || '@own.example', password_hash from users where username = 'first'",
        )
        .bind(format!("m{n}"))
        .execute(&site.db)
        .await
        .unwrap();
        all.push(site.caller_of(&format!("m{n}")).await.at_address(&format!("192.0.2.{n}")));
    }
    all
}

async fn change_email(by: &Caller, email: &str) -> Reply {
    by.put("/users/me/email", &json!({ "current_password": PASSWORD, "email": email })).await
}

#[track_caller]
fn too_often(reply: &Reply) {
    assert_eq!(reply.status, 429, "{}", reply.body);
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=20 * 60).contains(&wait), "{wait}");
    reply.has("doing that too fast");
}

#[tokio::test]
async fn an_account_sends_five_emails_an_hour_through_the_form_and_the_api_together() {
    let office = PostOffice::open().await;
    let site = site_with(&office).await;
    let ada = site.member("ada").await.at_address("198.51.100.1");
    let program = site.caller_of("ada").await.at_address("198.51.100.2");
    office.letters(1).await;
    for n in 0..12 {
        let email = format!("mailbox{n}@elsewhere.example");
        let reply = if n % 2 == 0 {
            ada.post("/settings/email", &[("current_password", PASSWORD), ("email", &email)]).await
        } else {
            change_email(&program, &email).await
        };
        match n {
            0..5 => assert!([202, 303].contains(&reply.status.as_u16()), "{}", reply.body),
            _ => too_often(&reply),
        }
    }
    assert_eq!(recipients(&site, &office, 1).await.len(), 6);
}

#[tokio::test]
async fn a_mailbox_gets_three_emails_an_hour_counted_across_its_tags_dots_and_senders() {
    let office = PostOffice::open().await;
    let site = site_with(&office).await;
    // The address of a member is counted as any other.
    for (victim, name) in [("v.ictim", "nobody"), ("first", "first")] {
        let before = recipients(&site, &office, 0).await.len();
        let senders = if name == "nobody" {
            members(&site, 12).await
        } else {
            let mut all = Vec::new();
            for n in 0..12 {
                all.push(
                    site.caller_of(&format!("m{n}")).await.at_address(&format!("203.0.113.{n}")),
                );
            }
            all
        };
        let before = before + usize::from(name == "nobody");
        let mut sent = 0;
        for (n, sender) in senders.iter().enumerate() {
            let (one, rest) = victim.split_at(1 + n % 3);
            let email = format!("{one}.{rest}+{n}@Example.org").replace("..", ".");
            let reply = change_email(sender, &email).await;
            match reply.status.as_u16() {
                202 => sent += 1,
                _ => too_often(&reply),
            }
        }
        // Signing up has sent one to the member.
        assert_eq!(sent, if name == "nobody" { 3 } else { 2 }, "{victim}");
        assert_eq!(recipients(&site, &office, 0).await.len(), before + sent);
    }
}

#[tokio::test]
async fn a_network_sends_twenty_emails_an_hour_counted_across_senders_and_recipients() {
    let office = PostOffice::open().await;
    let site = site_with(&office).await;
    let members = members(&site, 6).await;
    office.letters(1).await;
    let mut sent = 0;
    for (n, member) in members.into_iter().enumerate() {
        let member = member.at_address("198.51.100.1");
        for letter in 0..4 {
            let email = format!("mailbox{n}x{letter}@elsewhere.example");
            let reply = change_email(&member, &email).await;
            match reply.status.as_u16() {
                202 => sent += 1,
                _ => too_often(&reply),
            }
        }
    }
    assert_eq!(sent, 20);
    let stranger = site.visitor().at_address("198.51.100.1");
    for email in ["first@example.org", "nobody@example.org"] {
        too_often(&stranger.post("/password/forgot", &[("email", email)]).await);
    }
    assert_eq!(recipients(&site, &office, 1).await.len(), 21);
}

#[tokio::test]
async fn a_sign_up_sends_a_mailbox_no_more_than_three_letters_and_makes_the_account_all_the_same() {
    let office = PostOffice::open().await;
    let site = site_with(&office).await;
    for n in 0..8 {
        let email = format!("vic.tim+{n}@example.org");
        let name = format!("person{n}");
        let address = format!("192.0.2.{n}");
        let status = if n % 2 == 0 {
            let document = json!({ "username": name, "email": email, "password": PASSWORD });
            site.caller().at_address(&address).post("/users", &document).await.status
        } else {
            let fields = [("username", name.as_str()), ("email", &email), ("password", PASSWORD)];
            site.visitor().at_address(&address).post("/signup", &fields).await.status
        };
        assert!([201, 303].contains(&status.as_u16()), "{status}");
    }
    assert_eq!(recipients(&site, &office, 0).await.len(), 3);

    // The mailbox's owner still gets the link that was asked for.
    let owner = site.visitor().at_address("203.0.113.1");
    let fields = [("email", "vic.tim+7@example.org")];
    assert_eq!(owner.post("/password/forgot", &fields).await.status, 303);
    assert_eq!(recipients(&site, &office, 3).await.len(), 4);
}

async fn forgot(by: &Visitor, email: &str) -> Reply {
    by.post("/password/forgot", &[("email", email)]).await
}

#[tokio::test]
async fn reset_links_are_limited_by_mailbox_in_a_network_and_by_address_everywhere() {
    let office = PostOffice::open().await;
    let site = site_with(&office).await;
    site.member("ada").await;
    office.letters(1).await;
    for mailbox in ["ada", "nobody"] {
        let here = site.visitor().at_address("198.51.100.1");
        for n in 0..6 {
            let reply = forgot(&here, &format!("{mailbox}+{n}@example.org")).await;
            match n {
                0..3 => assert_eq!(reply.status, 303),
                _ => too_often(&reply),
            }
        }
        for n in 0..6 {
            let elsewhere = site.visitor().at_address(&format!("203.0.113.{n}"));
            let reply = forgot(&elsewhere, &format!("{mailbox}@example.org")).await;
            match n {
                0..3 => assert_eq!(reply.status, 303, "what strangers ask for elsewhere"),
                _ => too_often(&reply),
            }
        }
    }
    let all = recipients(&site, &office, 1).await;
    assert_eq!(all.len(), 4, "{all:?}");
}

#[tokio::test]
async fn changing_the_password_again_and_again_sends_five_notices() {
    let office = PostOffice::open().await;
    let site = site_with(&office).await;
    let ada = site.member("ada").await;
    office.letters(1).await;
    let mut current = PASSWORD.to_owned();
    for n in 0..9 {
        let new = format!("marble otter {n} lantern");
        let fields = [("current_password", current.as_str()), ("new_password", &new)];
        let request = ada.form("/settings/password");
        assert_eq!(ada.send(request, encode(&fields)).await.status, 303);
        current = new;
    }
    assert_eq!(recipients(&site, &office, 1).await.len(), 6);
}
