//! The CPU time of the dearest request of each route.
//!
//! The program runs as a process of its own. Its threads have names (`src/cli/mod.rs`): what the runtime's
//! threads spend on a request delays every other client, what is spent on blocking threads waits for its turn
//! there. Both are compared with the cost of a plain page in the same run, so that neither the machine nor the
//! kind of build matters.
//!
//! `SOCIAL_POST=target/release/social-post cargo test --test it dearest -- --nocapture` prints the table for
//! another build of the program.

use std::{fs, process::Command, time::Duration};

use axum::http::Method;
use serde_json::{Map, Value};
use social_post::{
    identity::UserId,
    posts::{Draft, publish},
    routes::{Access, ROUTES, Route},
    web::{cursor, middleware::known_routes::POST_BODY},
};
use sqlx::{PgPool, types::time::OffsetDateTime};
use tokio::time::sleep;

use crate::{
    program::{Program, command},
    support::{Database, JWT_SECRET, PASSWORD, TestSite, database, encode, wire::exchange},
};

/// What a request may cost on the runtime's threads, as a multiple of a plain page: about four milliseconds in
/// a release build. The dearest are pages that show half a megabyte of a refused form again.
const ON_RUNTIME: f64 = 16.0;

/// What a stream may cost there in all: it is made in parts of 64 KiB, between which others are served.
const STREAMED: f64 = 400.0;

/// What a request may cost on blocking threads: a text of the greatest length as HTML.
const ON_BLOCKING: f64 = 400.0;

/// A password hash on blocking threads. It is optimized in every build.
const HASH: Duration = Duration::from_millis(1500);

/// How often a request is sent that seems to be the dearest of its route; the least of the times counts.
const TIMES: usize = 3;

/// The texts that took longest of [`dear_texts`] in a release build. A debug build tries only these.
const DEAREST: [&str; 2] = ["nested lists", "emoji"];

/// Which of the texts are in the lists: one that grows as much as any, one that does not get shorter, and one
/// that is escaped everywhere.
const IN_LISTS: [&str; 3] = ["links", "words", "quotation marks"];

/// CPU time by kind of thread.
#[derive(Debug, Clone, Copy)]
struct Cost {
    runtime: Duration,
    blocking: Duration,
}

impl Cost {
    const MOST: Cost = Cost { runtime: Duration::MAX, blocking: Duration::MAX };
}

/// The server, a member who sends the requests, and a post of theirs.
struct Measured {
    program: Program,
    database: Database,
    /// With the same keys as the program.
    site: TestSite,
    cookie: String,
    token: String,
    post: i64,
    asset: String,
}

/// A request as it goes over the wire, and what is dear about it.
struct Asked {
    what: String,
    bytes: Vec<u8>,
}

// --- What is dear ---

/// Whether everything is tried, as on a release build.
fn is_thorough() -> bool {
    std::env::var_os("SOCIAL_POST").is_some()
}

fn numbered(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().concat()
}

/// Texts of the greatest length that are dear to normalize, to render, to sanitize or to escape.
fn dear_texts() -> Vec<(&'static str, String)> {
    let fill = |part: &str| part.repeat(40_000 / part.chars().count());
    let table = |columns: usize| {
        let row = |cell: &str| format!("{}\n", cell.repeat(columns));
        let rows = (40_000 - 4 * columns - 2) / (2 * columns + 1);
        format!("{}{}{}", row("|a"), row("|-"), row("|b").repeat(rows))
    };
    vec![
        ("links", fill("[a](b)")),
        ("web links", fill("[a](http://b)")),
        ("addresses", fill("http://a.co ")),
        ("images", fill("![a](b)")),
        ("brackets", fill("[")),
        ("link starts", fill("[a](")),
        ("emphasis", fill("*a ")),
        ("emphasis both", fill("*a_ ")),
        ("strong", fill("a**b")),
        ("underscores", fill("a_")),
        ("strikes", fill("~~a~")),
        ("quotes", fill(">")),
        ("nested quotes", fill("> > > > a\n")),
        ("nested lists", fill("- 1. - 1. - 1. a\n")),
        ("items", fill("- a\n")),
        ("paragraphs", fill("a\n\n")),
        ("headings", fill("# a\n")),
        ("rules", fill("***\n")),
        ("code", fill("`a` ")),
        ("backticks", (1..280).map(|count| "`".repeat(count) + " ").collect()),
        ("entities", fill("&#x41;")),
        ("named entities", fill("&amp;")),
        ("html", fill("<a>")),
        ("comments", fill("<!--")),
        ("escapes", fill("\\*")),
        ("quotation marks", fill("\"")),
        ("ampersands", fill("&")),
        ("references", "[a]: http://b\n\n".to_owned() + &"[a]".repeat(13_000)),
        ("definitions", numbered(2500, |number| format!("[a{number}]: /b\n\n"))),
        ("table of 3", table(3)),
        ("table of 60", table(60)),
        ("table of 4000", table(4000)),
        ("emoji", fill("\u{1F980}")),
        ("accents", fill("e\u{301}")),
        ("expanding", "\u{344}\u{fb2c}".repeat(8000)),
        ("hangul", fill("\u{1100}\u{1161}\u{11a8}")),
        ("words", fill("garden moss ")),
    ]
}

/// Searches of the greatest length.
fn dear_searches() -> Vec<(&'static str, String)> {
    let fill = |part: &str| part.repeat(200 / part.chars().count());
    vec![
        ("words", fill("garden ")),
        ("one letter", fill("a ")),
        ("or", fill("a or ")),
        ("phrases", fill("\"a b\" ")),
        ("quotation marks", fill("\"")),
        ("excluded", fill("-a ")),
        ("hyphens", fill("a-")),
        ("operators", fill("(&|!):*")),
        ("emoji", fill("\u{1F980}")),
        ("ideographs", fill("上海")),
        ("no match", fill("zzxq")),
    ]
}

/// Passwords of the greatest length; the second looks like a word in every place.
fn dear_passwords() -> Vec<(&'static str, String)> {
    let odd = "4@({[<69!1";
    let mixed = (0..128).map(|at| odd.as_bytes()[(at * at + at / 3) % odd.len()] as char).collect();
    vec![
        ("long", "violet kettle ".repeat(9)),
        ("look-alikes", mixed),
        ("wrong", "wrong password 9".into()),
    ]
}

/// The dearest values of a parameter or a field, for a route that takes it.
fn dear_values(route: &Route, name: &str) -> Vec<(&'static str, String)> {
    let list = match route.path {
        "/" => "hot",
        "/new" => "new",
        "/top" => "top all",
        "/users" | "/api/v1/users" => "people",
        "/users/{username}" => "by 1",
        _ => "api new 0",
    };
    let one = |value: &str| vec![("", value.to_owned())];
    match name {
        "body" => {
            let mut texts = dear_texts();
            texts.retain(|(what, _)| is_thorough() || DEAREST.contains(what));
            texts
        }
        "q" | "search" => dear_searches(),
        "title" => vec![("emoji", "\u{1F980}".repeat(150)), ("accents", "e\u{301}".repeat(150))],
        "url" => one(&format!("https://a.test/{}", "x".repeat(1985))),
        "key" | "session" => one("01a22703-44df-700f-93a2-75f6cfddec4a"),
        // As in the database: an edit is made.
        "version" => one(""),
        "value" => one("1"),
        "after" if route.path == "/live" => one("1"),
        "after" if route.path == "/search" => one(""),
        "after" => vec![
            ("top", String::new()),
            ("cursor", cursor::encode(list, i64::MAX >> 12, i64::MAX, "3:99:7,8,9,10,11,12,13,14")),
        ],
        "sort" => vec![("new", "new".into()), ("top", "top".into())],
        "t" => vec![("all", "all".into()), ("year", "year".into())],
        "part" => vec![("index", String::new()), ("part", "0".into())],
        "limit" => one("100"),
        "skip" => vec![("first", "0".into()), ("last", "10000".into())],
        "author" => vec![("all", String::new()), ("ada", "ada".into())],
        "next" => one(&format!("/{}", "x".repeat(900))),
        "username" if route.path.ends_with("/login") => one(&"a".repeat(7000)),
        "username" => one("a_name_of_thirty_characters_00"),
        "login" => vec![("nobody", "a".repeat(6000)), ("ada", "ada".into())],
        "email" => one(&format!("{}@{}.example.org", "a".repeat(60), "b".repeat(60))),
        "password" | "new_password" => dear_passwords(),
        // Never right: what follows it would end the session.
        "current_password" => one(&"wrong password 9 ".repeat(7)),
        "token" => one("AAAAAAAAAAAAAAAAAAAAAA"),
        other => {
            panic!("{} takes {other:?}: add its dearest values to tests/it/cost.rs", route.path)
        }
    }
}

/// Every field with its first value, and each further value of one field with the first of the others.
fn combinations(
    route: &Route,
    names: &[&'static str],
) -> Vec<(String, Vec<(&'static str, String)>)> {
    let values: Vec<_> = names.iter().map(|name| (*name, dear_values(route, name))).collect();
    let mut all = Vec::new();
    for (at, (name, each)) in values.iter().enumerate() {
        for (number, (what, value)) in each.iter().enumerate() {
            if number == 0 && at > 0 {
                continue;
            }
            let mut fields: Vec<_> =
                values.iter().map(|(name, each)| (*name, each[0].1.clone())).collect();
            fields[at].1.clone_from(value);
            fields.retain(|(_, value)| !value.is_empty());
            all.push((format!("{name}: {what}"), fields));
        }
    }
    if all.is_empty() {
        all.push((String::new(), Vec::new()));
    }
    all
}

fn pairs<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

impl Measured {
    /// The dearest permitted requests of a route.
    fn dearest(&self, route: &Route) -> Vec<Asked> {
        let path = route
            .path
            .replace("{id}", &self.post.to_string())
            .replace("{username}", "ada")
            .replace("{name}", &self.asset)
            .replace("{token}", "AAAAAAAAAAAAAAAAAAAAAA");
        let mut all = Vec::new();
        for (of_query, query) in combinations(route, route.query) {
            let query = encode(&pairs(&query));
            let path = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
            if route.method.is_safe() {
                let codings = [
                    ("", ""),
                    ("gzip", "Accept-Encoding: gzip\r\n"),
                    ("br", "Accept-Encoding: br\r\n"),
                ];
                // Compression is left to the thorough form: it is the same in every build.
                for (how, headers) in &codings[..if is_thorough() { 3 } else { 1 }] {
                    all.push(self.request(
                        route,
                        &path,
                        &format!("{of_query} {how}"),
                        headers,
                        &[],
                    ));
                }
                continue;
            }
            for (what, fields) in combinations(route, route.fields) {
                let (kind, body) = if route.is_api() && !route.path.ends_with("/login") {
                    let members: Map<String, Value> = fields
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
                        .collect();
                    ("application/json", Value::Object(members).to_string())
                } else {
                    ("application/x-www-form-urlencoded", encode(&pairs(&fields)))
                };
                let headers = format!("Content-Type: {kind}\r\n");
                all.push(self.request(route, &path, &what, &headers, body.as_bytes()));
            }
            all.extend(self.floods(route, &path));
        }
        // Headers of the greatest length, each in a form that is taken apart.
        for (what, name, part) in [
            ("cookies", "Cookie", "sid=a; "),
            ("codings", "Accept-Encoding", "gzip;q=0.001, "),
            ("tags", "If-None-Match", "\"a\", "),
            ("proxies", "X-Forwarded-For", "127.0.0.1, "),
        ] {
            let headers = format!("{name}: {}\r\n", part.repeat(12_000 / part.len()));
            all.push(self.request(route, &path, what, &headers, b""));
        }
        all
    }

    /// Bodies of the greatest size that are refused.
    fn floods(&self, route: &Route, path: &str) -> Vec<Asked> {
        let most = route.body_limit.min(POST_BODY) - 100;
        let field = route.fields.first().copied().unwrap_or("body");
        let json = "Content-Type: application/json\r\n";
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        let fields = numbered(most / 8, |number| format!("a{number}=&"));
        let members = numbered(most / 12, |number| format!("\"a{number}\":1,"));
        let floods = [
            ("fields", form, fields[..most.min(fields.len())].to_owned()),
            ("one long field", form, format!("{field}={}", "a".repeat(most))),
            ("one long encoded field", form, format!("{field}={}", "%41".repeat(most / 3))),
            ("members", json, format!("{{{}\"a\":1}}", &members[..most.min(members.len())])),
            ("escapes", json, format!("{{\"{field}\":\"{}\"}}", "\\u0041".repeat(most / 6))),
            ("numbers", json, format!("{{\"{field}\":[{}1]}}", "1,".repeat(most / 2))),
            ("depth", json, "[".repeat(most)),
        ];
        let floods = floods.into_iter().filter(|(_, kind, _)| route.is_api() == (*kind == json));
        floods
            .map(|(what, kind, body)| self.request(route, path, what, kind, body.as_bytes()))
            .collect()
    }

    fn request(&self, route: &Route, path: &str, what: &str, headers: &str, body: &[u8]) -> Asked {
        let by = match route.access {
            _ if route.is_api() && route.access != Access::Anyone => {
                format!("Authorization: Bearer {}\r\n", self.token)
            }
            // A page for one member is made for it alone.
            _ if !headers.starts_with("Cookie") && !route.is_api() => {
                format!("Cookie: {}\r\n", self.cookie)
            }
            _ => String::new(),
        };
        let head = format!(
            "{} {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n\
             {by}{headers}Content-Length: {}\r\n\r\n",
            route.method,
            body.len()
        );
        Asked { what: what.trim().to_owned(), bytes: [head.as_bytes(), body].concat() }
    }

    // --- Measuring ---

    async fn start() -> Measured {
        let database = database().await;
        let settings = [
            ("DATABASE_URL", database.url.as_str()),
            ("BASE_URL", "http://site.test"),
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("RATE_LIMITS", "off"),
            ("JWT_SECRET", JWT_SECRET),
            ("RUST_LOG", "warn,social_post::cli=info"),
        ];
        let mut serve = command(&["serve"], &settings);
        if let Some(other) = std::env::var_os("SOCIAL_POST") {
            let mut same = Command::new(std::path::Path::new(crate::PROJECT).join(other));
            same.arg("serve").env_clear();
            same.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
            same.current_dir(serve.get_current_dir().unwrap());
            serve = same;
        }
        let program = Program::run(serve).await;
        program.comes_to("/readyz", 200).await;
        let site = TestSite::over(database.options(), "http://site.test");
        let mut measured = Measured {
            program,
            database,
            site,
            cookie: String::new(),
            token: String::new(),
            post: 0,
            asset: String::new(),
        };
        let ada = measured.site.member("ada").await;
        measured.site.member("bob").await;
        measured.cookie = ada.cookie_header();
        measured.token = measured.site.caller_of("ada").await.token.unwrap();
        let page = ada.get("/").await.body;
        let asset = page.split("src=\"/static/").nth(1).unwrap();
        asset.split('"').next().unwrap().clone_into(&mut measured.asset);
        measured.post = fill(&measured.database.pool).await;
        measured
    }

    /// A log-in and a token as they were before: some routes end them, others delete the post.
    async fn restore(&mut self) {
        let visitor = self.site.visitor();
        let form = [("login", "ada"), ("password", PASSWORD)];
        assert_eq!(visitor.post("/login", &form).await.status, 303);
        self.cookie = visitor.cookie_header();
        self.token = self.site.caller_of("ada").await.token.unwrap();
        self.post = dear_post(
            &self.database.pool,
            "A dear title again",
            &dear_texts()[0].1,
            OffsetDateTime::now_utc(),
        )
        .await;
    }

    /// CPU time of the program's threads so far.
    fn spent(&self) -> Cost {
        let mut spent = Cost { runtime: Duration::ZERO, blocking: Duration::ZERO };
        let tasks = fs::read_dir(format!("/proc/{}/task", self.program.child.id())).unwrap();
        for task in tasks.flatten() {
            let read = |name: &str| fs::read_to_string(task.path().join(name)).ok();
            let (Some(name), Some(times)) = (read("comm"), read("schedstat")) else { continue };
            let nanos = times.split(' ').next().unwrap().parse().unwrap();
            let waits_for_its_turn = matches!(name.trim(), "blocking" | "hash");
            let kind = if waits_for_its_turn { &mut spent.blocking } else { &mut spent.runtime };
            *kind += Duration::from_nanos(nanos);
        }
        spent
    }

    /// What the request costs, and the status of the answer.
    async fn cost(&self, asked: &Asked) -> (Cost, u16) {
        // What an earlier request left to do is over.
        sleep(Duration::from_millis(2)).await;
        let before = self.spent();
        let answer = exchange(self.program.address, &asked.bytes).await;
        let status = answer.map_or(0, |answer| answer.status.as_u16());
        let after = self.spent();
        let runtime = after.runtime.saturating_sub(before.runtime);
        let blocking = after.blocking.saturating_sub(before.blocking);
        (Cost { runtime, blocking }, status)
    }

    /// The dearest requests of a route: on the runtime's threads, and on blocking ones.
    async fn dearest_of(&mut self, route: &Route) -> [(Duration, String); 2] {
        let ends_something = route.method == Method::DELETE
            || route.path.contains("delete")
            || route.path == "/logout";
        let mut most = [(Duration::ZERO, String::new()), (Duration::ZERO, String::new())];
        for asked in self.dearest(route) {
            let (mut cost, mut status) = (Cost::MOST, 0);
            for _ in 0..TIMES {
                let (again, answered) = self.cost(&asked).await;
                status = answered;
                cost.runtime = cost.runtime.min(again.runtime);
                cost.blocking = cost.blocking.min(again.blocking);
                if ends_something {
                    self.restore().await;
                }
                // Not the dearest, so what else the machine did meanwhile does not matter.
                if cost.runtime <= most[0].0 && cost.blocking <= most[1].0 {
                    break;
                }
            }
            for (most, cost) in most.iter_mut().zip([cost.runtime, cost.blocking]) {
                if cost > most.0 {
                    *most = (cost, format!("{status} {}", asked.what));
                }
            }
        }
        most
    }
}

async fn dear_post(db: &PgPool, title: &str, body: &str, at: OffsetDateTime) -> i64 {
    let author: i64 = sqlx::query_scalar("select id from users where username = 'ada'")
        .fetch_one(db)
        .await
        .unwrap();
    let draft = Draft::parse(title, "https://a.test/page", body).unwrap();
    publish::db::publish_at(db, UserId(author), &draft, at).await.unwrap().0
}

/// A site whose lists are full of dear texts. Returns the newest post.
async fn fill(db: &PgPool) -> i64 {
    let mut newest = 0;
    for (what, text) in dear_texts().into_iter().filter(|(what, _)| IN_LISTS.contains(what)) {
        let title = format!("garden {what}");
        newest = dear_post(db, &title, &text, OffsetDateTime::now_utc()).await;
    }
    let copies = "with copy as ( \
            insert into posts (author_id, title, url, body, body_html, excerpt, created_at) \
            select author_id, title || ' ' || number, url, body, body_html, excerpt, \
                created_at - number * interval '1 second' \
            from posts, generate_series(1, 40) number returning id, title, body, created_at \
        ), rank as ( \
            insert into post_ranks (post_id, score, hot, created_at) \
            select id, 0, hot_rank(0, created_at), created_at from copy \
        ) \
        insert into post_search (post_id, created_at, document) \
        select id, created_at, search_document(title, body) from copy";
    sqlx::query(copies).execute(db).await.unwrap();
    newest
}

fn is_hashing(route: &Route) -> bool {
    let passwords = ["password", "new_password", "current_password"];
    route.fields.iter().any(|field| passwords.contains(field))
}

/// Budget before work, and nothing long on a thread that serves others. Without `/live`, whose stream has no
/// end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dearest_request_of_each_route_stays_within_its_bound_of_cpu_time() {
    let mut at = Measured::start().await;
    let plain = ROUTES.iter().find(|route| route.path == "/settings").unwrap();
    let plain = at.request(plain, "/settings", "", "", b"");
    let mut unit = Duration::MAX;
    for _ in 0..20 {
        unit = unit.min(at.cost(&plain).await.0.runtime);
    }
    println!("a plain page: {unit:?} on the runtime's threads");
    let mut faults = Vec::new();
    for route in ROUTES.iter().filter(|route| route.path != "/live") {
        let name = format!("{} {}", route.method, route.path);
        let [(runtime, what), (blocking, dear)] = at.dearest_of(route).await;
        println!(
            "{name:40} {:7.2} ms ({:5.1} x) {what:34} {:7.2} ms blocking {dear}",
            runtime.as_secs_f64() * 1000.0,
            runtime.as_secs_f64() / unit.as_secs_f64(),
            blocking.as_secs_f64() * 1000.0,
        );
        let most = if name.ends_with("/export") { STREAMED } else { ON_RUNTIME };
        if runtime > unit.mul_f64(most) {
            faults.push(format!("{name}: {runtime:?} on the runtime's threads ({what})"));
        }
        let hash = if is_hashing(route) { HASH } else { Duration::ZERO };
        if blocking > unit.mul_f64(ON_BLOCKING) + hash {
            faults.push(format!("{name}: {blocking:?} on blocking threads ({dear})"));
        }
    }
    assert!(faults.is_empty(), "a plain page takes {unit:?}\n{}", faults.join("\n"));
}
