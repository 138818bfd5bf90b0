//! What each unsafe route publishes when it succeeds, beside what the manifest of routes says.

use std::{collections::BTreeSet, time::Duration};

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use social_post::{
    identity::PostId,
    live::Change,
    routes::{API, Changes, ROUTES},
};
use tower::ServiceExt as _;

use crate::support::{
    PASSWORD, TestSite, Visitor, encode, keep,
    post_office::{PostOffice, Received},
};

/// Sends requests that succeed, and remembers the routes that were asked for.
struct Walk<'a> {
    site: &'a TestSite,
    walked: &'a mut BTreeSet<String>,
}

impl Walk<'_> {
    /// Sends the request and compares what its response publishes with the manifest's row of `route`.
    async fn send(&mut self, route: &str, request: Request<Body>, post: i64) {
        let (method, path) = route.split_once(' ').unwrap();
        let row = ROUTES.iter().find(|row| row.method == method && row.path == path);
        let row = row.unwrap_or_else(|| panic!("{route} is not in src/routes/mod.rs"));
        let response = self.site.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        assert!(status.is_success() || status.is_redirection(), "{route}: {status}");
        let change = response.extensions().get::<Change>().copied();
        let is_declared = match (row.change, change) {
            (Some(Changes::Nothing), Some(Change::Nothing))
            | (Some(Changes::Lists), Some(Change::Lists))
            | (Some(Changes::All), Some(Change::All)) => true,
            (Some(Changes::Post), Some(Change::Post(PostId(id))))
            | (Some(Changes::Removed), Some(Change::Removed(PostId(id)))) => id == post,
            (Some(Changes::NewPost), Some(Change::New(PostId(id)))) => id > post,
            _ => false,
        };
        assert!(is_declared, "{route} publishes {change:?}, and its row says {:?}", row.change);
        self.walked.insert(route.to_owned());
    }

    /// A form, sent by `visitor`.
    async fn form(
        &mut self,
        visitor: &Visitor,
        route: &str,
        path: &str,
        fields: &[(&str, &str)],
        post: i64,
    ) {
        let request = visitor.form(path).body(encode(fields).into()).unwrap();
        self.send(&format!("POST {route}"), request, post).await;
    }

    /// A document, sent by the member of that name, or by nobody.
    async fn call(
        &mut self,
        member: Option<&str>,
        route: &str,
        path: &str,
        json: Value,
        post: i64,
    ) {
        let caller = match member {
            Some(name) => self.site.caller_of(name).await,
            None => self.site.caller(),
        };
        let (method, route) = route.split_once(' ').unwrap();
        let request = caller.document(method.parse().unwrap(), path);
        let request = request.body(json.to_string().into()).unwrap();
        self.send(&format!("{method} {API}{route}"), request, post).await;
    }

    async fn session_of(&self, name: &str) -> String {
        let find = "select s.handle::text from user_sessions s join users u on u.id = s.user_id \
                    where u.username = $1 limit 1";
        sqlx::query_scalar(find).bind(name).fetch_one(&self.site.db).await.unwrap()
    }
}

/// The one e-mail with a link to `page`, of the `count` that have come.
async fn link(
    office: &PostOffice,
    count: usize,
    page: &str,
    used: &mut BTreeSet<String>,
) -> String {
    let is_about = |email: &&Received| email.text.contains(&format!("{page}/"));
    let emails = office.letters(count).await;
    let links = emails.iter().filter(is_about).map(|email| email.link(page));
    let link = links.into_iter().find(|link| !used.contains(link)).expect("a new link");
    used.insert(link.clone());
    link
}

/// A handler that forgot to say what it changed would leave others with a stale page.
#[tokio::test]
async fn every_unsafe_route_publishes_the_change_that_the_manifest_of_routes_declares() {
    let mut walked = BTreeSet::new();
    let site = TestSite::new().await;
    posts_and_votes(&mut Walk { site: &site, walked: &mut walked }).await;
    accounts(&mut Walk { site: &site, walked: &mut walked }).await;
    let office = PostOffice::open().await;
    let site = TestSite::mailing(&office).await;
    links(&mut Walk { site: &site, walked: &mut walked }, &office).await;

    let unsafe_routes = ROUTES.iter().filter(|route| !route.method.is_safe());
    let missing: Vec<_> = unsafe_routes
        .map(|route| format!("{} {}", route.method, route.path))
        .filter(|route| !walked.contains(route))
        .collect();
    assert!(missing.is_empty(), "add a request that succeeds to tests/it/changes.rs: {missing:?}");
}

async fn posts_and_votes(walk: &mut Walk<'_>) {
    let ada = walk.site.member("ada").await;
    let text = [("title", "A title"), ("url", ""), ("body", "Some *text*")];
    let json = json!({ "title": "Another title", "body": "Some *text*" });
    walk.form(&ada, "/posts", "/posts", &text, 0).await;
    walk.form(&ada, "/posts/preview", "/posts/preview", &text, 0).await;
    walk.call(Some("ada"), "POST /posts", "/posts", json.clone(), 1).await;
    walk.call(Some("ada"), "POST /posts/preview", "/posts/preview", json!({ "body": "*x*" }), 0)
        .await;
    walk.form(&ada, "/posts/{id}/edit", "/posts/1/edit", &text, 1).await;
    walk.call(Some("ada"), "PUT /posts/{id}", "/posts/2", json.clone(), 2).await;
    walk.call(Some("ada"), "PATCH /posts/{id}", "/posts/2", json!({ "title": "A third" }), 2).await;
    walk.form(&ada, "/posts/{id}/vote", "/posts/2/vote", &[("value", "1")], 2).await;
    walk.call(Some("ada"), "PUT /posts/{id}/vote", "/posts/1/vote", Value::Null, 1).await;
    walk.call(Some("ada"), "DELETE /posts/{id}/vote", "/posts/1/vote", Value::Null, 1).await;
    walk.form(&ada, "/posts/{id}/delete", "/posts/1/delete", &[], 1).await;
    walk.call(Some("ada"), "DELETE /posts/{id}", "/posts/2", Value::Null, 2).await;
}

async fn accounts(walk: &mut Walk<'_>) {
    let bob = walk.site.visitor();
    let account = |name: &str| json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
    let fields = [("username", "bob"), ("email", "bob@example.org"), ("password", PASSWORD)];
    walk.form(&bob, "/signup", "/signup", &fields, 0).await;
    walk.call(None, "POST /users", "/users", account("cyd"), 0).await;
    let cyd = walk.site.visitor();
    let log_in = [("login", "cyd"), ("password", PASSWORD)];
    walk.form(&cyd, "/login", "/login", &log_in, 0).await;
    let form = encode(&[("username", "cyd"), ("password", PASSWORD)]);
    let token = walk.site.visitor().form(&format!("{API}/login")).body(form.into()).unwrap();
    walk.send(&format!("POST {API}/login"), token, 0).await;

    let new = "copper willow 5 lagoon";
    let json = json!({ "current_password": PASSWORD, "new_password": new });
    walk.call(Some("cyd"), "PUT /users/me/password", "/users/me/password", json, 0).await;
    let json = json!({ "current_password": new, "email": "cyd2@example.org" });
    walk.call(Some("cyd"), "PUT /users/me/email", "/users/me/email", json, 0).await;
    let own = [("current_password", PASSWORD), ("email", "dora2@example.org")];
    let password = [("current_password", PASSWORD), ("new_password", new)];
    let dora = walk.site.member("dora").await;
    walk.form(&dora, "/settings/email", "/settings/email", &own, 0).await;
    walk.form(&dora, "/settings/password", "/settings/password", &password, 0).await;

    let eve = walk.site.member("eve").await;
    let session = walk.session_of("eve").await;
    let revoke = "/settings/sessions/revoke";
    walk.form(&eve, revoke, revoke, &[("session", &session)], 0).await;
    walk.site.member("fay").await;
    let session = format!("/users/me/sessions/{}", walk.session_of("fay").await);
    walk.call(Some("fay"), "DELETE /users/me/sessions/{id}", &session, Value::Null, 0).await;
    walk.call(Some("fay"), "DELETE /users/me/sessions", "/users/me/sessions", Value::Null, 0).await;
    walk.call(Some("fay"), "DELETE /users/me/tokens", "/users/me/tokens", Value::Null, 0).await;
    let gil = walk.site.member("gil").await;
    let own = [("current_password", PASSWORD)];
    walk.form(&gil, "/settings/delete-account", "/settings/delete-account", &own, 0).await;
    let json = json!({ "current_password": PASSWORD });
    walk.call(Some("fay"), "POST /users/me/deletion", "/users/me/deletion", json, 0).await;
    let hal = walk.site.member("hal").await;
    walk.form(&hal, "/logout", "/logout", &[], 0).await;
}

async fn links(walk: &mut Walk<'_>, office: &PostOffice) {
    let nobody = walk.site.visitor();
    let mut used = BTreeSet::new();
    let (confirm, reset) = ("/email/confirm", "/password/reset");
    let secret = |link: &str| link.rsplit_once('/').unwrap().1.to_owned();
    walk.site.member("ada").await;
    let page = link(office, 1, confirm, &mut used).await;
    walk.form(&nobody, "/email/confirm/{token}", &page, &[], 0).await;
    walk.site.member("bob").await;
    let token = secret(&link(office, 2, confirm, &mut used).await);
    walk.call(None, "POST /email/confirm", confirm, json!({ "token": token }), 0).await;

    let forgot = "/password/forgot";
    walk.form(&nobody, forgot, forgot, &[("email", "ada@example.org")], 0).await;
    let page = link(office, 3, reset, &mut used).await;
    let new = "copper willow 5 lagoon";
    walk.form(&nobody, "/password/reset/{token}", &page, &[("new_password", new)], 0).await;
    // Its owner hears of the new password.
    office.letters(4).await;
    walk.call(None, "POST /password/forgot", forgot, json!({ "email": "bob@example.org" }), 0)
        .await;
    let token = secret(&link(office, 5, reset, &mut used).await);
    let json = json!({ "token": token, "new_password": new });
    walk.call(None, "POST /password/reset", reset, json, 0).await;
}

/// A refusal, a redirect or an error changes nothing, so no cached page is dropped and no open page
/// hears of it.
#[tokio::test]
async fn no_request_that_is_refused_or_redirected_invalidates_a_cached_page() {
    let mut site = TestSite::new().await;
    keep(&mut site.app, Duration::from_hours(1));
    site.router = social_post::routes::router(site.app.clone());
    let ada = site.member("ada").await;
    let post = site.post_by("ada", "A cached title").await;
    let stranger = site.visitor();
    let pages = ["/".to_owned(), format!("/posts/{post}"), "/users".to_owned()];
    for page in &pages {
        stranger.get(page).await;
    }
    let renamed = "update posts set title = 'A title that nobody was told of'";
    sqlx::raw_sql(renamed).execute(&site.db).await.unwrap();
    let of_another = site.member("eve").await;
    // Her sign-up changed lists.
    for page in &pages {
        stranger.get(page).await;
    }
    sqlx::raw_sql("update posts set title = 'A newer title'").execute(&site.db).await.unwrap();
    of_another.forget("wrote");

    let writes = ROUTES.iter().filter(|route| !route.method.is_safe());
    for route in writes {
        let path = route.path.replace("{id}", &post.to_string()).replace("{token}", "x");
        for path in [path.clone(), format!("{path}/"), format!("/{path}"), path.to_uppercase()] {
            for (by, is_foreign) in
                [(&stranger, true), (&stranger, false), (&of_another, true), (&ada, true)]
            {
                let mut request = by
                    .request(route.method.clone(), &path)
                    .header("content-type", "application/x-www-form-urlencoded");
                request = if is_foreign {
                    request
                        .header("origin", "https://evil.test")
                        .header("sec-fetch-site", "cross-site")
                } else {
                    request.header("sec-fetch-site", "same-origin")
                };
                let reply = by.send(request, "current_password=wrong&value=2").await;
                assert_ne!(reply.status, 200, "{path}");
                for page in &pages {
                    let reply = stranger.get(page).await;
                    assert_eq!(reply.status, 200);
                    reply.lacks("A newer title");
                }
            }
        }
    }
}
