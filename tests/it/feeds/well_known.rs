//! `robots.txt` and the files under `/.well-known/`.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use social_post::mail::Mailer;
use time::{Duration, OffsetDateTime};

use crate::{
    feeds::{BASE, date},
    support::{Reply, TestSite, post_office::PostOffice},
};

/// The answers of Python's own reader: whether it may fetch each path, and where the sitemap is.
const ROBOT: &str = "
import sys, urllib.robotparser
robot = urllib.robotparser.RobotFileParser()
robot.parse(sys.stdin.read().splitlines())
print(*[int(robot.can_fetch('Anybot/1.0', path)) for path in sys.argv[1:]], *robot.site_maps())
";

#[tokio::test]
async fn robots_txt_allows_only_public_pages() {
    let site = TestSite::at(BASE).await;
    let reply = site.visitor().get("/robots.txt").await;
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    let may = [
        "/",
        "/new",
        "/top?t=week",
        "/posts/1",
        "/posts/12",
        "/users",
        "/users/ada",
        "/feed.atom",
        "/new/feed.atom",
        "/users/ada/feed.atom",
        "/search/feed.atom?q=owl",
        "/sitemap.xml",
        "/static/x.css",
    ];
    let may_not = [
        "/search",
        "/search?q=owl",
        "/login",
        "/login?next=/new",
        "/signup",
        "/settings",
        "/settings/sessions",
        "/posts/new",
        "/password/forgot",
        "/email/confirm/x",
        "/api/v1/posts",
    ];
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let mut robot = Command::new(python)
        .args(["-c", ROBOT])
        .args(may.iter().chain(&may_not))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bin/test installs it");
    robot.stdin.take().unwrap().write_all(reply.body.as_bytes()).unwrap();
    let output = robot.wait_with_output().unwrap();
    let verdicts = ["1"; 13].iter().chain(&["0"; 11]).copied().collect::<Vec<_>>().join(" ");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{verdicts} {BASE}/sitemap.xml\n"),
        "{}",
        reply.body
    );
}

/// The fields of a `security.txt`, as RFC 9116 has them.
#[track_caller]
fn security(reply: &Reply) -> Vec<(String, String)> {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    assert!(reply.body.ends_with('\n') && reply.body.is_ascii());
    let fields = reply.body.lines().map(|line| line.split_once(": ").expect(line));
    let fields: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let of = |name: &str| -> Vec<&str> {
        fields.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str()).collect()
    };
    assert!(!of("Contact").is_empty());
    assert!(of("Contact").iter().all(|contact| url::Url::parse(contact).is_ok()));
    let now = OffsetDateTime::now_utc();
    let [expires] = of("Expires")[..] else { panic!("{fields:?}") };
    assert!(date(expires) > now + Duration::days(90) && date(expires) < now + Duration::days(365));
    assert!(of("Preferred-Languages").len() <= 1);
    for name in ["Canonical", "Policy", "Encryption", "Hiring", "Acknowledgments"] {
        assert!(of(name).iter().all(|uri| uri.starts_with("https://")), "{fields:?}");
    }
    fields
}

#[tokio::test]
async fn security_txt_names_a_contact() {
    let site = TestSite::at(BASE).await;
    let fields = security(&site.visitor().get("/.well-known/security.txt").await);
    assert_eq!(fields[0], ("Contact".to_owned(), "mailto:security@site.test".to_owned()));
    let own = ("Canonical".to_owned(), format!("{BASE}/.well-known/security.txt"));
    assert!(fields.contains(&own));

    // The RFC knows no http.
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    let fields = security(&site.visitor().get("/.well-known/security.txt").await);
    let from = office.outgoing().from.email;
    assert_eq!(fields[0], ("Contact".to_owned(), format!("mailto:{from}")));
    assert!(fields.iter().all(|(name, _)| name != "Canonical"));
    assert!(Mailer::new(None).unwrap().address().is_none());
}

#[tokio::test]
async fn change_password_redirects_to_the_settings() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let reply = site.visitor().get("/.well-known/change-password").await;
    assert_eq!((reply.status.as_u16(), reply.location()), (303, "/settings"));
    ada.get("/settings").await.has("action=\"/settings/password\"");
    // By which they tell that this site means its statuses.
    let nothing = "/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200";
    assert_eq!(ada.get(nothing).await.status, 404);
}
