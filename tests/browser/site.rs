//! The site on a real port, and what can happen to it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
};
use social_post::{
    mail::Mailer,
    routes, server,
    web::{cache, throttle::Throttle},
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::net::TcpListener;

use crate::support::{self, TestSite, Visitor, post_office::PostOffice};

/// A site that listens as long as the test runs.
pub async fn served() -> TestSite {
    listen(patient(unbound().await), |router| router).await
}

/// The site that `bin/chain --test` has brought up, or one of the test's own.
pub async fn chained_or_served() -> TestSite {
    match (std::env::var("CHAIN_URL"), std::env::var("CHAIN_DATABASE_URL")) {
        (Ok(url), Ok(database)) => TestSite::over(database.parse().unwrap(), &url),
        _ => served().await,
    }
}

/// As [`served`], sending its emails to `office`.
pub async fn served_with_mail(office: &PostOffice) -> TestSite {
    let (listener, mut site) = patient(unbound().await);
    site.app.mailer = Mailer::new(Some(&office.outgoing())).unwrap();
    site.router = routes::router(site.app.clone());
    listen((listener, site), |router| router).await
}

/// The same, with rate limits.
pub async fn served_as_it_comes(office: &PostOffice) -> TestSite {
    let (listener, mut site) = patient(unbound().await);
    site.app.mailer = Mailer::new(Some(&office.outgoing())).unwrap();
    site.app.throttle = Throttle::new(true);
    site.router = routes::router(site.app.clone());
    listen((listener, site), |router| router).await
}

/// The same, with pages of these origins calling its API.
pub async fn served_listing(origins: &[&str]) -> TestSite {
    let (listener, mut site) = patient(unbound().await);
    site.app.origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    site.router = routes::router(site.app.clone());
    listen((listener, site), |router| router).await
}

/// The same, caching pages as a site does whose database only it writes to, and recording every path that
/// is requested.
pub async fn served_and_watched(asked: Arc<Mutex<Vec<String>>>) -> TestSite {
    let (listener, mut site) = patient(unbound().await);
    support::keep(&mut site.app, cache::LIFETIME);
    site.router = routes::router(site.app.clone());
    let note = move |request: Request, next: Next| {
        asked.lock().unwrap().push(request.uri().path().to_owned());
        next.run(request)
    };
    listen((listener, site), |router| router.layer(from_fn(note))).await
}

/// The same, with the usual timeout for its database.
pub async fn served_impatiently() -> TestSite {
    listen(unbound().await, |router| router).await
}

async fn unbound() -> (TcpListener, TestSite) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, TestSite::at(&format!("http://localhost:{port}")).await)
}

/// A machine busy with browsers may need longer to begin a connection than the site would wait.
fn patient((listener, mut site): (TcpListener, TestSite)) -> (TcpListener, TestSite) {
    let options = site.db.options().clone().acquire_timeout(Duration::from_secs(7));
    site.db = options.connect_lazy_with(site.db.connect_options().as_ref().clone());
    site.app.db = site.db.clone();
    site.router = routes::router(site.app.clone());
    (listener, site)
}

async fn listen(
    (listener, site): (TcpListener, TestSite),
    wrap: impl FnOnce(Router) -> Router,
) -> TestSite {
    until_it_answers(&site).await;
    let router = wrap(site.router.clone());
    let running = site.app.limits.running.clone();
    tokio::spawn(server::serve(
        server::Listener::own(listener),
        router,
        running,
        server::Timeouts::default(),
        server::Shutdown::default(),
    ));
    site
}

/// A post as its author would publish it, without a browser.
pub async fn publish(author: &Visitor, title: &str, url: &str, body: &str) -> i64 {
    let reply = author.post("/posts", &[("title", title), ("url", url), ("body", body)]).await;
    let id = reply.location().strip_prefix("/posts/").unwrap_or_else(|| panic!("{}", reply.body));
    id.parse().unwrap()
}

/// Every session ends, as if its time were over.
pub async fn end_all_sessions(site: &TestSite) {
    sqlx::query("delete from tower_sessions.session").execute(&site.db).await.unwrap();
}

/// The database drops every connection of the site and takes no new one.
pub async fn database_goes_away(site: &TestSite) {
    let options = site.db.connect_options();
    let name = options.get_database().unwrap();
    let mut owner = owner(site).await;
    owner.execute(format!("alter database {name} connection limit 0").as_str()).await.unwrap();
    sqlx::query(
        // Postgres' own workers are not the site's to end.
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = $1 and usename = current_user",
    )
    .bind(name)
    .execute(&mut owner)
    .await
    .unwrap();
}

/// Returns once the site has seen it: also a connection that died less than a second ago has rested so
/// long then that the site asks it before use. Until then each such connection costs a 503.
pub async fn database_comes_back(site: &TestSite) {
    let options = site.db.connect_options();
    let name = options.get_database().unwrap();
    let sql = format!("alter database {name} connection limit -1");
    owner(site).await.execute(sql.as_str()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    while sqlx::query("select 1").execute(&site.app.db).await.is_err() {}
}

async fn until_it_answers(site: &TestSite) {
    while sqlx::query("select 1").execute(&site.db).await.is_err() {}
}

/// The site's own rights, from outside its database.
async fn owner(site: &TestSite) -> PgConnection {
    let options = site.db.connect_options().as_ref().clone().database("postgres");
    PgConnection::connect_with(&options).await.unwrap()
}
