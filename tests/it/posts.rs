use std::{sync::Arc, time::Duration};

use rand::seq::SliceRandom as _;
use social_post::posts::publish::db::sweep_keys;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;

use crate::support::{PASSWORD, TestSite, Visitor};

/// Publishes through the form and gives the post's address.
async fn publish(by: &Visitor, title: &str, url: &str, body: &str) -> String {
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
    read.has("rel=\"ugc nofollow noopener noreferrer\"").lacks(">edited<");
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
async fn an_invalid_form_keeps_what_was_typed() {
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
async fn a_hanging_database_times_out_in_seconds_and_loses_nothing_that_was_typed() {
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
    hung.has("Kept &#60;title&#62;").has("Hours of work").has("Press Publish to try again.");
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
async fn a_post_has_one_canonical_path() {
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

// --- Two at once ---

#[tokio::test]
async fn an_edit_conflict_shows_both_versions_and_replaces_on_the_second_submit() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let page = publish(&ada, "First", "", "As it was").await;
    let edit = format!("{page}/edit");
    let opened = ada.get(&edit).await;
    let version = opened.hidden("version").unwrap();
    let theirs = [
        ("title", "Theirs <b>"),
        ("url", "https://theirs.test/?a=1&b=2"),
        ("body", "Their text\n\n</textarea>"),
        ("version", version),
    ];
    assert_eq!(ada.post(&edit, &theirs).await.status, 303);

    let ours = [("title", "Ours <i>"), ("url", ""), ("body", "Our <text>"), ("version", version)];
    let told = ada.post(&edit, &ours).await;
    assert_eq!(told.status, 409);
    told.has("changed since you opened this form")
        .has("Press Save to replace the current version with yours");
    told.has("value=\"Ours &#60;i&#62;\"").has("Our &#60;text&#62;");
    told.has("Theirs &#60;b&#62;").has("https://theirs.test/?a=1&#38;b=2");
    told.has("Their text\n\n&#60;/textarea&#62;");
    ada.get(&page).await.has("Theirs");

    let again = [ours[0], ours[1], ours[2], ("version", told.hidden("version").unwrap())];
    assert_eq!(ada.post(&edit, &again).await.status, 303);
    assert_eq!(ada.post(&edit, &again).await.status, 303, "what stands already is no conflict");
    assert_eq!(ada.post(&edit, &ours).await.status, 303, "however old its form is");
    ada.get(&page).await.has("Ours &#60;i&#62;").lacks("Theirs");
    assert_eq!(ada.post(&edit, &theirs).await.status, 409);
    assert_eq!(ada.post(&edit, &theirs[..3]).await.status, 303, "without a version the last wins");
}

#[tokio::test]
async fn the_version_of_an_edit_survives_a_preview_a_mistake_and_an_expired_session() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let page = publish(&ada, "First", "", "").await;
    let edit = format!("{page}/edit");
    let id = page.rsplit_once('/').unwrap().1;
    ada.post(&edit, &[("title", "Second")]).await;
    let opened = ada.get(&edit).await;
    let version = opened.hidden("version").unwrap();
    assert_ne!(version, "0");

    let typed = [("title", "Third"), ("version", version)];
    let preview = ada.post(&format!("/posts/preview?of={id}"), &typed).await;
    let mistake = ada.post(&edit, &[("title", ""), ("version", version)]).await;
    sqlx::query("delete from user_sessions").execute(&site.db).await.unwrap();
    let expired = ada.post(&edit, &typed).await;
    assert_eq!(
        [preview.status, mistake.status, expired.status].map(|s| s.as_u16()),
        [200, 422, 401]
    );
    for reply in [preview, mistake, expired] {
        assert_eq!(reply.hidden("version"), Some(version));
        assert_eq!(reply.hidden("key"), None);
    }
}

#[tokio::test]
async fn an_invented_version_or_idempotency_key_is_refused() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let page = publish(&ada, "First", "", "").await;
    for (path, field, value) in [
        (format!("{page}/edit"), "version", ""),
        (format!("{page}/edit"), "version", "yesterday"),
        (format!("{page}/edit"), "version", "9223372036854775808"),
        ("/posts".to_owned(), "key", ""),
        ("/posts".to_owned(), "key", "1"),
        ("/posts/preview".to_owned(), "key", "x"),
    ] {
        let reply = ada.post(&path, &[("title", "Second"), (field, value)]).await;
        assert_eq!(reply.status, 422, "{path} {field}={value}");
    }
    ada.get(&page).await.has("First");
    assert_eq!(site.count("select count(*) from posts").await, 1);
}

/// Of edits that start from the same text one is saved and the other gets the conflict; what is deleted stays
/// deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_edits_and_deletions_lose_nothing_silently_and_restore_nothing() {
    let site = TestSite::new().await;
    let ada = Arc::new(site.member("ada").await);
    for round in 0..200 {
        let post = site.post_by("ada", "As it was").await;
        let mut acts = vec!["one", "two"];
        if round % 2 == 0 {
            acts[1] = "delete";
        }
        acts.shuffle(&mut rand::thread_rng());
        let mut running = JoinSet::new();
        for act in acts {
            let ada = ada.clone();
            running.spawn(async move {
                let reply = if act == "delete" {
                    ada.post(&format!("/posts/{post}/delete"), &[]).await
                } else {
                    let fields = [("title", act), ("version", "0")];
                    ada.post(&format!("/posts/{post}/edit"), &fields).await
                };
                (act, reply.status.as_u16())
            });
        }
        let mut done = running.join_all().await;
        done.sort_unstable();

        let title: Option<String> = sqlx::query_scalar("select title from posts where id = $1")
            .bind(post)
            .fetch_optional(&site.db)
            .await
            .unwrap();
        match done[..] {
            [("delete", 303), ("one", 303 | 404)] => assert_eq!(title, None),
            [("one", 303), ("two", 409)] => assert_eq!(title.as_deref(), Some("one")),
            [("one", 409), ("two", 303)] => assert_eq!(title.as_deref(), Some("two")),
            _ => panic!("{done:?}"),
        }
    }
    let unlike = "select count(*) from posts full join post_search on post_id = id \
                  where document is distinct from search_document(title, body)";
    assert_eq!(site.count(unlike).await, 0);
    assert_eq!(site.count("select count(*) from posts").await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_sent_twenty_times_at_once_makes_one_post_and_redirects_to_it() {
    let site = TestSite::new().await;
    let (ada, bob) = (Arc::new(site.member("ada").await), site.member("bob").await);
    let form = ada.get("/posts/new").await;
    let key = Arc::<str>::from(form.hidden("key").unwrap());
    assert_ne!(ada.get("/posts/new").await.hidden("key"), Some(&*key), "each form has its own");

    let mut pressing = JoinSet::new();
    for _ in 0..20 {
        let (ada, key) = (ada.clone(), key.clone());
        pressing.spawn(async move {
            let reply = ada.post("/posts", &[("title", "Once"), ("key", &key)]).await;
            assert_eq!(reply.status, 303, "{}", reply.body);
            reply.location().to_owned()
        });
    }
    let mut places = pressing.join_all().await;
    places.dedup();
    assert_eq!(places.len(), 1, "{places:?}");
    assert_eq!(site.count("select count(*) from posts").await, 1);
    assert_eq!(site.count("select count(*) from post_search").await, 1);

    let others = bob.post("/posts", &[("title", "Once"), ("key", &key)]).await;
    assert_ne!(others.location(), places[0], "a key is its author's own");
    for _ in 0..2 {
        ada.post("/posts", &[("title", "Without a key")]).await;
    }
    assert_eq!(site.count("select count(*) from posts").await, 4);
}

/// As happens when the response got lost, or with the browser's back button.
#[tokio::test]
async fn an_idempotency_key_with_another_text_neither_loses_nor_publishes_it() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let key = uuid::Uuid::now_v7().to_string();
    let page = ada.post("/posts", &[("title", "First"), ("key", &key)]).await;
    let page = page.location();

    let typed = [("title", "Second"), ("body", "Hours of work"), ("key", &key)];
    let told = ada.post("/posts", &typed).await;
    assert_eq!(told.status, 409);
    told.has(&format!("href=\"{page}\"")).has("value=\"Second\"").has("Hours of work");
    assert_eq!(site.count("select count(*) from posts").await, 1);

    let again = [typed[0], typed[1], ("key", told.hidden("key").unwrap())];
    let second = ada.post("/posts", &again).await;
    assert_eq!(second.status, 303);
    assert_ne!(second.location(), page);
    let first = ada.post("/posts", &[("title", "First"), ("key", &key)]).await;
    assert_eq!(first.location(), page, "the same text leads to its post still");
    ada.post(&format!("{page}/delete"), &[]).await;
    let anew = ada.post("/posts", &[("title", "First"), ("key", &key)]).await;
    assert_eq!(anew.status, 303, "what is deleted may be published anew");
    assert_eq!(ada.get(anew.location()).await.status, 200);
}

#[tokio::test]
async fn the_idempotency_key_of_a_form_survives_a_preview_a_mistake_and_an_expired_session() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let form = ada.get("/posts/new").await;
    let key = form.hidden("key").unwrap();
    let preview = ada.post("/posts/preview", &[("title", "T"), ("key", key)]).await;
    let mistake = ada.post("/posts", &[("title", ""), ("key", key)]).await;
    sqlx::query("delete from user_sessions").execute(&site.db).await.unwrap();
    let expired = ada.post("/posts", &[("title", "T"), ("key", key)]).await;
    assert_eq!(
        [preview.status, mistake.status, expired.status].map(|s| s.as_u16()),
        [200, 422, 401]
    );
    for reply in [preview, mistake, expired] {
        assert_eq!(reply.hidden("key"), Some(key));
        assert_eq!(reply.hidden("version"), None);
    }
}

#[tokio::test]
async fn an_idempotency_key_expires_after_a_day() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    for title in ["Old", "New"] {
        let key = uuid::Uuid::now_v7().to_string();
        ada.post("/posts", &[("title", title), ("key", &key)]).await;
    }
    let age = "update publish_keys set created_at = now() - interval '25 hours' \
               where post_id = (select id from posts where title = 'Old')";
    sqlx::query(age).execute(&site.db).await.unwrap();

    assert_eq!(sweep_keys(&site.db).await.unwrap(), 1);
    assert_eq!(sweep_keys(&site.db).await.unwrap(), 0);
    assert_eq!(site.count("select count(*) from publish_keys").await, 1);
    assert_eq!(site.count("select count(*) from posts").await, 2);
}

/// The row is locked by a deletion that ends only when the request waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_deleted_during_a_request_loses_nothing_that_was_typed() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    let vote = format!("/posts/{post}/vote");
    let publishing = [("title", "Last <words>"), ("key", "0190163d-8694-739b-aea5-966c26f8ad91")];
    for (name, path, fields, status) in [
        ("bob", "/posts", &publishing[..], 401),
        ("cy", "/posts", &publishing[..1], 401),
        ("dan", vote.as_str(), &[("value", "1")], 404),
    ] {
        let leaving = site.member(name).await;
        let mut deleting = PgConnection::connect_with(&site.db.connect_options()).await.unwrap();
        deleting.execute("begin").await.unwrap();
        let delete = format!("delete from users where username = '{name}'");
        deleting.execute(delete.as_str()).await.unwrap();
        let (reply, ()) = tokio::join!(leaving.post(path, fields), async {
            let waits = "select count(*) from pg_stat_activity where datname = current_database() \
                         and wait_event_type = 'Lock'";
            while site.count(waits).await == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            deleting.execute("commit").await.unwrap();
        });

        assert_eq!(reply.status, status, "{name} {path} {}", reply.body);
        if status == 401 {
            reply.has("action=\"/login\"").has("Last &#60;words&#62;").lacks("Logged in as");
        }
        assert_eq!(site.count("select count(*) from posts").await, 1);
        assert_eq!(site.count("select count(*) from votes").await, 0);
    }
    assert_eq!(site.wrong_scores().await, []);
}

// --- Why a post is where it is ---

/// `count` posts an hour apart, the first one the newest, and the ids of them in the hot list's order.
async fn ranked(site: &TestSite, count: i64) -> Vec<i64> {
    for statement in [
        "insert into users (username) values ('ada')".to_owned(),
        format!(
            "insert into posts (author_id, title, body, body_html, excerpt, created_at)
            select 1, 'Post <' || n || '>', '', '', '', now() - make_interval(hours => n::int)
            from generate_series(1, {count}) n"
        ),
        "insert into post_ranks (post_id, score, hot, created_at)
            select id, 0, hot_rank(0, created_at), created_at from posts"
            .to_owned(),
    ] {
        sqlx::query(&statement).execute(&site.db).await.unwrap();
    }
    (1..=count).collect()
}

#[tokio::test]
async fn pages_and_api_explain_the_rank_of_a_post() {
    let site = TestSite::new().await;
    let order = ranked(&site, 30).await;
    let bob = site.program("bob").await;
    let (visitor, caller) = (site.visitor(), site.caller());
    assert_eq!(visitor.get("/").await.posts(), order);

    // One vote is no more than none, for how could it be ten times as many; the second lifts it by
    // three and three quarter hours.
    for (n, by) in [bob, site.program("eve").await].iter().enumerate() {
        assert_eq!(by.put("/posts/20/vote", &serde_json::Value::Null).await.status, 200);
        let place = [20, 17][n];
        let votes = ["0.000", "0.301"][n];
        let hot = visitor.get("/").await.posts();
        assert_eq!(hot[place - 1], 20);
        let page = visitor.get("/posts/20").await;
        page.has("<details class=\"why\">")
            .has(&format!("<dt>Votes</dt><dd>{}</dd>", n + 1))
            .has(&format!(", of which {votes} for its votes and "))
            .has(&format!("Number {place} of the <a href=\"/\">hot posts</a>"));
        let told = caller.get("/posts/20/rank").await.json();
        assert_eq!(told["id"], 20);
        assert_eq!((&told["score"], &told["place"]), (&(n + 1).into(), &place.into()));
        assert!((told["age_seconds"].as_i64().unwrap() - 72_000).abs() < 600, "{told}");
        let hot_rank: f64 = sqlx::query_scalar("select hot from post_ranks where post_id = 20")
            .fetch_one(&site.db)
            .await
            .unwrap();
        assert_eq!(told["rank"].as_f64(), Some(hot_rank));
        page.has(&format!("<dd>{hot_rank:.3}, of which"));
        for (which, label, at) in
            [("above", "Just above", place - 2), ("below", "Just below", place)]
        {
            let (id, title) = (hot[at], format!("Post <{}>", hot[at]));
            assert_eq!(told[which], serde_json::json!({"id": id, "title": title}));
            let title = title.replace('<', "&#60;").replace('>', "&#62;");
            page.has(&format!(
                "<dt>{label}</dt><dd><a dir=\"auto\" href=\"/posts/{id}\">{title}</a></dd>"
            ));
        }
    }

    for (id, place, missing, words) in
        [(1, 1, "above", "Nothing: it is the first"), (30, 30, "below", "Nothing: it is the last")]
    {
        visitor.get(&format!("/posts/{id}")).await.has(words);
        let told = caller.get(&format!("/posts/{id}/rank")).await.json();
        assert_eq!((&told["place"], &told[missing]), (&place.into(), &serde_json::Value::Null));
    }
    assert_eq!(caller.get("/posts/31/rank").await.status, 404);
}

#[tokio::test]
async fn ranks_are_counted_up_to_a_thousand() {
    let site = TestSite::new().await;
    ranked(&site, 1002).await;
    for (id, place, words) in [
        (1000, Some(1000), "Number 1000 of the"),
        (1001, None, "Beyond the first 1,000"),
        (1002, None, "Beyond the first 1,000"),
    ] {
        site.visitor().get(&format!("/posts/{id}")).await.has(words);
        let told = site.caller().get(&format!("/posts/{id}/rank")).await.json();
        assert_eq!(told["place"].as_i64(), place, "{told}");
        assert_eq!(told["above"]["id"], id - 1);
    }
}
