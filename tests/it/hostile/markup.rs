//! Markup in what people write.

use axum::http::{Method, header};

use crate::{
    hostile::{AttackedSite, MARKER, endpoints::encoded},
    support::encode,
};

/// The oracle reads the markup of every answer; here it gets to see the marker everywhere.
#[tokio::test]
async fn what_people_write_is_never_markup_on_any_page() {
    let mut at = AttackedSite::new().await;
    let ada = at.ada();
    let bodies = [
        MARKER.to_owned(),
        format!("# {MARKER}\n\n> {MARKER}\n\n```{MARKER}\n{MARKER}\n```\n\n    {MARKER}"),
        format!("[{MARKER}](https://a.test/{MARKER}) ![{MARKER}](https://b.test '{MARKER}')"),
        format!("| {MARKER} |\n| --- |\n| {MARKER} |\n\n<b>{MARKER}</b> <https://c.test/{MARKER}>"),
        format!("[{MARKER}][1]\n\n[1]: javascript:alert(1) \"{MARKER}\"\n\n`{MARKER}`"),
    ];
    let link = format!("https://example.test/?q={MARKER}#{MARKER}");
    for body in &bodies {
        let fields = encode(&[("title", MARKER), ("url", &link), ("body", body)]);
        let reply = at.send(&ada, ada.form("/posts"), fields.clone()).await;
        assert_eq!(reply.status, 303);
        for request in [
            ada.form("/posts/preview"),
            ada.form("/posts/preview").header("hx-request-type", "partial"),
        ] {
            let reply = at.send(&ada, request, fields.clone()).await;
            assert_eq!(reply.status, 200);
            reply.has("&lt;svg/onload");
        }
    }
    let wrong = encode(&[("title", MARKER), ("url", MARKER), ("body", MARKER)]);
    at.send(&ada, ada.form("/posts"), wrong).await.has("&#60;svg/onload");
    let wrong = [("username", MARKER), ("email", MARKER), ("password", MARKER)];
    at.send(&ada, ada.form("/signup"), encode(&wrong)).await.has("&#60;svg/onload");
    let wrong = [("login", MARKER), ("password", MARKER), ("next", MARKER)];
    at.send(&ada, ada.form("/login"), encode(&wrong)).await.has("&#60;svg/onload");

    let marker = encoded(MARKER);
    let mut pages = vec![
        format!("/search?q={marker}"),
        "/search?q=svg".into(),
        format!("/search?q=svg&sort={marker}"),
        format!("/top?t={marker}"),
        format!("/?after={marker}"),
        format!("/login?next=/{marker}"),
        format!("/{marker}"),
        format!("/posts/{marker}"),
        format!("/users/{marker}"),
        format!("/static/{marker}"),
        format!("/posts/new?{marker}"),
    ];
    for path in ["/", "/new", "/top", "/users/ada", "/users", "/posts/new"] {
        pages.push(path.into());
    }
    let last = at.post + i64::try_from(bodies.len()).unwrap();
    for id in at.post..=last {
        pages.extend(["", "/edit", "/delete"].map(|rest| format!("/posts/{id}{rest}")));
    }
    let mut shown = 0;
    for page in &pages {
        let flashed = at.ada();
        flashed.set_cookie("sid", &ada.cookie("sid").unwrap());
        flashed.set_cookie("flash", MARKER);
        for by in [at.site.visitor(), flashed] {
            for part in ["full", "partial"] {
                let request = by
                    .request(Method::GET, page)
                    .header("hx-request-type", part)
                    .header("hx-current-url", format!("http://site.test/{marker}"))
                    .header(header::REFERER, format!("http://site.test/?{marker}"))
                    .header("x-forwarded-host", "x\"><svg/onload=alert(1)>");
                let reply = at.send(&by, request, "").await;
                shown += usize::from(reply.body.contains("svg/onload"));
            }
        }
    }
    assert!(shown > 60, "the marker is to be seen on {shown} pages only");
    at.tell();
}
