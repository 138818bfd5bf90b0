//! `TestSite` is a running site over a database of its own; `Visitor` is one browser talking to it.

mod caller;
mod database;
pub mod oracle;
pub mod post_office;
pub mod routes;
mod visitor;
pub mod wire;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use serde_json::json;
use social_post::{
    config::{AccessLog, Site},
    database::{local, pool},
    identity::UserId,
    lists::member_cache::MemberLists,
    live::Live,
    mail::Mailer,
    posts::publish::{self, Publication},
    routes::{App, router},
    server::Shutdown,
    users::{Passwords, credentials::Authenticated, tokens::Tokens},
    web::{
        cache::Versions,
        middleware::{body::Bodies, page_cache::PageCache, timeout::Limits, unread::Unread},
        throttle::Throttle,
    },
};
use sqlx::PgPool;

pub use caller::{API, Caller};
pub use database::{Database, absent_database, database, empty_database};
pub use visitor::{Reply, Visitor, encode};

/// What the tests' sites sign their tokens with.
pub const JWT_SECRET: &str = "a secret of the tests, 32 bytes or more";

/// Lets a site keep what many ask for, until it is told of a change or `lifetime` is over.
pub fn keep(app: &mut App, lifetime: Duration) {
    let changes = Versions::new(lifetime);
    app.pages = PageCache::new(&changes);
    app.lists = MemberLists::new(&changes);
    app.live = Live::new(changes, Shutdown::default(), true);
}

pub fn tokens(site: &Site) -> Tokens {
    Tokens::new(&JWT_SECRET.parse().unwrap(), None, 30, site)
}

/// A fault that nobody has thought of: no title can be read any more.
pub const BROKEN_TITLES: &str = "alter table posts rename to kept; create view posts as \
    select id, author_id, (1 / (id - id))::text as title, url, body, body_html, excerpt, \
    created_at, edited_at from kept";

/// Good enough for the site, and for every person in these tests.
pub const PASSWORD: &str = "violet kettle 9 harbour";

pub struct TestSite {
    pub router: Router,
    pub app: App,
    /// The test's own way to the database, beside the site's.
    pub db: PgPool,
}

impl TestSite {
    pub async fn new() -> TestSite {
        TestSite::at("http://site.test").await
    }

    /// A site that counts how often somebody does what, as every real one does.
    pub async fn throttled() -> TestSite {
        let mut site = TestSite::new().await;
        site.app.throttle = Throttle::new(true);
        site.router = router(site.app.clone());
        site
    }

    /// A site whose public address is `base_url`.
    pub async fn at(base_url: &str) -> TestSite {
        let database = database().await;
        let mut site = TestSite::over(database.options(), base_url);
        site.db = database.pool.clone();
        site
    }

    /// As [`TestSite::new`], with some of its parts replaced.
    pub async fn altered(alter: impl FnOnce(&mut App)) -> TestSite {
        let mut site = TestSite::new().await;
        alter(&mut site.app);
        site.router = router(site.app.clone());
        site
    }

    /// A site that sends its letters to `office`.
    pub async fn mailing(office: &post_office::PostOffice) -> TestSite {
        let mailer = Mailer::new(Some(&office.outgoing())).unwrap();
        TestSite::altered(|app| app.mailer = mailer).await
    }

    /// A site over a database that may be anything, or away.
    pub fn over(options: sqlx::postgres::PgConnectOptions, base_url: &str) -> TestSite {
        let db = pool::open(options, 8);
        let site = Site {
            name: "Social Post".into(),
            base_url: base_url.parse().unwrap(),
            session_idle_days: 30,
            trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        };
        // Tests change the database behind the site's back.
        let changes = Versions::new(Duration::ZERO);
        let app = App {
            db: db.clone(),
            replica: None,
            tokens: Some(tokens(&site)),
            site: Arc::new(site),
            passwords: Passwords::default(),
            origins: Arc::new([]),
            mailer: Mailer::new(None).unwrap(),
            access_log: AccessLog::All,
            limits: Limits::default(),
            bodies: Bodies::default(),
            unread: Unread::default(),
            throttle: Throttle::new(false),
            pages: PageCache::new(&changes),
            lists: MemberLists::new(&changes),
            live: Live::new(changes, Shutdown::default(), false),
            shutdown: Shutdown::default(),
            postgres: local::Status::default(),
        };
        TestSite { router: router(app.clone()), app, db }
    }

    pub fn visitor(&self) -> Visitor {
        Visitor::new(self.router.clone(), self.app.site.base_url.origin())
    }

    /// Somebody new, signed up through the form and logged in.
    pub async fn member(&self, name: &str) -> Visitor {
        let visitor = self.visitor();
        let email = format!("{name}@example.org");
        let fields = [("username", name), ("email", email.as_str()), ("password", PASSWORD)];
        let mut reply = visitor.post("/signup", &fields).await;
        // A machine with much else to do takes its time, and the site says so.
        for _ in 0..5 {
            if reply.status == 503 {
                reply = visitor.post("/signup", &fields).await;
            }
        }
        assert_eq!(reply.status, 303, "sign-up failed: {}", reply.body);
        visitor
    }

    /// A program that says nothing of who it is.
    pub fn caller(&self) -> Caller {
        Caller { visitor: self.visitor(), token: None }
    }

    /// A program with a token of `name`, which is made without a look at any password.
    pub async fn caller_of(&self, name: &str) -> Caller {
        let (user, epoch): (i64, i32) =
            sqlx::query_as("select id, auth_epoch from users where username = $1")
                .bind(name)
                .fetch_one(&self.db)
                .await
                .unwrap();
        let tokens = self.app.tokens.as_ref().unwrap();
        let now = social_post::users::tokens::db::now(&self.db).await.unwrap();
        let token = tokens.issue(Authenticated { user: UserId(user), epoch }, now).unwrap();
        Caller { visitor: self.visitor(), token: Some(token) }
    }

    /// Somebody new, who came through the API alone, and their token.
    pub async fn program(&self, name: &str) -> Caller {
        let nobody = self.caller();
        let email = format!("{name}@example.org");
        let account = json!({ "username": name, "email": email, "password": PASSWORD });
        let reply = nobody.post("/users", &account).await;
        assert_eq!(reply.status, 201, "sign-up failed: {}", reply.body);
        let reply = nobody.log_in(name, PASSWORD).await;
        assert_eq!(reply.status, 200, "log-in failed: {}", reply.body);
        let token = reply.member("access_token").as_str().unwrap().to_owned();
        Caller { token: Some(token), ..nobody }
    }

    /// A post by a person who is made for it where need be, straight into the database.
    pub async fn post_by(&self, author: &str, title: &str) -> i64 {
        let id: i64 = sqlx::query_scalar(
            "with found as (select id from users where username = $1), \
             made as (insert into users (username) select $1 where not exists (select from found) returning id) \
             select id from found union all select id from made",
        )
        .bind(author)
        .fetch_one(&self.db)
        .await
        .unwrap();
        let draft = social_post::posts::Draft {
            title: social_post::posts::Title::parse(title).unwrap(),
            link: None,
            body: social_post::posts::Body::parse("").unwrap(),
        };
        let author = UserId(id);
        match publish::db::publish(&self.db, author, &draft, None).await.unwrap() {
            Publication::Post(post) => post.0,
            other => panic!("not published: {other:?}"),
        }
    }

    /// Every post whose stored score is not the number of its votes.
    pub async fn wrong_scores(&self) -> Vec<(i64, i64, i64)> {
        sqlx::query_as(
            "select post_id, score, votes from post_ranks, lateral \
             (select count(*) as votes from votes v where v.post_id = post_ranks.post_id) counted \
             where score <> votes or hot <> hot_rank(score, created_at)",
        )
        .fetch_all(&self.db)
        .await
        .unwrap()
    }

    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.db).await.unwrap()
    }
}

/// A directory of the test's own that anyone may enter.
pub fn empty_directory(name: &str) -> PathBuf {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&directory).unwrap();
    directory
}
