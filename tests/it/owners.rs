//! The threat model of password guessing (SECURITY.md), one test for each of its sentences that
//! `guessing.rs` does not test. The attacker has the name of an account and perhaps its e-mail address,
//! but not the password.

use serde_json::json;
use social_post::{
    identity::Username,
    mail::Mailer,
    users::{
        credentials::{
            Authenticated,
            attempts::{Count, TypedLogin},
            db::count_attempt,
        },
        tokens::Tokens,
    },
    web::{client::ClientNet, throttle::Throttle},
};

use crate::{
    program::social_post,
    support::{JWT_SECRET, PASSWORD, Reply, TestSite, Visitor, database, post_office::PostOffice},
};

const WRONG: &str = "wrong password here";
const BETTER: &str = "marble otter 7 lantern";
const ATTACKER: &str = "198.51.100.1";
const OWNER: &str = "203.0.113.1";

async fn log_in(visitor: &Visitor, login: &str, password: &str) -> Reply {
    visitor.post("/login", &[("login", login), ("password", password)]).await
}

/// A browser that has never been here.
fn new_browser(site: &TestSite, address: &str) -> Visitor {
    site.visitor().at_address(address)
}

/// The attempts at a log-in that are counted when the attacker has these many networks; no password is
/// checked.
async fn attempts_from(site: &TestSite, login: &TypedLogin, networks: u8) -> usize {
    let mut counted = 0;
    for network in 0..networks {
        let network = ClientNet::from_address([192, 0, 2, network].into());
        let count = Count::of_network(login, network);
        counted += usize::from(count_attempt(&site.db, &count).await.unwrap().is_ok());
    }
    counted
}

fn name() -> TypedLogin {
    TypedLogin::name(&Username::parse("ada").unwrap())
}

fn address() -> TypedLogin {
    TypedLogin::email("ada@example.org")
}

/// Uses up every attempt that an attacker has who owns many networks, also the owner's.
async fn use_up_everything(site: &TestSite) {
    for login in [name(), address()] {
        attempts_from(site, &login, 120).await;
        for network in [OWNER, ATTACKER] {
            let network = ClientNet::from_address(network.parse().unwrap());
            let count = Count::of_network(&login, network);
            while count_attempt(&site.db, &count).await.unwrap().is_ok() {}
        }
    }
    for network in [OWNER, ATTACKER] {
        let reply = log_in(&new_browser(site, network), "ada", PASSWORD).await;
        assert_eq!(reply.status, 429, "nothing is left to anyone");
    }
}

/// The waits of the network are over; the count over all networks is as it was.
async fn later(site: &TestSite) {
    let sql = "update password_tries set free_at = now() where network is not null";
    sqlx::query(sql).execute(&site.db).await.unwrap();
}

#[tokio::test]
async fn password_guessing_from_one_network_delays_the_owner_nowhere_else() {
    let site = TestSite::throttled().await;
    site.member("ada").await;
    let attacker = new_browser(&site, ATTACKER);
    for n in 0..22 {
        let login = if n % 2 == 0 { "ada" } else { "ada@example.org" };
        assert_eq!(log_in(&attacker, login, WRONG).await.status, 401);
        // Each wait is timed by `Retry-After`.
        later(&site).await;
        // On the way: a network has thirty log-ins in a quarter of an hour.
        let here = format!("203.0.113.{}", n / 8);
        let owner = new_browser(&site, &here);
        assert_eq!(log_in(&owner, "ada", PASSWORD).await.status, 303, "after {n} attempts");
        let program = site.caller().at_address(&here);
        assert_eq!(program.log_in("ada@example.org", PASSWORD).await.status, 200);
    }
}

#[tokio::test]
async fn many_networks_have_a_hundred_password_attempts_at_a_log_in_and_then_thirty_an_hour() {
    let site = TestSite::throttled().await;
    site.member("ada").await;
    let counted = attempts_from(&site, &name(), 150).await;
    assert!((100..=101).contains(&counted), "{counted}");
    let reply = log_in(&new_browser(&site, OWNER), "ada", PASSWORD).await;
    assert_eq!(reply.status, 429);
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=120).contains(&wait), "{wait}");
    for _ in 0..3 {
        let sql =
            "update password_tries set free_at = free_at - interval '1 hour' where network is null";
        sqlx::query(sql).execute(&site.db).await.unwrap();
        let counted = attempts_from(&site, &name(), 150).await;
        // Those networks that waited for an attempt of their own have it now.
        assert!((29..=31).contains(&counted), "{counted}");
        later(&site).await;
    }
}

/// One network has at most five attempts in each quarter of an hour, which never use up the thirty.
#[tokio::test]
async fn one_network_alone_never_uses_up_the_password_attempts_of_all_networks() {
    let site = TestSite::throttled().await;
    site.member("ada").await;
    let count = Count::of_network(&name(), ClientNet::from_address(ATTACKER.parse().unwrap()));
    for _ in 0..48 {
        let mut attempts = 0;
        while count_attempt(&site.db, &count).await.unwrap().is_ok() {
            attempts += 1;
        }
        assert_eq!(attempts, 5);
        let sql = "update password_tries set free_at = free_at - interval '16 minutes'";
        sqlx::query(sql).execute(&site.db).await.unwrap();
    }
    let free: bool = sqlx::query_scalar(
        "select free_at < now() - interval '3 hours' from password_tries where network is null",
    )
    .fetch_one(&site.db)
    .await
    .unwrap();
    assert!(free, "the hundred are there");
}

#[tokio::test]
async fn password_guessing_at_the_name_does_not_delay_a_log_in_by_email_from_another_network() {
    let site = TestSite::throttled().await;
    site.member("ada").await;
    attempts_from(&site, &name(), 120).await;
    assert_eq!(log_in(&new_browser(&site, OWNER), "ada", PASSWORD).await.status, 429);
    let owner = new_browser(&site, OWNER);
    assert_eq!(log_in(&owner, "ada@example.org", PASSWORD).await.status, 303);
}

#[tokio::test]
async fn no_password_guessing_delays_a_known_browser_or_a_program_with_an_earlier_token() {
    let site = TestSite::throttled().await;
    let browser = site.member("ada").await.at_address(ATTACKER);
    site.member("bob").await;
    assert_eq!(browser.post("/logout", &[]).await.status, 303);
    let (mut program, bobs) = (site.caller_of("ada").await, site.caller_of("bob").await);
    use_up_everything(&site).await;

    assert_eq!(log_in(&browser, "ada", PASSWORD).await.status, 303);

    // A token that has expired is as good.
    let (user, epoch): (i64, i32) =
        sqlx::query_as("select id, auth_epoch from users where username = 'ada'")
            .fetch_one(&site.db)
            .await
            .unwrap();
    let now = social_post::users::tokens::db::now(&site.db).await.unwrap();
    let issue = |minutes, epoch| {
        let tokens = Tokens::new(&JWT_SECRET.parse().unwrap(), None, minutes, &site.app.site);
        let user = social_post::identity::UserId(user);
        tokens.issue(Authenticated { user, epoch }, now).unwrap()
    };
    let expired = issue(-10, epoch);
    for token in [program.token.clone().unwrap(), expired.clone()] {
        program.token = Some(token);
        for _ in 0..4 {
            assert_eq!(program.log_in("ada", WRONG).await.status, 401);
        }
        assert_eq!(program.log_in("ada@example.org", PASSWORD).await.status, 200);
    }
    program.token = Some(expired.clone());
    assert_eq!(program.get("/users/me").await.status, 401, "it gives no other right");
    for _ in 0..5 {
        assert_eq!(program.log_in("ada", WRONG).await.status, 401);
    }
    assert_eq!(program.log_in("ada", PASSWORD).await.status, 429, "five, as everywhere");

    // What is not the owner's, or of before the last change of the password, or damaged.
    let damaged = format!("{}x", issue(30, epoch));
    for token in [bobs.token.unwrap(), issue(30, epoch + 1), damaged, "x".into()] {
        program.token = Some(token);
        assert_eq!(program.log_in("ada", PASSWORD).await.status, 429);
    }
}

#[tokio::test]
async fn a_password_reset_by_mail_lets_the_owner_in_at_once_during_an_attack_also_in_its_network() {
    let office = PostOffice::open().await;
    let mailer = Mailer::new(Some(&office.outgoing())).unwrap();
    let site = TestSite::altered(|app| {
        app.throttle = Throttle::new(true);
        app.mailer = mailer;
    })
    .await;
    site.member("ada").await;
    office.letters(1).await;
    let mut letters = 1;

    for by_api in [false, true] {
        use_up_everything(&site).await;
        // The network's own budget is used up as well.
        while site
            .app
            .throttle
            .check(
                social_post::web::throttle::RateLimit::Guess,
                ClientNet::from_address(ATTACKER.parse().unwrap()),
            )
            .is_ok()
        {}
        let owner = new_browser(&site, ATTACKER);
        let fields = [("email", "ada@example.org")];
        assert_eq!(owner.post("/password/forgot", &fields).await.status, 303);
        letters += 1;
        let all = office.letters(letters).await;
        let new = |letter: &&crate::support::post_office::Received| {
            letter.subject.contains("A new password")
        };
        let links: Vec<String> =
            all.iter().filter(new).map(|letter| letter.link("/password/reset")).collect();
        let mut link = None;
        for one in links {
            if owner.get(&one).await.status == 200 {
                link = Some(one);
            }
        }
        let link = link.expect("one link works");

        if by_api {
            let mut program = site.caller().at_address(ATTACKER);
            let token = link.rsplit('/').next().unwrap();
            let document = json!({ "token": token, "new_password": PASSWORD });
            assert_eq!(program.post("/password/reset", &document).await.status, 204);
            assert_eq!(site.count("select count(*) from password_tries").await, 0);
            use_up_everything_again(&site).await;
            program.token = Some(token.to_owned());
            assert_eq!(program.log_in("ada", PASSWORD).await.status, 200);
        } else {
            let reply = owner.post(&link, &[("new_password", BETTER)]).await;
            assert_eq!(reply.status, 303);
            assert_eq!(site.count("select count(*) from password_tries").await, 0);
            use_up_everything_again(&site).await;
            assert_eq!(log_in(&owner, "ada", BETTER).await.status, 303);
        }
        letters += 1;
        office.letters(letters).await;
    }
}

/// The attacker goes on after the reset.
async fn use_up_everything_again(site: &TestSite) {
    for login in [name(), address()] {
        attempts_from(site, &login, 120).await;
        let count = Count::of_network(&login, ClientNet::from_address(ATTACKER.parse().unwrap()));
        while count_attempt(&site.db, &count).await.unwrap().is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_lets_an_owner_in_during_password_guessing_without_mail() {
    let database = database().await;
    let mut site = TestSite::over(database.options(), "http://site.test");
    site.app.throttle = Throttle::new(true);
    site.router = social_post::routes::router(site.app.clone());
    site.member("ada").await;
    use_up_everything(&site).await;

    let settings = [("DATABASE_URL", database.url.as_str()), ("BASE_URL", "http://site.test")];
    let output = social_post(&["user", "reset-password", "ada"], &settings);
    assert!(output.status.success(), "{output:?}");
    let password = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(log_in(&new_browser(&site, ATTACKER), "ada", &password).await.status, 303);

    // The link makes the owner's browser a known device, so the attacker may go on.
    use_up_everything_again(&site).await;
    let link = told.split("http://site.test").nth(1).unwrap().trim().to_owned();
    let owner = new_browser(&site, ATTACKER);
    assert_eq!(owner.post(&link, &[("new_password", BETTER)]).await.status, 303);
    use_up_everything_again(&site).await;
    assert_eq!(log_in(&owner, "ada", BETTER).await.status, 303);
}

#[tokio::test]
async fn a_right_password_elsewhere_gives_an_attacker_no_further_attempts() {
    let site = TestSite::throttled().await;
    site.member("ada").await;
    let attacker = new_browser(&site, ATTACKER);
    for _ in 0..5 {
        assert_eq!(log_in(&attacker, "ada", WRONG).await.status, 401);
    }
    for login in ["ada", "ada@example.org"] {
        assert_eq!(log_in(&new_browser(&site, OWNER), login, PASSWORD).await.status, 303);
        assert_eq!(log_in(&attacker, login, PASSWORD).await.status, 429);
    }
    // Attempts that were right do not count for all networks.
    attempts_from(&site, &name(), 94).await;
    for _ in 0..5 {
        assert_eq!(log_in(&new_browser(&site, OWNER), "ada", PASSWORD).await.status, 303);
    }
}

/// All that an attacker sees: what differs only by what was typed and by chance is made the same.
fn seen(reply: &Reply, login: &str) -> (u16, String, String) {
    let body = reply.body.replace(login, "LOGIN");
    let body = body.split("Reference").next().unwrap().to_owned();
    (reply.status.as_u16(), reply.header("retry-after").to_owned(), body)
}

#[tokio::test]
async fn no_rate_limit_tells_which_email_address_belongs_to_a_name_or_to_anybody() {
    let site = TestSite::throttled().await;
    site.member("ada").await;
    site.member("bob").await;
    let twins = ["ada@example.org", "bob@example.org", "nobody@example.org"];
    for (scenario, (at_name, at_address)) in
        [(5, 1), (4, 2), (0, 6), (2, 4)].into_iter().enumerate()
    {
        let mut all = Vec::new();
        for (twin, address) in twins.into_iter().enumerate() {
            let attacker = new_browser(&site, &format!("2001:db8:{scenario}:{twin}::1"));
            let mut replies = Vec::new();
            for _ in 0..at_name {
                replies.push(seen(&log_in(&attacker, "ada", WRONG).await, "ada"));
            }
            for _ in 0..at_address {
                replies.push(seen(&log_in(&attacker, address, WRONG).await, address));
            }
            // And the other way around.
            replies.push(seen(&log_in(&attacker, "ada", WRONG).await, "ada"));
            assert_eq!(replies.last().unwrap().0, 429, "the sixth waits");
            // `Retry-After` may differ by the seconds that the test takes.
            all.push(
                replies.into_iter().map(|(status, _, body)| (status, body)).collect::<Vec<_>>(),
            );
        }
        assert_eq!(all[0], all[1], "{at_name} at the name, {at_address} at the address");
        assert_eq!(all[0], all[2], "{at_name} at the name, {at_address} at the address");
    }

    // From many networks: what is used up at the name says nothing about the address.
    attempts_from(&site, &name(), 120).await;
    let mut all = Vec::new();
    for (twin, address) in twins.into_iter().enumerate() {
        let attacker = new_browser(&site, &format!("2001:db8:9:{twin}::1"));
        all.push(seen(&log_in(&attacker, address, WRONG).await, address));
    }
    assert!(all.iter().all(|one| *one == all[0]), "{all:#?}");
}
