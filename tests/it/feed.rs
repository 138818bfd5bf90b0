use std::collections::BTreeSet;

use crate::support::TestSite;

/// `count` posts an hour apart, each with a number of votes that mixes the orders.
async fn filled(count: i64) -> TestSite {
    let site = TestSite::new().await;
    for statement in [
        "insert into users (username) select 'person' || n from generate_series(1, 40) n".to_owned(),
        format!("insert into posts (author_id, title, body, body_html, excerpt, created_at)
            select 1 + n % 5, 'Post ' || n, '', '', '', now() - make_interval(hours => n::int)
            from generate_series(1, {count}) n"),
        "insert into votes (post_id, user_id) select p.id, u.id from posts p join users u on (p.id * 7919) % 41 >= u.id".to_owned(),
        "insert into post_ranks select p.id, s.n, hot_rank(s.n, p.created_at), p.created_at from posts p,
            lateral (select count(*) n from votes v where v.post_id = p.id) s".to_owned(),
    ] {
        sqlx::query(&statement).execute(&site.db).await.unwrap();
    }
    site
}

/// All posts of a list, page by page, as pages and as parts.
async fn read_through(site: &TestSite, path: &str) -> Vec<i64> {
    let visitor = site.visitor();
    let (mut next, mut seen) = (Some(path.to_owned()), Vec::new());
    while let Some(path) = next {
        let page = visitor.get(&path).await;
        let part = visitor.get_part(&path).await;
        assert_eq!((page.status.as_u16(), page.posts()), (200, part.posts()), "{path}");
        // Not the same cursor: other transactions may have begun in between.
        assert_eq!(page.next().is_some(), part.next().is_some());
        part.lacks("<!doctype").has("<hx-partial hx-target=\"#posts\"");
        assert!(page.posts().len() <= 30);
        assert!(page.next().is_none() || page.posts().len() == 30);
        seen.extend(page.posts());
        next = page.next();
    }
    seen
}

async fn in_order(site: &TestSite, rest: &str) -> Vec<i64> {
    sqlx::query_scalar(&format!("select post_id from post_ranks {rest}"))
        .fetch_all(&site.db)
        .await
        .unwrap()
}

#[tokio::test]
async fn pagination_shows_every_post_once_in_every_order() {
    let site = filled(95).await;
    for (path, rest) in [
        ("/", "order by hot desc, post_id desc"),
        ("/new", "order by created_at desc, post_id desc"),
        ("/top", "order by score desc, post_id desc"),
        ("/top?t=all", "order by score desc, post_id desc"),
        (
            "/top?t=day",
            "where created_at > now() - interval '1 day' order by score desc, post_id desc",
        ),
        (
            "/top?t=week",
            "where created_at > now() - interval '7 days' order by score desc, post_id desc",
        ),
        (
            "/users/person3",
            "join posts p on p.id = post_id where p.author_id = 3 order by p.created_at desc",
        ),
    ] {
        let expected = in_order(&site, rest).await;
        assert!(!expected.is_empty());
        assert_eq!(read_through(&site, path).await, expected, "{path}");
    }
    assert!(site.count("select count(distinct score) from post_ranks").await > 10);
}

#[tokio::test]
async fn a_page_that_is_just_full_is_the_last() {
    let site = filled(30).await;
    let page = site.visitor().get("/").await;
    assert_eq!((page.posts().len(), page.next()), (30, None));
}

#[tokio::test]
async fn a_vote_moves_a_post_at_once() {
    let site = filled(40).await;
    let ada = site.member("ada").await;
    let first = site.visitor().get("/top").await.posts()[0];
    let best = site.count(&format!("select score from post_ranks where post_id = {first}")).await;
    let post = site.post_by("bob", "Rising").await;
    assert_ne!(site.visitor().get("/top").await.posts()[0], post);
    sqlx::query(
        "with cast_votes as (insert into votes select $1, id from users limit $2 returning 1)
        update post_ranks set score = $2, hot = hot_rank($2, created_at) where post_id = $1",
    )
    .bind(post)
    .bind(best)
    .execute(&site.db)
    .await
    .unwrap();
    ada.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
    assert_eq!(site.visitor().get("/top").await.posts()[0], post);
    assert_eq!(site.visitor().get("/").await.posts()[0], post);
}

#[tokio::test]
async fn a_viewer_sees_their_own_votes_and_nobody_elses() {
    let site = filled(30).await;
    let (ada, bob) = (site.member("ada").await, site.member("bob").await);
    let mine = BTreeSet::from([3, 7, 21]);
    for post in &mine {
        ada.post(&format!("/posts/{post}/vote"), &[("value", "1")]).await;
    }
    let voted = |body: &str| -> BTreeSet<i64> {
        let forms = body.split("class=\"vote up\" id=\"vote-").skip(1);
        forms.map(|rest| rest.split_once('"').unwrap().0.parse().unwrap()).collect()
    };
    for path in ["/", "/new", "/top"] {
        assert_eq!(voted(&ada.get(path).await.body), mine, "{path}");
        assert_eq!(voted(&bob.get(path).await.body), BTreeSet::new(), "{path}");
    }
}

#[tokio::test]
async fn an_empty_site_says_so_and_what_to_do() {
    let site = TestSite::new().await;
    for path in ["/", "/new", "/top", "/users"] {
        site.visitor().get(path).await.has("class=\"card empty\"").lacks("rel=\"next\"");
    }
    site.post_by("ada", "Old").await;
    sqlx::query("update post_ranks set created_at = now() - interval '2 years'")
        .execute(&site.db)
        .await
        .unwrap();
    site.visitor().get("/top?t=year").await.has("No posts in this period");
}

#[tokio::test]
async fn a_cursor_that_is_damaged_or_of_another_list_is_a_400() {
    let site = filled(65).await;
    let visitor = site.visitor();
    let next = visitor.get("/").await.next().unwrap();
    let cursor = next.split_once("after=").unwrap().1;
    for path in [
        "/?after=x".to_owned(),
        format!("/new?after={cursor}"),
        format!("/top?after={cursor}"),
        format!("/users?after={cursor}"),
        format!("/users/person1?after={cursor}"),
        format!("/?after={}", &cursor[1..]),
        format!("/?after={cursor}A"),
        format!("/search?q=post&after={cursor}"),
        "/top?t=decade".to_owned(),
        "/?after=a&after=b".to_owned(),
    ] {
        assert_eq!(visitor.get(&path).await.status, 400, "{path}");
    }
    assert_eq!(visitor.get(&format!("{next}&utm_source=x")).await.status, 200);
    for (path, same) in [
        ("/?after=", "/"),
        ("/top?t=&after=", "/top"),
        ("/users?after=", "/users"),
        ("/search?q=post&sort=", "/search?q=post"),
        ("/search?q=", "/search"),
    ] {
        let (reply, same) = (visitor.get(path).await, visitor.get(same).await);
        assert_eq!((reply.status.as_u16(), reply.posts()), (200, same.posts()), "{path}");
    }
}
