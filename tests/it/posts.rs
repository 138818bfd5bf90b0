use crate::support::{PASSWORD, TestSite};

/// Publishes through the form and gives the post's address.
async fn publish(by: &crate::support::Visitor, title: &str, url: &str, body: &str) -> String {
    let reply = by.post("/posts", &[("title", title), ("url", url), ("body", body)]).await;
    assert_eq!(reply.status, 303, "{}", reply.body);
    reply.location().to_owned()
}

#[tokio::test]
async fn a_post_is_published_read_edited_and_deleted() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;

    let page = publish(&ada, " A **title** ", "https://www.example.org/x?y", "Some *text*.").await;
    let read = ada.get(&page).await;
    read.has("Your post is live.").has("A **title**").has("<em>text</em>").has(">example.org<");
    read.has("rel=\"ugc nofollow noopener noreferrer\"").lacks("edited");
    site.visitor().get("/new").await.has("A **title**").has("Some text.").has(">example.org<");

    let form = ada.get(&format!("{page}/edit")).await;
    form.has("value=\"A **title**\"").has("Some *text*.").has("https://www.example.org/x?y");
    let same = [
        ("title", "A **title**"),
        ("url", "https://www.example.org/x?y"),
        ("body", "Some *text*."),
    ];
    ada.post(&format!("{page}/edit"), &same).await;
    ada.get(&page).await.lacks(">edited<");
    let edited =
        ada.post(&format!("{page}/edit"), &[("title", "New"), ("url", ""), ("body", "")]).await;
    assert_eq!((edited.status.as_u16(), edited.location()), (303, page.as_str()));
    ada.get(&page).await.has("Your changes are saved.").has(">edited<").lacks("example.org");
    site.visitor().get("/search?q=text").await.lacks("id=\"post-");

    ada.get(&format!("{page}/delete")).await.has("Delete this post?").has(">New<");
    let deleted = ada.post(&format!("{page}/delete"), &[]).await;
    assert_eq!((deleted.status.as_u16(), deleted.location()), (303, "/"));
    ada.get("/").await.has("Your post is deleted.");
    for path in ["", "/edit", "/delete"] {
        assert_eq!(ada.get(&format!("{page}{path}")).await.status, 404);
    }
    assert_eq!(site.count("select count(*) from post_search").await, 0);
}

#[tokio::test]
async fn only_the_author_may_change_a_post() {
    let site = TestSite::new().await;
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    let page = publish(&ada, "Mine", "", "").await;
    bob.get(&page).await.lacks("/edit\"");
    let fields = [("title", "Yours"), ("url", ""), ("body", "")];
    for htmx in [false, true] {
        for (path, fields) in [("edit", &fields[..]), ("delete", &[])] {
            let path = format!("{page}/{path}");
            let reply = if htmx {
                bob.post_part(&path, fields).await
            } else {
                bob.post(&path, fields).await
            };
            assert_eq!(reply.status, 403, "{path}");
            assert_eq!(bob.get(&path).await.status, 403, "{path}");
            assert_eq!(site.visitor().post(&path, fields).await.status, 401, "{path}");
            assert_eq!(site.visitor().get(&path).await.status, 303, "{path}");
        }
    }
    ada.get(&page).await.has("Mine").lacks(">edited<");
}

#[tokio::test]
async fn a_form_that_does_not_hold_comes_back_with_what_was_typed() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let page = publish(&ada, "Fine", "", "").await;
    let typed =
        [("title", " \u{200B} "), ("url", "javascript:alert(1)"), ("body", "long <text>\n\0")];
    for path in ["/posts".to_owned(), format!("{page}/edit")] {
        let reply = ada.post(&path, &typed).await;
        assert_eq!(reply.status, 422);
        assert!(reply.problem("title").unwrap().contains("title"));
        assert!(reply.problem("url").unwrap().contains("https://"));
        assert!(reply.problem("body").unwrap().contains("cannot be stored"));
        reply
            .has("value=\"javascript:alert(1)\"")
            .has("long &#60;text&#62;")
            .has("aria-invalid=\"true\"");
        reply.has(&format!("action=\"{path}\""));
    }
    assert_eq!(site.count("select count(*) from posts").await, 1);
}

#[tokio::test]
async fn a_preview_shows_the_text_and_keeps_the_form() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let typed = [("title", "T"), ("url", "https://example.org/"), ("body", "**bold** <script>")];

    let page = ada.post("/posts/preview", &typed).await;
    assert_eq!(page.status, 200);
    page.has("<!doctype html>")
        .has("<strong>bold</strong> &lt;script&gt;")
        .has("value=\"T\"")
        .has("**bold**");
    let part = ada.post_part("/posts/preview", &typed).await;
    part.has("<strong>bold</strong>").lacks("<form").lacks("<!doctype");
    let unfinished =
        ada.post("/posts/preview", &[("title", ""), ("url", "nonsense"), ("body", "x")]).await;
    assert_eq!(unfinished.status, 422);
    unfinished.has("id=\"url-error\"").has("<p>x</p>");
    let unfinished = ada.post_part("/posts/preview", &[("title", "x"), ("url", "nonsense")]).await;
    assert_eq!(unfinished.status, 422, "so the script asks for the page");
    assert_eq!(site.visitor().post("/posts/preview", &typed).await.status, 401);
    assert_eq!(site.count("select count(*) from posts").await, 0);
}

#[tokio::test]
async fn an_expired_session_loses_nothing_that_was_typed() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let page = publish(&ada, "Before", "", "").await;
    let typed =
        [("title", "My <title>"), ("url", "https://example.org/"), ("body", "Hours of work")];
    sqlx::query("delete from user_sessions").execute(&site.db).await.unwrap();

    for path in ["/posts".to_owned(), format!("{page}/edit"), "/posts/preview".to_owned()] {
        let reply = ada.post(&path, &typed).await;
        assert_eq!(reply.status, 401, "{path}");
        reply
            .has("action=\"/login\"")
            .has("My &#60;title&#62;")
            .has("Hours of work")
            .has("https://example.org/");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    ada.post("/login", &[("login", "ada"), ("password", PASSWORD)]).await;
    assert_eq!(ada.post(&format!("{page}/edit"), &typed).await.status, 303);
    ada.get(&page).await.has("Hours of work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_told_in_seconds_and_loses_nothing_that_was_typed() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let typed = [("title", "Kept <title>"), ("body", "Hours of work")];
    let backends: Vec<i32> = sqlx::query_scalar(
        "select pid from pg_stat_activity where datname = current_database() and application_name = 'social-post'",
    )
    .fetch_all(&site.db)
    .await
    .unwrap();
    let signal = |name: &str| {
        for pid in &backends {
            let sent = std::process::Command::new("kill").args([name, &pid.to_string()]).status();
            assert!(sent.unwrap().success());
        }
    };

    signal("-STOP");
    let asked = std::time::Instant::now();
    let hung = ada.post("/posts", &typed).await;
    let waited = asked.elapsed();
    signal("-CONT");

    assert_eq!(hung.status, 503);
    assert!(waited.as_secs() < 8, "{waited:?}");
    hung.has("Kept &#60;title&#62;").has("Hours of work").has("press Publish again");
    assert_eq!((hung.header("retry-after"), hung.header("cache-control")), ("2", "no-store"));
}

#[tokio::test]
async fn markup_in_a_post_stays_text() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let marker = r#"x"><svg/onload=alert(1)>'{{7*7}}"#;
    let page = publish(
        &ada,
        marker,
        "",
        &format!("{marker}\n\n[a](javascript:alert(1)) <img src=x onerror=y>"),
    )
    .await;
    for path in [
        page.as_str(),
        "/",
        "/new",
        "/users/ada",
        "/search?q=svg",
        &format!("{page}/edit"),
        &format!("{page}/delete"),
    ] {
        let reply = ada.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        reply.lacks("<svg/onload").lacks("<img").lacks("\"javascript:").lacks("49");
    }
}

#[tokio::test]
async fn a_posts_title_is_the_only_heading_of_its_article() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let page = publish(&ada, "Title", "", "# One\n\n## Two").await;
    let read = ada.get(&page).await.body;
    let article = read.split_once("<article").unwrap().1.split_once("</article>").unwrap().0;
    assert_eq!(article.matches("<h1").count() + article.matches("<h2").count(), 1, "{article}");
}

#[tokio::test]
async fn each_post_has_one_address() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    assert_eq!(site.visitor().get(&format!("/posts/{post}")).await.status, 200);
    for id in [
        "0",
        "-1",
        "+1",
        "01",
        "0x1",
        "1e0",
        "1.0",
        "x",
        "%00",
        "9223372036854775808",
        "9999999",
        "%EF%BC%91",
        "1%20",
        "1%2F",
        "",
    ] {
        let reply = site.visitor().get(&format!("/posts/{id}")).await;
        assert!([404, 308, 405].contains(&reply.status.as_u16()), "{id}: {}", reply.status);
    }
}
