use axum::http::StatusCode;

use crate::support::TestSite;

#[tokio::test]
async fn a_vote_returns_the_button_with_the_new_score_and_the_next_state() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    let bob = site.member("bob").await;

    let voted = bob.post_part(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
    voted.has("value=\"0\"").has("aria-pressed=\"true\"").has(">1</span>").lacks("<!doctype");
    let taken_back = bob.post_part(&format!("/posts/{post}/vote"), &[("value", "0")]).await;

    assert_eq!((voted.status, taken_back.status), (StatusCode::OK, StatusCode::OK));
    taken_back.has("value=\"1\"").has("aria-pressed=\"false\"").has(">0</span>");
    assert!(voted.header("vary").contains("HX-Request-Type"));
}

#[tokio::test]
async fn a_vote_is_idempotent() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    let url = format!("/posts/{post}/vote");
    let (bob, cy) = (site.member("bob").await, site.member("cy").await);

    for (voter, value, score) in
        [(&bob, "1", 1), (&bob, "1", 1), (&cy, "1", 2), (&bob, "0", 1), (&bob, "0", 1)]
    {
        let plain = voter.post(&url, &[("value", value)]).await;
        assert_eq!(
            (plain.status.as_u16(), plain.location()),
            (303, format!("/posts/{post}#post-{post}").as_str())
        );
        let page = voter.get("/").await;
        page.has(&format!("id=\"score-{post}\">{score}<"));
        page.has(&format!("aria-pressed=\"{}\"", value == "1"));
    }
    assert_eq!(site.wrong_scores().await, []);
}

#[tokio::test]
async fn without_javascript_a_vote_redirects_to_the_same_post_on_the_same_page() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    let bob = site.member("bob").await;
    let from = async |referer: &str| {
        let request = bob.form(&format!("/posts/{post}/vote")).header("referer", referer);
        bob.send(request, "value=1").await.location().to_owned()
    };

    assert_eq!(from("http://site.test/top?t=week").await, format!("/top?t=week#post-{post}"));
    for elsewhere in [
        "https://evil.test/x",
        "http://site.test.evil.test/",
        "http://site.test//evil.test",
        "nonsense",
    ] {
        assert_eq!(from(elsewhere).await, format!("/posts/{post}#post-{post}"), "{elsewhere}");
    }
}

#[tokio::test]
async fn without_a_session_the_vote_button_leads_to_the_log_in_and_back() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    let stranger = site.visitor();

    stranger.get("/top").await.has(&format!("href=\"/login?next=/top%23post-{post}\""));
    let page = stranger.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
    assert_eq!(page.status, 401);
    page.has("action=\"/login\"").has(&format!("name=\"next\" value=\"/#post-{post}\""));
    let request =
        stranger.form(&format!("/posts/{post}/vote")).header("hx-request-type", "partial");
    let part =
        stranger.send(request.header("hx-current-url", "http://site.test/new"), "value=1").await;
    let place = format!("/login?next=/new%23post-{post}");
    assert_eq!((part.status.as_u16(), part.header("hx-redirect")), (401, place.as_str()));
    assert_eq!(site.count("select count(*) from votes").await, 0);
}

#[tokio::test]
async fn an_invalid_vote_or_one_for_a_missing_post_changes_nothing() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    let bob = site.member("bob").await;

    for (path, value, status) in [
        ("/posts/999999/vote".to_owned(), "1", 404),
        ("/posts/x/vote".to_owned(), "1", 404),
        ("/posts/01/vote".to_owned(), "1", 404),
        (format!("/posts/{post}/vote"), "2", 422),
        (format!("/posts/{post}/vote"), "", 422),
        (format!("/posts/{post}/vote"), "-1", 422),
    ] {
        let fields = [("value", value)];
        let plain = bob.post(&path, &fields).await;
        let part = bob.post_part(&path, &fields).await;
        assert_eq!(
            (plain.status.as_u16(), part.status.as_u16()),
            (status, status),
            "{path} {value}"
        );
        plain.has("<!doctype html>");
        part.has("role=\"alert\"").lacks("<!doctype");
        assert_eq!(part.header("hx-reswap"), "beforeend");
    }
    assert_eq!(site.count("select count(*) from votes").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_people_toggling_fifty_posts_at_once_leave_every_score_equal_to_its_rows() {
    let site = TestSite::new().await;
    let mut posts = Vec::new();
    for n in 0..50 {
        posts.push(site.post_by("ada", &format!("Post {n}")).await);
    }
    let mut people = tokio::task::JoinSet::new();
    for n in 0..50usize {
        let voter = site.member(&format!("voter{n}")).await;
        let posts = posts.clone();
        people.spawn(async move {
            for step in 0..50usize {
                let post = posts[(n * 7 + step * 3) % 50];
                let value = if (n + step) % 3 == 0 { "0" } else { "1" };
                let reply =
                    voter.post_part(&format!("/posts/{post}/vote"), &[("value", value)]).await;
                assert_eq!(reply.status, 200, "{}", reply.body);
            }
        });
    }
    people.join_all().await;

    assert!(site.count("select count(*) from votes").await > 0);
    assert_eq!(site.wrong_scores().await, []);
}

/// As many as like, each going from one to the other the opposite way to the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_voters_on_two_posts_in_either_order_cause_no_deadlock() {
    let site = TestSite::new().await;
    let posts = [site.post_by("ada", "One").await, site.post_by("ada", "Other").await];
    let mut people = tokio::task::JoinSet::new();
    for n in 0..40usize {
        let voter = site.member(&format!("voter{n}")).await;
        people.spawn(async move {
            for step in 0..24usize {
                let url = format!("/posts/{}/vote", posts[(n + step) % 2]);
                let value = if step % 4 < 2 { "1" } else { "0" };
                let reply = voter.post_part(&url, &[("value", value)]).await;
                assert_eq!(reply.status, 200, "{}", reply.body);
            }
            if n % 3 == 0 {
                voter.post(&format!("/posts/{}/vote", posts[n % 2]), &[("value", "1")]).await;
            }
        });
    }
    people.join_all().await;

    assert_eq!(site.count("select count(*) from votes").await, 14);
    assert_eq!(site.wrong_scores().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrent_vote_and_deletion_both_succeed() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let mut voters = Vec::new();
    for n in 0..4 {
        voters.push(std::sync::Arc::new(site.member(&format!("voter{n}")).await));
    }
    for round in 0..125 {
        let post = site.post_by("ada", &format!("Post {round}")).await;
        let mut pressing = tokio::task::JoinSet::new();
        for voter in &voters {
            let voter = voter.clone();
            pressing.spawn(async move {
                let reply =
                    voter.post_part(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
                assert!(
                    [200, 404].contains(&reply.status.as_u16()),
                    "{} {}",
                    reply.status,
                    reply.body
                );
            });
        }
        let deleted = ada.post(&format!("/posts/{post}/delete"), &[]).await;
        assert_eq!(deleted.status, 303);
        pressing.join_all().await;
    }
    assert_eq!(site.count("select count(*) from votes").await, 0);
    assert_eq!(site.count("select count(*) from post_ranks").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_concurrent_requests_for_one_vote_are_one_vote() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    let url = format!("/posts/{post}/vote");
    let bob = std::sync::Arc::new(site.member("bob").await);
    for (value, score) in [("1", 1), ("0", 0), ("1", 1)] {
        let mut presses = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (bob, url) = (bob.clone(), url.clone());
            presses.spawn(async move {
                let mut reply = bob.post_part(&url, &[("value", value)]).await;
                // More at once than a busy machine answers in time.
                while reply.status == StatusCode::SERVICE_UNAVAILABLE {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    reply = bob.post_part(&url, &[("value", value)]).await;
                }
                assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
                // One that waited for another may show the score from before.
                let is_one_of =
                    [0, 1].map(|n| reply.body.contains(&format!("id=\"score-{post}\">{n}<")));
                assert!(is_one_of.contains(&true), "{}", reply.body);
            });
        }
        presses.join_all().await;
        bob.get("/").await.has(&format!("id=\"score-{post}\">{score}<"));
        assert_eq!(site.count("select count(*) from votes").await, score);
        assert_eq!(site.wrong_scores().await, []);
    }
}

/// Postgres may abort a statement that conflicts with another; the voter must not notice.
#[tokio::test]
async fn a_vote_that_postgres_aborts_is_retried_a_few_times() {
    let site = TestSite::new().await;
    let post = site.post_by("ada", "Hello").await;
    let bob = site.member("bob").await;
    // A sequence counts on when everything else is undone.
    for sql in [
        "create sequence tries",
        "create function break_off() returns trigger language plpgsql as $$ begin \
         if nextval('tries') % 4 <> 0 then \
         raise exception using errcode = case when random() < 0.5 then '40001' else '40P01' end; \
         end if; return new; end $$",
        "create trigger break_off before insert on votes for each row execute function break_off()",
    ] {
        sqlx::query(sql).execute(&site.db).await.unwrap();
    }
    let vote = bob.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
    assert_eq!(vote.status, 303, "the fourth try is the good one");
    assert_eq!(site.wrong_scores().await, []);
    assert_eq!(site.count("select count(*) from votes").await, 1);

    sqlx::query("delete from votes").execute(&site.db).await.unwrap();
    sqlx::query("update post_ranks set score = 0, hot = hot_rank(0, created_at)")
        .execute(&site.db)
        .await
        .unwrap();
    sqlx::query("alter sequence tries increment by 4").execute(&site.db).await.unwrap();
    sqlx::query("select setval('tries', 1)").execute(&site.db).await.unwrap();
    let vote = bob.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
    assert_eq!(vote.status, 503, "there is an end to it");
    assert_ne!(vote.header("retry-after"), "");
    assert_eq!(site.count("select count(*) from votes").await, 0);
    assert_eq!(site.wrong_scores().await, []);
}
