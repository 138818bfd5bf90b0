//! Every parameter of every route, given what nobody should send; and every rule of
//! `support::oracle`, asked of every answer.

mod cursors;
mod endpoints;
mod lengths;
mod markup;
mod reading;
mod requests;
mod roles;
mod values;

use std::time::Instant;

use axum::{
    body::Body,
    http::{Method, request::Builder},
};

use social_post::routes::Access;

use crate::{
    hostile::endpoints::Endpoint,
    support::{PASSWORD, Reply, TestSite, Visitor, oracle},
};

pub const MARKER: &str = "x\"><svg/onload=alert(1)>'{{7*7}}";

/// The e-mail address of a member, which no response to anyone else may contain.
const CANARY: &str = "canary.7f3a@example.org";

pub struct AttackedSite {
    pub site: TestSite,
    /// The session of Ada, who wrote `post`.
    session: String,
    pub post: i64,
    /// What [`AttackedSite::state`] said last.
    pub last: String,
    requests: usize,
    slowest: (u128, String),
}

impl AttackedSite {
    pub async fn new() -> AttackedSite {
        let site = TestSite::new().await;
        let ada = site.member("ada").await;
        let post = site.post_by("ada", "A title").await;
        let hidden = [("username", "hidden"), ("email", CANARY), ("password", PASSWORD)];
        assert_eq!(site.visitor().post("/signup", &hidden).await.status, 303);
        let session = ada.cookie("sid").unwrap();
        let slowest = (0, String::new());
        let mut at =
            AttackedSite { site, session, post, last: String::new(), requests: 0, slowest };
        at.last = at.state().await;
        at
    }

    fn ada(&self) -> Visitor {
        let ada = self.site.visitor();
        ada.set_cookie("sid", &self.session);
        ada
    }

    /// Everything that must not change when a request is refused.
    pub async fn state(&self) -> String {
        let sql = "select concat_ws(' ', \
            (select md5(string_agg(u::text, '' order by id)) from users u), \
            (select md5(string_agg(p::text, '' order by id)) from posts p), \
            (select md5(string_agg(r::text, '' order by post_id)) from post_ranks r), \
            (select md5(string_agg(v::text, '' order by post_id, user_id)) from votes v), \
            (select count(*) from post_search), (select count(*) from publish_keys), \
            (select count(*) from user_sessions), \
            (select count(*) from tower_sessions.session), (select count(*) from mailed_links), \
            (select count(*) from known_devices))";
        sqlx::query_scalar(sql).fetch_one(&self.site.db).await.unwrap()
    }

    /// Sends the request and holds the answer against the rules, of which one is that a refusal
    /// and a mere question change nothing.
    pub async fn send(&mut self, by: &Visitor, request: Builder, body: impl Into<Body>) -> Reply {
        let asked = format!("{:?} {:?}", request.method_ref(), request.uri_ref());
        let is_get =
            matches!(request.method_ref(), Some(&Method::GET | &Method::HEAD | &Method::OPTIONS));
        let started = Instant::now();
        let reply = by.send(request, body).await;
        let took = started.elapsed().as_millis();
        if took > self.slowest.0 {
            self.slowest = (took, asked.clone());
        }
        self.requests += 1;
        oracle::check(&reply, &asked, &[PASSWORD, CANARY, &self.session]);
        let state = self.state().await;
        if is_get || reply.status.as_u16() >= 400 {
            assert_eq!(self.last, state, "{asked}: {} changed something", reply.status);
        }
        self.last = state;
        reply
    }

    pub fn tell(&self) {
        let (ms, which) = &self.slowest;
        eprintln!("{} requests, the slowest took {ms} ms: {which:.120}", self.requests);
    }
}

/// What a browser sends, as a form or a link.
fn begin(by: &Visitor, endpoint: &Endpoint, address: &str, is_part: bool) -> Builder {
    let request =
        if endpoint.is_get() { by.request(Method::GET, address) } else { by.form(address) };
    if is_part {
        request.header("hx-request", "true").header("hx-request-type", "partial")
    } else {
        request
    }
}

/// A valid request, sent by a client that may send it.
fn good(at: &AttackedSite, endpoint: &Endpoint) -> (Visitor, String, Vec<u8>) {
    let by = if endpoint.who == Access::Anyone { at.site.visitor() } else { at.ada() };
    let (address, body) = endpoint.with(at.post, None);
    (by, address, body)
}

fn of(character: &str, length: usize) -> String {
    character.repeat(length)
}
