//! Reading a list page by page while others vote: what was seen does not come again, and what stands
//! still is not passed over.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use social_post::{
    identity::UserId,
    users::{credentials::Authenticated, db::delete_account},
    web::cursor,
};

use crate::support::{Caller, TestSite};

const VOTERS: i64 = 20;

/// `count` posts a minute apart with few votes, so that one more or less moves a post far.
async fn filled(count: i64) -> TestSite {
    let site = TestSite::new().await;
    for statement in [
        format!(
            "insert into users (username) select 'voter' || n from generate_series(1, {VOTERS}) n"
        ),
        format!(
            "insert into posts (author_id, title, body, body_html, excerpt, created_at)
            select 1 + n % 5, 'Post ' || n, '', '', '', now() - make_interval(mins => n::int)
            from generate_series(1, {count}) n"
        ),
        "insert into votes (post_id, user_id) select p.id, u.id from posts p join users u
            on (hashint8(p.id * 31 + u.id) & 1023) < 900 / (1 + (hashint8(p.id) & 7))"
            .to_owned(),
        "insert into post_ranks (post_id, score, hot, created_at)
            select p.id, s.n, hot_rank(s.n, p.created_at), p.created_at from posts p,
            lateral (select count(*) n from votes v where v.post_id = p.id) s"
            .to_owned(),
        "insert into post_search select id, created_at, search_document(title, body) from posts"
            .to_owned(),
        "analyze".to_owned(),
    ] {
        sqlx::query(&statement).execute(&site.db).await.unwrap();
    }
    site
}

/// People who vote and take back at random, all over the site, until they are stopped.
struct Crowd {
    stop: Arc<AtomicBool>,
    votes: Arc<AtomicUsize>,
    /// What they have touched, noted before they do.
    touched: Arc<Mutex<HashSet<i64>>>,
    running: tokio::task::JoinSet<()>,
}

impl Crowd {
    async fn start(site: &TestSite, posts: i64) -> Crowd {
        let mut crowd = Crowd {
            stop: Arc::default(),
            votes: Arc::default(),
            touched: Arc::default(),
            running: tokio::task::JoinSet::new(),
        };
        for n in 1..=VOTERS {
            let by = site.caller_of(&format!("voter{n}")).await;
            let mut liked: HashSet<i64> =
                sqlx::query_scalar("select post_id from votes where user_id = $1")
                    .bind(n)
                    .fetch_all(&site.db)
                    .await
                    .unwrap()
                    .into_iter()
                    .collect();
            let (stop, count, touched) =
                (crowd.stop.clone(), crowd.votes.clone(), crowd.touched.clone());
            crowd.running.spawn(async move {
                let mut chance = StdRng::seed_from_u64(n.unsigned_abs());
                while !stop.load(Ordering::Relaxed) {
                    let post = chance.gen_range(1..=posts);
                    touched.lock().unwrap().insert(post);
                    let path = format!("/posts/{post}/vote");
                    let reply = if liked.remove(&post) {
                        by.delete(&path).await
                    } else {
                        liked.insert(post);
                        by.put(&path, &Value::Null).await
                    };
                    // Where so many press on one machine, some are told to come back.
                    match reply.status.as_u16() {
                        200 => drop(count.fetch_add(1, Ordering::Relaxed)),
                        status => assert_eq!(status, 503, "{}", reply.body),
                    }
                }
            });
        }
        crowd
    }

    /// Those that nobody has touched, once all voters have stopped.
    async fn stop(self, posts: i64) -> BTreeSet<i64> {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join_all().await;
        let votes = self.votes.load(Ordering::Relaxed);
        assert!(votes > 300, "only {votes} votes while the list was read");
        let touched = self.touched.lock().unwrap();
        (1..=posts).filter(|post| !touched.contains(post)).collect()
    }
}

/// A list from its first page to its last, one page after the other.
async fn read_through(reader: &Caller, path: &str) -> Vec<i64> {
    let (mut next, mut seen) = (Some(path.to_owned()), Vec::new());
    while let Some(path) = next {
        let (posts, older) = one_page(reader, &path).await;
        seen.extend(posts);
        next = older;
    }
    seen
}

/// A page, or a part of the API's list, and where it goes on.
async fn one_page(reader: &Caller, path: &str) -> (Vec<i64>, Option<String>) {
    loop {
        let Some(list) = path.strip_prefix("/api/v1") else {
            let page = reader.visitor.get(path).await;
            match page.status.as_u16() {
                200 => return (page.posts(), page.next()),
                status => assert_eq!(status, 503, "{}", page.body),
            }
            continue;
        };
        let page = reader.get(list).await;
        match page.status.as_u16() {
            200 => {
                let posts = page.member("posts");
                let ids = posts.as_array().unwrap().iter().map(|post| post["id"].as_i64().unwrap());
                let (first, _) = path.split_once("&after=").unwrap_or((path, ""));
                let next = page.member("next");
                return (ids.collect(), next.as_str().map(|next| format!("{first}&after={next}")));
            }
            status => assert_eq!(status, 503, "{}", page.body),
        }
    }
}

fn repeated(seen: &[i64]) -> Vec<i64> {
    let mut known = HashSet::new();
    seen.iter().copied().filter(|post| !known.insert(*post)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pagination_repeats_no_post_and_misses_none_that_stayed_while_twenty_people_vote() {
    const POSTS: i64 = 5000;
    let site = filled(POSTS).await;
    let crowd = Crowd::start(&site, POSTS).await;
    let lists = [
        "/",
        "/top?t=all",
        "/api/v1/posts?sort=hot&limit=100",
        "/api/v1/posts?sort=top&limit=100",
        "/api/v1/posts?sort=top&search=post&limit=100",
    ];
    let mut reading = tokio::task::JoinSet::new();
    for path in lists {
        let reader = site.caller();
        reading.spawn(async move { (path, read_through(&reader, path).await) });
    }
    let lists = reading.join_all().await;
    let still = crowd.stop(POSTS).await;
    assert!(still.len() > 500, "nearly everything was moved");
    for (path, seen) in lists {
        assert_eq!(repeated(&seen), [0; 0], "{path}");
        // A search ranks the newest thousand alone.
        if !path.contains("search") {
            let seen: BTreeSet<i64> = seen.into_iter().collect();
            assert_eq!(still.difference(&seen).count(), 0, "{path}");
        }
    }
    assert_eq!(site.wrong_scores().await, []);
}

/// The pages and lists on which votes decide, each with a second page.
const MOVING: [&str; 7] = [
    "/",
    "/top",
    "/top?t=week",
    "/search?q=post&sort=top",
    "/api/v1/posts?sort=hot&limit=30",
    "/api/v1/posts?sort=top&limit=30",
    "/api/v1/posts?sort=top&author=voter1&limit=30",
];

/// What else must not bring a post back: each way down that there is.
#[tokio::test]
async fn pagination_does_not_repeat_a_post_that_fell_past_the_cursor() {
    for (at, path) in MOVING.iter().enumerate() {
        let site = TestSite::new().await;
        // Written within a minute, so that votes alone decide; the higher the id, the further up.
        for statement in [
            "insert into users (username) select 'voter' || n from generate_series(1, 45) n",
            "insert into posts (author_id, title, body, body_html, excerpt, created_at)
                select 1, 'Post ' || n, '', '', '', now() - interval '1 hour' + make_interval(secs => n)
                from generate_series(1, 45) n",
            "insert into votes (post_id, user_id) select p.id, u.id from posts p join users u on u.id <= p.id",
            "insert into post_ranks (post_id, score, hot, created_at)
                select id, id, hot_rank(id, created_at), created_at from posts",
            "insert into post_search select id, created_at, search_document(title, body) from posts",
            // Fell before the list was begun, from far up to the end of it: that is no news.
            "update post_ranks set score = 40, hot = hot_rank(40, created_at) where post_id = 1",
            "delete from votes where post_id = 1",
            "update post_ranks set score = 0, hot = hot_rank(0, created_at) where post_id = 1",
        ] {
            sqlx::query(statement).execute(&site.db).await.unwrap();
        }
        let reader = site.caller();

        // One that begins before the first page is read and counts only after it.
        let mut under_way = site.db.begin().await.unwrap();
        for statement in [
            "delete from votes where post_id = 45",
            "update post_ranks set score = 0, hot = hot_rank(0, created_at) where post_id = 45",
        ] {
            sqlx::query(statement).execute(&mut *under_way).await.unwrap();
        }
        let (first, next) = one_page(&reader, path).await;
        assert_eq!(first, (16..=45).rev().collect::<Vec<_>>(), "{path}");
        under_way.commit().await.unwrap();

        // Once by a vote taken back after another, once up and then down, and by an account that goes.
        let mut voters = vec![site.caller()];
        for n in 1..=45 {
            voters.push(site.caller_of(&format!("voter{n}")).await);
        }
        let taken_back = async |by: &[Caller], post: i64| {
            for caller in by {
                let reply = caller.delete(&format!("/posts/{post}/vote")).await;
                assert_eq!(reply.status, 200, "{}", reply.body);
            }
        };
        taken_back(&voters[3..=16], 16).await;
        voters[40].put("/posts/17/vote", &Value::Null).await;
        taken_back(&voters[3..=17], 17).await;
        taken_back(&voters[40..=40], 17).await;
        taken_back(&voters[2..=2], 18).await;
        taken_back(&voters[4..=18], 18).await;
        let gone = Authenticated { user: UserId(3), epoch: 0 };
        assert!(delete_account(&site.app.db, gone).await.unwrap().is_ok());

        let next = next.unwrap();
        let (rest, end) = one_page(&reader, &next).await;
        assert_eq!(rest, (1..=15).rev().collect::<Vec<_>>(), "{path}");
        assert_eq!(end, None);
        assert_eq!(site.wrong_scores().await, []);

        // Where somebody begins now, all of them are in it, and so they are for who came with a link
        // from before lists knew when they were begun.
        let (first, next) = one_page(&reader, path).await;
        let (second, _) = one_page(&reader, &next.unwrap()).await;
        let all: BTreeSet<_> = first.iter().chain(&second).copied().collect();
        assert_eq!((all.len(), first.len() + second.len()), (45, 45), "{path}");
        if at == 1 {
            let after = format!("/top?after={}", cursor::encode("top all", 16, 16, ""));
            let (rest, _) = one_page(&reader, &after).await;
            let expected: BTreeSet<i64> = (1..=18).chain([45]).collect();
            assert_eq!(rest.len(), expected.len());
            assert_eq!(BTreeSet::from_iter(rest), expected);
        }
    }
}

/// Whoever reads the source can make one up; it must only do no harm.
#[tokio::test]
async fn a_cursor_with_a_snapshot_that_postgres_rejects_is_a_400() {
    let site = filled(40).await;
    for (state, status) in [
        ("1:2:", 200),
        ("1:18446744073709551615:7", 200),
        ("0:1:", 400),
        ("5:3:", 400),
        ("1:2:3", 400),
        ("1:18446744073709551616:", 400),
        ("'", 400),
    ] {
        let after = cursor::encode("top all", 2, 9, state);
        let reply = site.visitor().get(&format!("/top?after={after}")).await;
        assert_eq!(reply.status, status, "{state}");
        let after = cursor::encode("api top 0", 2, 9, state);
        let reply = site.caller().get(&format!("/posts?sort=top&after={after}")).await;
        assert_eq!(reply.status, status, "{state}");
    }
}

/// As after a restore from a dump: the numbers of transactions begin anew.
#[tokio::test]
async fn falls_recorded_on_another_cluster_hide_no_post() {
    let site = filled(70).await;
    sqlx::query(
        "update post_ranks set fell_at = now(), fell_from = 1000, fell_in = '9000000000000'",
    )
    .execute(&site.db)
    .await
    .unwrap();
    for path in ["/", "/top"] {
        assert_eq!(read_through(&site.caller(), path).await.len(), 70, "{path}");
    }
}
