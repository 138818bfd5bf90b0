//! Every parameter of every route, given what nobody should send; and every rule of
//! `support::oracle`, asked of every answer.

use std::{collections::BTreeSet, time::Instant};

use axum::{
    body::Body,
    http::{Method, StatusCode, header, request::Builder},
};
use social_post::web::{
    cursor,
    middleware::body::{POST_BODY, SMALL_BODY},
};

use crate::support::{
    PASSWORD, Reply, TestSite, Visitor, encode, oracle, routes,
    wire::{exchange, listen},
};

pub const MARKER: &str = "x\"><svg/onload=alert(1)>'{{7*7}}";

/// Someone whom no test shows to anybody but himself.
const CANARY: &str = "canary.7f3a@example.org";

// --- The doors: what each route takes ---

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anyone,
    Member,
    Author,
}

/// A parameter: what it is called, and by which rule it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Name,
    Asset,
    /// The place in the list of that name.
    After(&'static str),
    Period,
    Sort,
    Words,
    /// Of the sitemap.
    Part,
    NextOfPage,
    Title,
    Url,
    Text,
    Key,
    Version,
    Ballot,
    Username,
    Email,
    NewPassword,
    Login,
    Password,
    Next,
    /// Of somebody who is logged in; what the matrix gives is never right.
    CurrentPassword,
    /// One that somebody wants instead.
    AnotherPassword,
    Session,
    Token,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Field::Id => "{id}",
            Field::Name => "{username}",
            Field::Asset => "{name}",
            Field::After(_) => "after",
            Field::Period => "t",
            Field::Sort => "sort",
            Field::Words => "q",
            Field::Part => "part",
            Field::NextOfPage | Field::Next => "next",
            Field::Title => "title",
            Field::Url => "url",
            Field::Text => "body",
            Field::Key => "key",
            Field::Version => "version",
            Field::Ballot => "value",
            Field::Username => "username",
            Field::Email => "email",
            Field::NewPassword | Field::Password => "password",
            Field::Login => "login",
            Field::CurrentPassword => "current_password",
            Field::AnotherPassword => "new_password",
            Field::Session => "session",
            Field::Token => "{token}",
        }
    }

    /// A value that holds.
    fn good(self, post: i64) -> String {
        match self {
            Field::Id => post.to_string(),
            Field::Name | Field::Login => "ada".into(),
            Field::Asset => "nothing.css".into(),
            Field::After("a post") => "7".to_owned(),
            Field::After(list) => cursor::encode(list, 1_700_000_000_000_000, 7, ""),
            Field::Period => "week".into(),
            Field::Sort => "new".into(),
            Field::Words => "title".into(),
            Field::NextOfPage | Field::Next => "/new".into(),
            Field::Title => "A fine title".into(),
            Field::Url => "https://example.test/a".into(),
            Field::Text => "Some *text*".into(),
            Field::Key => uuid::Uuid::now_v7().to_string(),
            // Of a post that was never edited; what stands already may be saved with any.
            Field::Part | Field::Version => "0".into(),
            Field::Ballot => "1".into(),
            Field::Username => format!("n{}", &uuid::Uuid::new_v4().simple().to_string()[..12]),
            Field::Email => format!("{}@example.org", uuid::Uuid::new_v4().simple()),
            Field::NewPassword | Field::Password | Field::AnotherPassword => PASSWORD.into(),
            Field::CurrentPassword => "not the password".into(),
            Field::Session => uuid::Uuid::new_v4().to_string(),
            Field::Token => "AAAAAAAAAAAAAAAAAAAAAA".into(),
        }
    }
}

#[derive(Debug, Clone)]
struct Door {
    method: Method,
    /// As `routes.rs` spells it.
    route: &'static str,
    path: Option<Field>,
    query: &'static [Field],
    form: &'static [Field],
    who: Who,
}

/// One value as it stands in an address or a form.
fn encoded(value: &str) -> String {
    encode(&[("", value)])[1..].to_owned()
}

fn get(route: &'static str, query: &'static [Field]) -> Door {
    let path = match () {
        () if route.contains("{id}") => Some(Field::Id),
        () if route.contains("{username}") => Some(Field::Name),
        () if route.contains("{name}") => Some(Field::Asset),
        () if route.contains("{token}") => Some(Field::Token),
        () => None,
    };
    Door { method: Method::GET, route, path, query, form: &[], who: Who::Anyone }
}

fn post(route: &'static str, form: &'static [Field]) -> Door {
    Door { method: Method::POST, form, ..get(route, &[]) }
}

impl Door {
    fn by(self, who: Who) -> Door {
        Door { who, ..self }
    }

    fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    fn body_limit(&self) -> usize {
        if self.form.contains(&Field::Text) { POST_BODY } else { SMALL_BODY }
    }

    fn fields(&self) -> Vec<Field> {
        self.path.iter().chain(self.query).chain(self.form).copied().collect()
    }

    /// The address and the body of a request in which all is good but `odd`, given as it is sent.
    fn with(&self, post: i64, odd: Option<(Field, &[u8])>) -> (String, Vec<u8>) {
        let raw = |field: Field| match odd {
            Some((odd, value)) if odd == field => value.to_vec(),
            _ => encoded(&field.good(post)).into_bytes(),
        };
        let pairs = |fields: &[Field]| {
            let pairs: Vec<_> = fields
                .iter()
                .map(|field| [field.name().as_bytes(), b"=", &raw(*field)].concat())
                .collect();
            pairs.join(&b'&')
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut address = match self.path {
            Some(field) => self.route.replace(field.name(), &text(raw(field))),
            None => self.route.to_owned(),
        };
        if !self.query.is_empty() {
            address = format!("{address}?{}", text(pairs(self.query)));
        }
        (address, pairs(self.form))
    }
}

fn reading() -> Vec<Door> {
    use Field::{After, NextOfPage, Part, Period, Sort, Words};
    vec![
        get("/", &[After("hot")]),
        get("/new", &[After("new")]),
        get("/top", &[Period, After("top week")]),
        get("/search", &[Words, Sort]),
        get("/search", &[Words, Sort, After("search new title")]),
        get("/posts/{id}", &[]),
        get("/users", &[After("people")]),
        get("/users/{username}", &[After("by 1")]),
        get("/posts/new", &[]).by(Who::Member),
        get("/posts/{id}/edit", &[]).by(Who::Author),
        get("/posts/{id}/delete", &[]).by(Who::Author),
        get("/signup", &[NextOfPage]),
        get("/login", &[NextOfPage]),
        get("/password/forgot", &[]),
        get("/password/reset/{token}", &[]),
        get("/email/confirm/{token}", &[]),
        get("/settings", &[]).by(Who::Member),
        get("/settings/sessions", &[]).by(Who::Member),
        get("/settings/export", &[]).by(Who::Member),
        get("/settings/delete-account", &[]).by(Who::Member),
        get("/feed.atom", &[]),
        get("/new/feed.atom", &[]),
        get("/users/{username}/feed.atom", &[]),
        get("/search/feed.atom", &[Words]),
        get("/sitemap.xml", &[Part]),
        get("/robots.txt", &[]),
        get("/manifest.webmanifest", &[]),
        get("/opensearch.xml", &[]),
        get("/.well-known/security.txt", &[]),
        get("/.well-known/change-password", &[]),
        get("/static/{name}", &[]),
        get("/favicon.svg", &[]),
        get("/favicon.ico", &[]),
        get("/healthz", &[]),
        get("/readyz", &[]),
        get("/live", &[After("a post")]),
    ]
}

fn writing() -> Vec<Door> {
    use Field::{
        AnotherPassword, Ballot, CurrentPassword, Email, Key, Session, Text, Title, Url, Version,
    };
    vec![
        post("/posts", &[Title, Url, Text]).by(Who::Member),
        post("/posts", &[Title, Url, Text, Key]).by(Who::Member),
        post("/posts/preview", &[Title, Url, Text, Key, Version]).by(Who::Member),
        post("/posts/{id}/edit", &[Title, Url, Text]).by(Who::Author),
        post("/posts/{id}/edit", &[Title, Url, Text, Version]).by(Who::Author),
        post("/posts/{id}/delete", &[]).by(Who::Author),
        post("/posts/{id}/vote", &[Ballot]).by(Who::Member),
        post("/logout", &[]).by(Who::Member),
        post("/settings/password", &[CurrentPassword, AnotherPassword]).by(Who::Member),
        post("/settings/email", &[CurrentPassword, Email]).by(Who::Member),
        post("/settings/sessions/revoke", &[Session]).by(Who::Member),
        post("/settings/delete-account", &[CurrentPassword]).by(Who::Member),
    ]
}

fn entering() -> Vec<Door> {
    use Field::{AnotherPassword, Email, Login, NewPassword, Next, Password, Username};
    vec![
        post("/login", &[Login, Password, Next]),
        post("/signup", &[Username, Email, NewPassword]),
        post("/password/forgot", &[Email]),
        post("/password/reset/{token}", &[AnotherPassword]),
        post("/email/confirm/{token}", &[]),
    ]
}

/// What leads nowhere however good it looks: a link that was never sent, somebody else's session, mail
/// on a site that sends none.
fn leads_nowhere(door: &Door) -> bool {
    door.path == Some(Field::Token)
        || door.form == [Field::Session]
        || door.route == "/static/{name}"
        || (door.route == "/password/forgot" && !door.is_get())
}

fn doors() -> Vec<Door> {
    [reading(), writing(), entering()].concat()
}

#[test]
fn the_matrix_knows_every_route() {
    let known: BTreeSet<_> = doors()
        .into_iter()
        .map(|door| (door.route.to_owned(), door.method.as_str().to_owned()))
        .collect();
    assert_eq!(known, routes::pages(), "left: doors of this file, right: src/routes.rs");
}

// --- A site to attack ---

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
fn begin(by: &Visitor, door: &Door, address: &str, is_part: bool) -> Builder {
    let request = if door.is_get() { by.request(Method::GET, address) } else { by.form(address) };
    if is_part {
        request.header("hx-request", "true").header("hx-request-type", "partial")
    } else {
        request
    }
}

// --- Odd values ---

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oddity {
    NotUtf8,
    Nul,
    /// Text, but hardly what was meant.
    Text,
}

fn odd_values() -> Vec<(Vec<u8>, Oddity)> {
    let raw: [(&[u8], Oddity); 9] = [
        (b"%00", Oddity::Nul),
        (b"a%00b", Oddity::Nul),
        (b"%FF", Oddity::NotUtf8),
        (b"a%C0%AFb", Oddity::NotUtf8),
        (b"%ED%A0%80", Oddity::NotUtf8),
        (b"%F0%9F%A6", Oddity::NotUtf8),
        (b"\xFF", Oddity::NotUtf8),
        (b"%ZZ", Oddity::Text),
        (b"%", Oddity::Text),
    ];
    let huge = "9".repeat(400);
    let accents = format!("Z{}", "\u{301}".repeat(300));
    let text = [
        "",
        " ",
        "0",
        "-1",
        "+1",
        "01",
        "1.0",
        "1e3",
        "0x1",
        "\u{FF11}",
        "\u{661}",
        "NaN",
        "infinity",
        "null",
        "[]",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551617",
        &huge,
        "../../etc/passwd",
        "..",
        ".",
        "\\",
        "//evil.test",
        "/\\evil.test",
        "javascript:alert(1)",
        "a\r\nSet-Cookie: sid=x",
        "\u{1b}[31m",
        "' or 1=1 --",
        "${7*7}",
        "%s%n",
        "\u{202E}txt",
        "\u{200B}",
        "\u{FFFE}",
        "\u{FEFF}",
        &accents,
        "\"a b\" or -\" &|!():*<->",
        "🦀",
        MARKER,
    ];
    let text = text.into_iter().map(|text| (encoded(text).into_bytes(), Oddity::Text));
    raw.into_iter().map(|(raw, oddity)| (raw.to_vec(), oddity)).chain(text).collect()
}

/// The statuses that `value` in `field` may be answered with.
fn allowed(
    door: &Door,
    field: Field,
    (value, oddity): (&[u8], Oddity),
    is_stranger: bool,
    is_part: bool,
) -> &'static [u16] {
    if is_stranger && door.who != Who::Anyone {
        return if door.is_get() && !is_part { &[303] } else { &[401] };
    }
    let is_in_path = door.path == Some(field);
    let saved: &[u16] = if is_part { &[200] } else { &[303] };
    match (oddity, field) {
        (Oddity::NotUtf8, _) => &[400],
        (_, _) if is_in_path || leads_nowhere(door) => &[404],
        (_, _) if door.form.contains(&Field::CurrentPassword) => &[422],
        // Nobody has such a name or password, and there is no such place to go on to.
        (_, Field::Login | Field::Password) => &[401],
        (_, Field::Next) => &[303],
        (_, Field::Ballot) if value == b"0" => saved,
        (Oddity::Nul, _) | (_, Field::Ballot) => &[422],
        (Oddity::Text, Field::After("a post")) => &[200, 400],
        // Empty is as good as none; a place in the list of a period is none in that of another.
        (Oddity::Text, Field::After(_) | Field::Period | Field::Sort) if value.is_empty() => {
            &[200, 400]
        }
        (Oddity::Text, Field::After(_) | Field::Period | Field::Sort) => &[400],
        // 404: a part in which no post is.
        (Oddity::Text, Field::Part) => &[200, 400, 404],
        // 400: a place in the results for other words.
        (Oddity::Text, Field::Words) => &[200, 400, 422],
        (Oddity::Text, Field::NextOfPage) if is_stranger => &[200],
        (Oddity::Text, Field::NextOfPage) => &[303],
        (Oddity::Text, _) if door.route == "/posts/preview" => &[200, 422],
        (Oddity::Text, Field::Key) => &[422],
        // 409: changed since that version.
        (Oddity::Text, _) if door.form.contains(&Field::Version) => &[303, 409, 422],
        (Oddity::Text, _) => &[303, 422],
    }
}

async fn drive(doors: Vec<Door>, entering: bool) {
    let mut at = AttackedSite::new().await;
    for door in &doors {
        for field in door.fields() {
            for (n, (value, oddity)) in odd_values().iter().enumerate() {
                let is_sent = door.form.contains(&field)
                    || value.is_ascii() && !(value.is_empty() && door.path == Some(field));
                for is_stranger in [true, false] {
                    // Whoever comes in is another person afterwards, so only strangers try.
                    if !is_sent || entering && !is_stranger {
                        continue;
                    }
                    for is_part in [false, true] {
                        // What is merely odd goes one way or the other: there are many of them.
                        if *oddity == Oddity::Text && (n % 2 == 0) != (is_part == is_stranger) {
                            continue;
                        }
                        let by = if is_stranger { at.site.visitor() } else { at.ada() };
                        let (address, body) = door.with(at.post, Some((field, value)));
                        let request = begin(&by, door, &address, is_part);
                        let reply = at.send(&by, request, body).await;
                        let allowed = allowed(door, field, (value, *oddity), is_stranger, is_part);
                        assert!(
                            allowed.contains(&reply.status.as_u16()),
                            "{} {address} with {field:?} = {:?}, stranger: {is_stranger}, part: {is_part}: \
                             {} and not {allowed:?}: {}",
                            door.method,
                            String::from_utf8_lossy(value),
                            reply.status,
                            reply.body,
                        );
                    }
                }
            }
        }
    }
    at.tell();
}

#[tokio::test]
async fn an_odd_value_in_any_address_is_answered_in_kind() {
    drive(reading(), false).await;
}

#[tokio::test]
async fn an_odd_value_in_any_form_is_answered_in_kind() {
    drive(writing(), false).await;
}

#[tokio::test]
async fn an_odd_value_in_a_log_in_or_sign_up_is_answered_in_kind() {
    drive(entering(), true).await;
}

// --- Odd requests ---

/// The request with which everything would be fine, by whoever may send it.
fn good(at: &AttackedSite, door: &Door) -> (Visitor, String, Vec<u8>) {
    let by = if door.who == Who::Anyone { at.site.visitor() } else { at.ada() };
    let (address, body) = door.with(at.post, None);
    (by, address, body)
}

/// `Content-Type` as given, or none.
fn typed(by: &Visitor, address: &str, kind: Option<&str>) -> Builder {
    let request = by
        .request(Method::POST, address)
        .header(header::ORIGIN, "http://site.test")
        .header("sec-fetch-site", "same-origin");
    match kind {
        Some(kind) => request.header(header::CONTENT_TYPE, kind),
        None => request,
    }
}

#[tokio::test]
async fn a_field_that_comes_twice_or_does_not_belong_is_refused() {
    let mut at = AttackedSite::new().await;
    let strange = [
        "id",
        "score",
        "author_id",
        "user_id",
        "created_at",
        "is_admin",
        "role",
        "hot",
        "_method",
        "__proto__",
        "title[]",
        "",
    ];
    let many = (0..65).fold(String::new(), |form, n| format!("{form}&f{n}=x"));
    for door in [writing(), entering()].concat() {
        let (by, address, body) = good(&at, &door);
        let mut odd: Vec<(Vec<u8>, u16)> = Vec::new();
        for field in door.form {
            let name = field.name();
            let (first, rest) = name.split_at(1);
            let encoded = format!("%{:02X}{rest}", first.as_bytes()[0]);
            for twin in [name, &encoded] {
                odd.push(([body.as_slice(), format!("&{twin}=x").as_bytes()].concat(), 400));
            }
        }
        for name in strange {
            let extra = format!("&{name}=1");
            odd.push(([body.as_slice(), extra.as_bytes()].concat(), 422));
        }
        odd.push(([body.as_slice(), many.as_bytes()].concat(), 422));
        odd.push(([body.as_slice(), b"&%00=1"].concat(), 422));
        odd.push(([body.as_slice(), b"&%FF=1"].concat(), 400));
        odd.push(([body.as_slice(), b"&\xFF=1"].concat(), 400));
        for (body, status) in odd {
            let text = String::from_utf8_lossy(&body).into_owned();
            let reply = at.send(&by, by.form(&address), body).await;
            assert_eq!(reply.status, status, "{address} {text}");
        }
    }
    for door in reading() {
        let (by, address, _) = good(&at, &door);
        let asks = if door.query.is_empty() { '?' } else { '&' };
        let takes_query = !door.query.is_empty();
        for field in door.query {
            let address = format!("{address}{asks}{}=x", field.name());
            let reply = at.send(&by, begin(&by, &door, &address, false), "").await;
            assert_eq!(reply.status, 400, "{address}");
        }
        let odd = [("utm_source=x&is_admin=1", None), ("%FF=1", Some(400)), ("%00=1", Some(422))];
        let plain = at.send(&by, begin(&by, &door, &address, false), "").await.status;
        for (extra, status) in odd {
            let address = format!("{address}{asks}{extra}");
            let reply = at.send(&by, begin(&by, &door, &address, false), "").await;
            let status = status.filter(|_| takes_query).unwrap_or(plain.as_u16());
            assert_eq!(reply.status, status, "{address}");
        }
    }
    at.tell();
}

#[tokio::test]
async fn only_a_plain_web_form_of_a_fair_size_is_a_form() {
    let mut at = AttackedSite::new().await;
    let wrong = [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/json"),
        Some("multipart/form-data; boundary=x"),
        Some("application/x-www-form-urlencoded; charset=latin1"),
        Some("application/x-www-form-urlencoded;charset=\"utf-16\""),
        Some("application/x-www-form-urlencoded+json"),
        Some("application/x-www-form-urlencoded, text/plain"),
    ];
    for door in [writing(), entering()].concat() {
        let (by, address, body) = good(&at, &door);
        for kind in wrong {
            let reply = at.send(&by, typed(&by, &address, kind), body.clone()).await;
            assert_eq!(reply.status, 415, "{address} {kind:?}");
        }
        for coding in ["gzip", "br", "deflate"] {
            let request = by.form(&address).header(header::CONTENT_ENCODING, coding);
            let reply = at.send(&by, request, body.clone()).await;
            assert_eq!(reply.status, 415, "{address} {coding}");
        }

        let limit = door.body_limit();
        let padded = |length: usize| {
            let mut padded = [body.as_slice(), b"&pad="].concat();
            padded.resize(length, b'x');
            padded
        };
        let reply = at.send(&by, by.form(&address), padded(limit)).await;
        assert_eq!(reply.status, 422, "{address}: the limit itself is no problem, the field is");
        for is_part in [false, true] {
            let request = begin(&by, &door, &address, is_part);
            let reply = at.send(&by, request, padded(limit + 1)).await;
            assert_eq!(reply.status, 413, "{address}");
        }
    }
    at.tell();
}

#[tokio::test]
async fn a_method_that_a_route_does_not_know_is_told_which_it_does() {
    let mut at = AttackedSite::new().await;
    let routes = routes::pages();
    let paths: BTreeSet<_> = routes.iter().map(|(path, _)| path).collect();
    for path in paths {
        let mut known: BTreeSet<&str> =
            routes.iter().filter(|(of, _)| of == path).map(|(_, method)| method.as_str()).collect();
        if known.contains("GET") {
            known.insert("HEAD");
        }
        let address = path
            .replace("{id}", &at.post.to_string())
            .replace("{username}", "ada")
            .replace("{name}", "nothing.css");
        for method in
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "FOO", "get"]
        {
            if known.contains(method) {
                continue;
            }
            for is_stranger in [true, false] {
                let by = if is_stranger { at.site.visitor() } else { at.ada() };
                let request =
                    by.form(&address).method(method).header("x-http-method-override", "DELETE");
                let reply = at.send(&by, request, "_method=DELETE").await;
                assert_eq!(reply.status, 405, "{method} {address}");
                let allow: BTreeSet<_> = reply.header("allow").split(',').map(str::trim).collect();
                assert_eq!(allow, known, "{method} {address}");
            }
        }
    }
    at.tell();
}

// --- Roles ---

/// What a browser, old or new, says of a form on another site's page.
const FOREIGN: [(&str, &str); 5] = [
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-site", "same-site"),
    ("origin", "https://evil.test"),
    ("origin", "null"),
    ("x", "neither"),
];

#[tokio::test]
async fn each_may_do_what_is_theirs_and_a_refusal_changes_nothing() {
    let mut at = AttackedSite::new().await;
    let mut logged_in = Vec::new();
    for name in ["other", "suspended", "gone", "chief"] {
        logged_in.push(at.site.member(name).await.cookie("sid").unwrap());
    }
    for sql in [
        "update users set suspended_at = now() where username = 'suspended'",
        "delete from users where username = 'gone'",
        "update users set role = 'admin' where username = 'chief'",
    ] {
        sqlx::query(sql).execute(&at.site.db).await.unwrap();
    }
    at.last = at.state().await;
    let own = at.session.clone();
    let mut people = [
        ("stranger", String::new(), false),
        ("suspended", logged_in[1].clone(), false),
        ("gone", logged_in[2].clone(), false),
        ("other", logged_in[0].clone(), true),
        // An admin may not write in another's name either.
        ("chief", logged_in[3].clone(), true),
        ("author", own, true),
    ];
    for mut door in doors() {
        if door.query.contains(&Field::After("by 1")) {
            door.query = &[];
        }
        for (name, session, is_member) in &mut people {
            let is_author = *name == "author";
            for is_part in [false, true] {
                let by = at.site.visitor();
                if *name != "stranger" {
                    by.set_cookie("sid", session);
                }
                let (address, body) = door.with(at.post, None);

                if !door.is_get() {
                    for (header, value) in FOREIGN {
                        // A script says nothing of the kind, and may come without a session.
                        if header == "x" && *name == "stranger" {
                            continue;
                        }
                        let foreign = by
                            .request(Method::POST, &address)
                            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                            .header(header, value);
                        let reply = at.send(&by, foreign, body.clone()).await;
                        assert_eq!(
                            reply.status, 403,
                            "{address} with {header}: {value} by the {name}"
                        );
                    }
                }

                let reply = at.send(&by, begin(&by, &door, &address, is_part), body).await;
                let status = reply.status.as_u16();
                match door.who {
                    Who::Member | Who::Author if !*is_member => {
                        let refused = if door.is_get() && !is_part { 303 } else { 401 };
                        assert_eq!(status, refused, "{} {address} by the {name}", door.method);
                        if refused == 303 {
                            assert!(reply.location().starts_with("/login?next="), "{address}");
                        }
                        if is_part {
                            assert!(reply.header("hx-redirect").starts_with("/login"), "{address}");
                        }
                    }
                    Who::Author if !is_author => {
                        assert_eq!(status, 403, "{} {address} by the {name}", door.method);
                    }
                    _ if leads_nowhere(&door) => assert_eq!(status, 404),
                    _ if door.form.contains(&Field::CurrentPassword) => assert_eq!(status, 422),
                    _ => assert!(status < 400, "{} {address} by the {name}: {status}", door.method),
                }
                if is_author && door.route.ends_with("/delete") && !door.is_get() {
                    at.post = at.site.post_by("ada", "Another").await;
                    at.last = at.state().await;
                }
                // Whoever just logged out comes back in.
                if door.route == "/logout" && *is_member {
                    let login = if is_author { "ada" } else { *name };
                    let fields = [("login", login), ("password", PASSWORD)];
                    assert_eq!(by.post("/login", &fields).await.status, 303);
                    *session = by.cookie("sid").unwrap();
                    at.last = at.state().await;
                }
            }
        }
    }
    at.tell();
}

// --- Looking, and other sites ---

/// Every row of every table.
async fn everything(at: &AttackedSite) -> Vec<(String, String)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', table_schema, table_name) from information_schema.tables \
         where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&at.site.db)
    .await
    .unwrap();
    assert!(tables.len() > 8, "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!(
            "select coalesce(string_agg(t::text, E'\\n' order by t::text), '') from {table} t"
        );
        rows.push((table, sqlx::query_scalar(&sql).fetch_one(&at.site.db).await.unwrap()));
    }
    rows
}

/// Where the page leads to on this site.
fn ways(page: &str) -> Vec<String> {
    let links = page.split("href=\"/").skip(1).map(|rest| rest.split_once('"').unwrap().0);
    links
        .map(|link| format!("/{}", link.split('#').next().unwrap().replace("&#38;", "&")))
        .collect()
}

#[tokio::test]
async fn looking_leaves_nothing_behind_wherever_one_looks() {
    let mut at = AttackedSite::new().await;
    for n in 0..40 {
        at.site.post_by("ada", &format!("Title {n}")).await;
    }
    at.last = at.state().await;
    let before = everything(&at).await;

    let mut to_see: Vec<String> = vec!["/".into(), "/search?q=title".into()];
    for door in doors() {
        // What a form would send, in the address of a link.
        let (address, body) = door.with(at.post, None);
        let asks = if address.contains('?') { '&' } else { '?' };
        to_see.push(format!("{address}{asks}{}", String::from_utf8(body).unwrap()));
        to_see.push(address);
    }
    let mut seen = BTreeSet::new();
    while let Some(path) = to_see.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let by = at.ada();
            let request = by.request(method.clone(), &path).header("sec-fetch-site", "cross-site");
            let reply = at.send(&by, request, "").await;
            if method == Method::GET {
                assert_ne!(reply.status, 403, "a link from elsewhere to {path}");
                to_see.extend(ways(&reply.body));
            }
            assert!(by.cookie("sid").is_some(), "{method} {path} logs out");
        }
        for cookies in [
            "",
            "sid=AAAAAAAAAAAAAAAAAAAAAA",
            "sid=rubbish; flash=rubbish",
            "sid=a; sid=b",
            "id=AAAAAAAAAAAAAAAAAAAAAA; __Host-sid=AAAAAAAAAAAAAAAAAAAAAA; tower.sid=x",
        ] {
            let stranger = at.site.visitor();
            let request = stranger.request(Method::GET, &path).header(header::COOKIE, cookies);
            let reply = at.send(&stranger, request, "").await;
            assert_eq!(reply.cookies(), [""; 0], "{path} with {cookies:?}");
        }
    }
    assert!(seen.len() > 100, "only {} pages are linked", seen.len());
    assert_eq!(everything(&at).await, before);
    at.tell();
}

/// Pages know the session's cookie and nothing else.
#[tokio::test]
async fn no_header_says_who_one_is() {
    let mut at = AttackedSite::new().await;
    let stranger = at.site.visitor();
    let session = at.session.clone();
    let basic = format!(
        "Basic {}",
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("ada:{PASSWORD}"))
    );
    let headers = [
        ("authorization", format!("Bearer {session}")),
        ("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.".into()),
        ("authorization", basic),
        ("proxy-authorization", format!("Bearer {session}")),
        ("x-forwarded-user", "ada".into()),
        ("remote-user", "ada".into()),
        ("x-session-id", session.clone()),
        ("cookie2", format!("sid={session}")),
        ("x-original-cookie", format!("sid={session}")),
    ];
    for door in doors() {
        if door.who == Who::Anyone {
            continue;
        }
        let (address, body) = door.with(at.post, None);
        for (name, value) in &headers {
            let request = begin(&stranger, &door, &address, false).header(*name, value);
            let reply = at.send(&stranger, request, body.clone()).await;
            let refused = if door.is_get() { 303 } else { 401 };
            assert_eq!(reply.status, refused, "{} {address} with {name}", door.method);
        }
        // Nor does the cookie's value in the address or the form.
        let asks = if address.contains('?') { '&' } else { '?' };
        let address = format!("{address}{asks}sid={session}");
        let body = [body.as_slice(), format!("&sid={session}").as_bytes()].concat();
        let reply = stranger.send(begin(&stranger, &door, &address, false), body).await;
        assert!([303, 401].contains(&reply.status.as_u16()), "{address}");
        assert!(reply.location().is_empty() || reply.location().starts_with("/login"), "{address}");
        assert_eq!(at.state().await, at.last);
    }
}

/// The oracle sees to it that no answer has a header of CORS.
#[tokio::test]
async fn no_other_site_is_told_that_it_may_read_a_page() {
    let mut at = AttackedSite::new().await;
    for door in doors() {
        let (address, _) = door.with(at.post, None);
        for origin in
            ["http://site.test", "https://evil.test", "null", "http://site.test.evil.test", "*"]
        {
            for by in [at.site.visitor(), at.ada()] {
                let request = by.request(Method::GET, &address).header(header::ORIGIN, origin);
                at.send(&by, request, "").await;
                for method in ["GET", "POST", "DELETE"] {
                    let request = by
                        .request(Method::OPTIONS, &address)
                        .header(header::ORIGIN, origin)
                        .header("access-control-request-method", method)
                        .header("access-control-request-headers", "content-type, hx-request-type")
                        .header("access-control-request-private-network", "true");
                    let reply = at.send(&by, request, "").await;
                    assert_eq!(reply.status, 405, "{method} {address} from {origin}");
                }
            }
        }
    }
    at.tell();
}

// --- Lengths ---

fn of(character: &str, length: usize) -> String {
    character.repeat(length)
}

/// Each bound is inclusive, counts characters and not bytes, and what fits is kept whole.
#[tokio::test]
async fn what_is_as_long_as_it_may_be_is_kept_and_one_more_is_refused() {
    let mut at = AttackedSite::new().await;
    let (ada, post) = (at.ada(), at.post);
    let link = |length: usize| format!("https://example.test/{}", of("x", length - 21));
    let wide = |length: usize| format!("https://example.test/{}", of("🦀", length - 21));
    let cases: [(&str, String, u16); 18] = [
        ("title", of("a", 1), 303),
        ("title", of("a", 150), 303),
        ("title", of("🦀", 150), 303),
        ("title", of("a", 151), 422),
        ("title", of("🦀", 151), 422),
        // Two characters as typed, one as everybody counts.
        ("title", of("e\u{301}", 150), 303),
        // One character as typed, three in the form in which it is kept.
        ("title", of("\u{FB2C}", 50), 303),
        ("title", of("\u{FB2C}", 51), 422),
        ("url", link(2000), 303),
        ("url", link(2001), 422),
        // Each takes twelve as it is kept.
        ("url", wide(21 + 164), 303),
        ("url", wide(21 + 165), 422),
        ("body", of("𝄞", 40_000), 303),
        ("body", of("𝄞", 40_001), 422),
        ("body", of("\u{FB2C}", 13_333), 303),
        ("body", of("\u{FB2C}", 13_334), 422),
        ("body", of("a\r\n", 20_000), 303),
        ("body", format!("{}\n\n\n", of("𝄞 ", 20_000)), 303),
    ];
    for (name, value, status) in cases {
        let mut fields = vec![("title", "A title"), ("url", ""), ("body", "")];
        fields.retain(|(field, _)| *field != name);
        fields.push((name, &value));
        for address in ["/posts".to_owned(), format!("/posts/{post}/edit")] {
            let reply = at.send(&ada, ada.form(&address), encode(&fields)).await;
            let what = format!("{name} of {} characters to {address}", value.chars().count());
            assert_eq!(reply.status, status, "{what}");
            if status == 422 {
                assert!(reply.problem(name).is_some(), "{what}");
                reply.has(&value.chars().take(20).collect::<String>());
                continue;
            }
            let shown = at.send(&ada, ada.request(Method::GET, reply.location()), "").await;
            assert_eq!(shown.status, 200, "{what}");
            let edit = format!("{}/edit", reply.location());
            let kept = at.send(&ada, ada.request(Method::GET, &edit), "").await;
            let typed = value.trim().replace("\r\n", "\n").replace("e\u{301}", "\u{e9}");
            let typed = typed.replace('\u{FB2C}', "\u{5E9}\u{5BC}\u{5C1}");
            assert!(name == "url" || kept.body.contains(&typed), "{what} is not kept whole");
            // Wherever a person goes from a page, the site takes the address.
            for page in ["/", "/new", "/users/ada"] {
                at.send(&ada, ada.request(Method::GET, page), "").await;
            }
        }
    }
    at.tell();
}

#[tokio::test]
async fn a_name_an_address_and_a_password_may_be_as_long_as_they_may() {
    let mut at = AttackedSite::new().await;
    let local = |length: usize| format!("{}@example.org", of("l", length));
    let domain = |length: usize| {
        let name = format!("{}.", of("d", 62)).repeat(3);
        format!("l@{name}{}.org", of("d", length - name.len() - 6))
    };
    // 128 characters that count 512 bytes, and nothing that a guesser would try.
    let emoji: String =
        (0..128u32).map(|n| char::from_u32(0x1F300 + (n * 37) % 200).unwrap()).collect();
    let short_emoji: String = emoji.chars().take(10).collect();
    let cases: [(&str, String, u16); 26] = [
        ("username", "a".into(), 422),
        ("username", "ab".into(), 303),
        ("username", of("u", 30), 303),
        ("username", of("u", 31), 422),
        ("username", of("\u{e9}", 15), 422),
        ("email", local(64), 303),
        ("email", local(65), 422),
        ("email", domain(254), 303),
        ("email", domain(255), 422),
        ("email", "two@at@example.org".into(), 422),
        ("email", "a@b.org\r\nBcc: c@d.org".into(), 422),
        ("password", "kettle9vi".into(), 422),
        ("password", "kettle9vio".into(), 303),
        ("password", short_emoji.chars().take(9).collect(), 422),
        ("password", short_emoji, 303),
        ("password", emoji.clone(), 303),
        ("password", format!("{emoji}🦀"), 422),
        ("password", "violet kettle 9 ".repeat(8), 303),
        ("password", format!("{}x", "violet kettle 9 ".repeat(8)), 422),
        ("password", emoji.chars().take(64).collect(), 303),
        ("password", "  violet kettle 9 harbour ".into(), 303),
        ("password", "passwordpassword".into(), 422),
        ("password", "socialpost12345".into(), 422),
        ("password", "person23person23".into(), 422),
        ("password", "Person24@Example.org".into(), 422),
        ("password", "abcdefghi\0jklmnop".into(), 422),
    ];
    for (n, (name, value, status)) in cases.into_iter().enumerate() {
        let (username, email) = (format!("person{n}"), format!("person{n}@example.org"));
        let mut fields =
            vec![("username", username.as_str()), ("email", &email), ("password", PASSWORD)];
        fields.retain(|(field, _)| *field != name);
        fields.push((name, &value));
        let stranger = at.site.visitor();
        let reply = at.send(&stranger, stranger.form("/signup"), encode(&fields)).await;
        let what = format!("{name} {value:?}");
        assert_eq!(reply.status, status, "{what}: {:?}", reply.problem(name));
        if status == 422 {
            assert!(reply.problem(name).is_some(), "{what}");
            assert!(name != "password" || !reply.body.contains(&value), "{what} comes back");
            continue;
        }
        let login = fields.iter().find(|(field, _)| *field == "username").unwrap().1;
        let password = fields.iter().find(|(field, _)| *field == "password").unwrap().1;
        let mut odd = vec![
            password[..password.char_indices().last().unwrap().0].to_owned(),
            password.to_uppercase(),
            password.trim().to_owned(),
            format!("{password} "),
        ];
        // bcrypt would not read as far as this.
        for at in [72, 127] {
            let other = |(n, letter): (usize, char)| if n == at { '¿' } else { letter };
            odd.push(password.chars().enumerate().map(other).collect());
        }
        odd.retain(|odd| odd != password);
        let right = [(password.to_owned(), 303)];
        for (password, status) in odd.into_iter().map(|odd| (odd, 401)).chain(right) {
            let stranger = at.site.visitor();
            let fields = encode(&[("login", login), ("password", &password)]);
            let reply = at.send(&stranger, stranger.form("/login"), fields).await;
            assert_eq!(reply.status, status, "{what}: every character counts, {password:?}");
        }
    }
    at.tell();
}

#[tokio::test]
async fn a_search_may_be_as_long_as_it_may_and_leads_on_from_there() {
    let mut at = AttackedSite::new().await;
    let stranger = at.site.visitor();
    for (words, status) in [
        (of("a", 200), 200),
        (of("a", 201), 422),
        (of("語", 200), 200),
        (of("語", 201), 422),
        (of("🦀", 200), 200),
        (of("%", 200), 200),
        (of("_", 200), 200),
        (of("\\", 200), 200),
        (of("- \"", 66), 200),
        (of("a or ", 40), 200),
    ] {
        let address = format!("/search?sort=new&{}", encode(&[("q", &words)]));
        let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
        assert_eq!(reply.status, status, "{words}");
        let way_in = reply.body.split("href=\"/login").nth(1).unwrap().split('"').next().unwrap();
        let way_in = format!("/login{}", way_in.replace("&#38;", "&"));
        let reply = at.send(&stranger, stranger.request(Method::GET, &way_in), "").await;
        assert_eq!(reply.status, 200, "from the search for {words} to {way_in}");
    }
}

// --- Cursors ---

#[tokio::test]
async fn only_its_own_list_takes_a_cursor_and_only_whole() {
    let mut at = AttackedSite::new().await;
    let stranger = at.site.visitor();
    let lists = [
        ("/?", "hot"),
        ("/new?", "new"),
        ("/top?", "top all"),
        ("/top?t=week&", "top week"),
        ("/search?q=title&", "search relevance title"),
        ("/search?q=title&sort=new&", "search new title"),
        ("/search?q=other&sort=new&", "search new other"),
        ("/users?", "people"),
        ("/users/ada?", "by 1"),
        ("/users/hidden?", "by 2"),
    ];
    for (address, list) in lists {
        for (_, of) in lists {
            let address = format!("{address}after={}", cursor::encode(of, 1 << 50, 9, ""));
            let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
            assert_eq!(reply.status, if of == list { 200 } else { 400 }, "{of} for {address}");
        }
        // Whoever reads the source can make a cursor that is whole; it must only do no harm.
        for rank in [i64::MIN, -1, 0, 1, i64::MAX, f64::NAN.to_bits().cast_signed()] {
            for id in [i64::MIN, -1, 0, i64::MAX] {
                let address = format!("{address}after={}", cursor::encode(list, rank, id, ""));
                let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
                assert!([200, 400].contains(&reply.status.as_u16()), "{rank} {id} for {address}");
            }
        }
        let whole = cursor::encode(list, 1 << 50, 9, "");
        let mut damaged: Vec<String> = (1..whole.len()).map(|end| whole[..end].into()).collect();
        damaged.extend([format!("{whole}="), format!("{whole}A"), format!("%20{whole}")]);
        damaged.extend([whole.to_lowercase(), whole.to_uppercase()]);
        for cursor in damaged {
            let address = format!("{address}after={cursor}");
            let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
            assert_eq!(reply.status, 400, "{address}");
        }
    }
    at.tell();
}

// --- Markup ---

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

// --- Addresses, and what is no HTTP ---

#[tokio::test]
async fn no_address_leads_to_a_file_that_is_not_meant() {
    let mut at = AttackedSite::new().await;
    let stranger = at.site.visitor();
    for place in ["", "/static", "/static/css", "/users", "/posts"] {
        for up in
            ["..", "%2e%2e", ".%2e", "..%2f..", "%2e%2e%2f%2e%2e", "..%5c..", "....//", "%00/.."]
        {
            for file in ["Cargo.toml", ".env", ".git/HEAD", "etc/passwd", "src/main.rs", ""] {
                let address = format!("{place}/{up}/{file}");
                let reply = at.send(&stranger, stranger.request(Method::GET, &address), "").await;
                let status = reply.status.as_u16();
                assert!([404, 308, 400].contains(&status), "{address}: {status}");
                reply.lacks("[package]").lacks("root:").lacks("ref: refs");
            }
        }
    }
    for address in
        ["/.git/HEAD", "/.env", "/static", "/static/", "/static/app.css", "/admin", "/metrics"]
    {
        let reply = at.send(&stranger, stranger.request(Method::GET, address), "").await;
        assert!([404, 308].contains(&reply.status.as_u16()), "{address}: {}", reply.status);
    }
}

/// In place of a status: an end without an answer.
const HANGS_UP: u16 = 0;

/// Some of these are answered by the HTTP library, which knows none of our headers.
#[expect(clippy::too_many_lines, reason = "one list of oddities")]
#[tokio::test]
async fn what_is_hardly_http_is_refused_or_harmless() {
    let at = AttackedSite::new().await;
    let address = listen(&at.site).await;
    let end = "Host: site.test\r\nConnection: close\r\n\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n";
    let many = (0..70).fold(String::new(), |head, n| format!("{head}X-{n}: y\r\n"));
    let long = of("a", 40_000);
    let query = of("q", 5000);
    let cases: Vec<(Vec<u8>, &[u16])> = vec![
        (format!("GET / HTTP/1.1\r\n{end}").into(), &[200]),
        (format!("GET / HTTP/1.0\r\n{end}").into(), &[200]),
        (format!("GET /\\evil.test/ HTTP/1.1\r\n{end}").into(), &[400, 404, 308]),
        (format!("GET /\\/evil.test/ HTTP/1.1\r\n{end}").into(), &[400, 404, 308]),
        (format!("GET //evil.test/ HTTP/1.1\r\n{end}").into(), &[404, 308]),
        (format!("GET //evil.test/%2f.. HTTP/1.1\r\n{end}").into(), &[404, 308]),
        ([b"GET /\x7f/ HTTP/1.1\r\n", end.as_bytes()].concat(), &[400, 404, 308]),
        ([b"GET /\xFF/ HTTP/1.1\r\n", end.as_bytes()].concat(), &[400]),
        ([b"GET /users/\xC3\xA9/ HTTP/1.1\r\n", end.as_bytes()].concat(), &[400, 404, 308]),
        ([b"GET /posts/new?\xC3\xA9\x7f HTTP/1.1\r\n", end.as_bytes()].concat(), &[400, 303]),
        ([b"GET /login?next=/\xC3\xA9 HTTP/1.1\r\n", end.as_bytes()].concat(), &[400, 200]),
        ([b"GET /\x00 HTTP/1.1\r\n", end.as_bytes()].concat(), &[400]),
        ([b"GET / HTTP/1.1\r\nCookie: sid=\xFF; flash=\xFE\r\n", end.as_bytes()].concat(), &[200]),
        ([b"GET / HTTP/1.1\r\nUser-Agent: \xFF\r\n", end.as_bytes()].concat(), &[200]),
        ([b"GET / HTTP/1.1\r\nHX-Request-Type: \xFF\r\n", end.as_bytes()].concat(), &[200]),
        ([b"GET / HTTP/1.1\r\nX: a\x00b\r\n", end.as_bytes()].concat(), &[400]),
        (format!("GET http://evil.test/posts/new/ HTTP/1.1\r\n{end}").into(), &[308]),
        (format!("GET http://evil.test HTTP/1.1\r\n{end}").into(), &[200]),
        (format!("OPTIONS * HTTP/1.1\r\n{end}").into(), &[400, 404, 405]),
        (format!("GET * HTTP/1.1\r\n{end}").into(), &[400, 404]),
        (format!("CONNECT evil.test:443 HTTP/1.1\r\n{end}").into(), &[400, 404, 405]),
        (format!("GET /{query} HTTP/1.1\r\n{end}").into(), &[414]),
        (format!("GET /?{query} HTTP/1.1\r\n{end}").into(), &[414]),
        (format!("GET /{long} HTTP/1.1\r\n{end}").into(), &[414, 431]),
        (format!("GET / HTTP/1.1\r\nX: {long}\r\n{end}").into(), &[431]),
        (format!("GET / HTTP/1.1\r\n{many}{end}").into(), &[431]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[HANGS_UP, 400, 505]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(4), &[400]),
        (b"hello\r\n\r\n".to_vec(), &[400]),
        (format!("GET / HTTP/1.1\r\nA: b\r\n c\r\n{end}").into(), &[400]),
        (format!("GET / HTTP/1.1 \r\nA : b\r\n{end}").into(), &[400]),
        (format!("POST /login HTTP/1.1\r\n{form}Content-Length: -1\r\n{end}").into(), &[400]),
        (format!("POST /login HTTP/1.1\r\n{form}Content-Length: 1e3\r\n{end}").into(), &[400]),
        (
            format!(
                "POST /login HTTP/1.1\r\n{form}Content-Length: 3\r\nContent-Length: 4\r\n{end}abcd"
            )
            .into(),
            &[400],
        ),
        (
            format!(
                "POST /login HTTP/1.1\r\n{form}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n{end}\
                 9\r\nlogin=ada\r\n0\r\n\r\n"
            )
            .into(),
            &[400, 401],
        ),
        (b"GET / HTTP/1.1\nHost: site.test\nConnection: close\n\n".to_vec(), &[200, 400]),
        (b"GET / HTTP/1.1\r\nHost: \"><svg>\r\nConnection: close\r\n\r\n".to_vec(), &[200, 400]),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(), &[200, 400]),
        (format!("GET / HTTP/1.1\r\nHost: evil.test\r\n{end}").into(), &[200, 400]),
        (
            format!("POST /login HTTP/1.1\r\n{form}Transfer-Encoding: xchunked\r\n{end}abc").into(),
            &[400, 501],
        ),
        (
            format!("POST /login HTTP/1.1\r\n{form}Transfer-Encoding: chunked\r\n{end}zz\r\n")
                .into(),
            &[400],
        ),
        // Nothing is said to be coming that will not be taken, and nobody waits for it.
        (
            format!("POST /login HTTP/1.1\r\n{form}Content-Length: 99999999\r\n{end}login=ada")
                .into(),
            &[413],
        ),
        (
            format!(
                "POST /login HTTP/1.1\r\n{form}Transfer-Encoding: chunked\r\n{end}{}",
                format!("FFFF\r\n{}\r\n", of("x", 0xFFFF)).repeat(9)
            )
            .into(),
            &[413],
        ),
    ];
    for (request, statuses) in cases {
        let asked = String::from_utf8_lossy(&request[..request.len().min(160)]).into_owned();
        let reply = match exchange(address, &request).await {
            Err(_) if statuses.contains(&HANGS_UP) => continue,
            reply => reply.unwrap_or_else(|err| panic!("{asked:?}: {err}")),
        };
        assert!(statuses.contains(&reply.status.as_u16()), "{asked:?}: {reply:?}");
        let is_ours = reply.headers.contains_key("x-request-id");
        if is_ours {
            oracle::check(&reply, &asked, &[PASSWORD, CANARY, &at.session]);
        } else {
            assert!([400, 414, 431, 505].contains(&reply.status.as_u16()), "{asked:?}");
            assert_eq!(reply.body, "", "{asked:?}");
        }
    }
    assert_eq!(at.last, at.state().await);
    let reply = exchange(address, format!("GET / HTTP/1.1\r\n{end}")).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK, "and the site goes on");
}
