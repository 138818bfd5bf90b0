//! Every parameter of every route of the API, given what no program should send; and every rule of
//! `support::oracle`, asked of every answer.

use std::collections::BTreeSet;

use axum::http::{Method, header, request::Builder};
use serde_json::{Value, json};
use social_post::web::middleware::body::{POST_BODY, SMALL_BODY};

use crate::{
    hostile::{AttackedSite, MARKER},
    support::{Caller, PASSWORD, Reply, encode, routes},
};

// --- The doors: what each route takes ---

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anyone,
    Member,
    Author,
}

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Document,
    Form,
}

#[derive(Debug, Clone)]
struct Door {
    method: Method,
    /// As `routes.rs` spells it.
    route: &'static str,
    query: &'static [&'static str],
    kind: Kind,
    members: &'static [&'static str],
    who: Who,
}

fn door(method: Method, route: &'static str) -> Door {
    Door { method, route, query: &[], kind: Kind::Nothing, members: &[], who: Who::Anyone }
}

impl Door {
    fn by(self, who: Who) -> Door {
        Door { who, ..self }
    }

    fn takes(self, members: &'static [&'static str]) -> Door {
        Door { kind: Kind::Document, members, ..self }
    }

    fn asks(self, query: &'static [&'static str]) -> Door {
        Door { query, ..self }
    }

    fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    fn address(&self, post: i64) -> String {
        self.route
            .replace("{username}", "ada")
            .replace("sessions/{id}", "sessions/00000000-0000-0000-0000-000000000000")
            .replace("{id}", &post.to_string())
    }

    fn limit(&self) -> usize {
        if self.route.starts_with("/posts") { POST_BODY } else { SMALL_BODY }
    }

    /// Where one comes in, whatever token one still holds.
    fn takes_no_token(&self) -> bool {
        ["/login", "/password/forgot", "/password/reset", "/email/confirm"].contains(&self.route)
    }

    /// What leads nowhere however good it looks.
    fn leads_nowhere(&self) -> bool {
        self.members.contains(&"token")
            || self.route == "/password/forgot"
            || self.route == "/users/me/sessions/{id}"
    }

    /// A document in which all is good but `odd`, given as it is sent.
    fn document(&self, odd: Option<(&str, &[u8])>) -> Vec<u8> {
        let members: Vec<_> = self
            .members
            .iter()
            .map(|name| {
                let value = match odd {
                    Some((odd, value)) if odd == *name => value.to_vec(),
                    _ => good(name).to_string().into_bytes(),
                };
                [format!("\"{name}\":").as_bytes(), &value].concat()
            })
            .collect();
        [b"{", &members.join(&b',')[..], b"}"].concat()
    }

    fn body(&self) -> Vec<u8> {
        match self.kind {
            Kind::Nothing => Vec::new(),
            Kind::Document => self.document(None),
            Kind::Form => encode(&[("username", "ada"), ("password", "x")]).into_bytes(),
        }
    }
}

/// A value that holds, or that is never right where it must not do anything.
fn good(member: &str) -> Value {
    match member {
        "username" => json!(format!("n{}", &uuid::Uuid::new_v4().simple().to_string()[..12])),
        "email" => json!(format!("{}@example.org", uuid::Uuid::new_v4().simple())),
        "password" | "new_password" => json!(PASSWORD),
        "current_password" => json!("not the password"),
        "token" => json!("AAAAAAAAAAAAAAAAAAAAAA"),
        "title" => json!("A fine title"),
        "url" => json!("https://example.test/a"),
        "body" => json!("Some *text*"),
        other => panic!("{other}"),
    }
}

fn doors() -> Vec<Door> {
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let (patch, delete) = (Method::PATCH, Method::DELETE);
    let posts = &["limit", "skip", "search", "sort", "author", "after"];
    vec![
        door(get.clone(), "/users").asks(&["limit", "after"]),
        door(get.clone(), "/users/{username}"),
        door(get.clone(), "/posts").asks(posts),
        door(get.clone(), "/posts/{id}"),
        door(get.clone(), "/posts/{id}/rank"),
        door(get.clone(), "/openapi.json"),
        door(get.clone(), "/docs"),
        door(get.clone(), "/users/me").by(Who::Member),
        door(get.clone(), "/users/me/export").by(Who::Member),
        door(get, "/users/me/sessions").by(Who::Member),
        door(post.clone(), "/users").takes(&["username", "email", "password"]),
        Door { kind: Kind::Form, ..door(post.clone(), "/login") },
        door(post.clone(), "/password/forgot").takes(&["email"]),
        door(post.clone(), "/password/reset").takes(&["token", "new_password"]),
        door(post.clone(), "/email/confirm").takes(&["token"]),
        door(put.clone(), "/users/me/password")
            .takes(&["current_password", "new_password"])
            .by(Who::Member),
        door(put.clone(), "/users/me/email").takes(&["current_password", "email"]).by(Who::Member),
        door(post.clone(), "/users/me/deletion").takes(&["current_password"]).by(Who::Member),
        door(delete.clone(), "/users/me/sessions/{id}").by(Who::Member),
        door(post.clone(), "/posts").takes(&["title", "url", "body"]).by(Who::Member),
        door(post, "/posts/preview").takes(&["body"]).by(Who::Member),
        door(put.clone(), "/posts/{id}").takes(&["title", "url", "body"]).by(Who::Author),
        door(patch, "/posts/{id}").takes(&["title", "url", "body"]).by(Who::Author),
        door(put, "/posts/{id}/vote").by(Who::Member),
        door(delete.clone(), "/posts/{id}/vote").by(Who::Member),
        door(delete.clone(), "/posts/{id}").by(Who::Author),
        door(delete.clone(), "/users/me/tokens").by(Who::Member),
        door(delete, "/users/me/sessions").by(Who::Member),
    ]
}

/// Those that do the same again and again.
fn lasting() -> Vec<Door> {
    let mut doors = doors();
    doors.retain(|door| {
        door.method != Method::DELETE || door.route.ends_with("/vote") || door.leads_nowhere()
    });
    doors
}

#[test]
fn the_matrix_knows_every_route_of_the_api() {
    let known: routes::Routes = doors()
        .into_iter()
        .map(|door| (door.route.to_owned(), door.method.as_str().to_owned()))
        .collect();
    assert_eq!(known, routes::api(), "left: doors of this file, right: src/routes.rs");
}

/// A request as the door takes it, and `by` whom it may come.
fn begin(by: &Caller, door: &Door, address: &str) -> Builder {
    let request = by.request(door.method.clone(), address);
    match door.kind {
        Kind::Nothing => request,
        Kind::Document => request.header(header::CONTENT_TYPE, "application/json"),
        Kind::Form => request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
    }
}

/// Besides the rules for all answers: what fails is a problem, and nothing of it is kept.
async fn send(
    at: &mut AttackedSite,
    by: &Caller,
    request: Builder,
    body: impl Into<Vec<u8>>,
) -> Reply {
    let asked = format!("{:?} {:?}", request.method_ref(), request.uri_ref());
    let is_head = request.method_ref() == Some(&Method::HEAD);
    let reply = at.send(&by.visitor, request, body.into()).await;
    let status = reply.status.as_u16();
    if status >= 400 {
        assert_eq!(reply.header("content-type"), "application/problem+json", "{asked}: {status}");
        assert_eq!(reply.body.is_empty(), is_head, "{asked}: {status}");
        assert_eq!(reply.header("cache-control"), "no-store", "{asked}: {status}");
    } else {
        assert!([200, 201, 202, 204].contains(&status), "{asked}: {status}");
        assert_eq!(reply.body.is_empty(), status == 204 || status == 202 || is_head, "{asked}");
    }
    assert_eq!(reply.cookies(), [""; 0], "{asked}");
    reply
}

/// Ada, or nobody where anyone will do.
async fn who(at: &AttackedSite, door: &Door) -> Caller {
    if door.who == Who::Anyone { at.site.caller() } else { at.site.caller_of("ada").await }
}

// --- Odd values ---

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oddity {
    /// No JSON at all.
    Broken,
    /// Of another type than a text.
    Type,
    Null,
    Nul,
    Text,
}

fn odd_members() -> Vec<(Vec<u8>, Oddity)> {
    use Oddity::{Broken, Nul, Null, Text, Type};
    let raw: [(&[u8], Oddity); 36] = [
        (b"\"\xFF\"", Broken),
        (b"\"a\xC0\xAFb\"", Broken),
        (b"\"\xED\xA0\x80\"", Broken),
        (b"\"\\ud800\"", Broken),
        (b"\"\\udc00\\ud800\"", Broken),
        (b"\"\\ud800x\"", Broken),
        (b"\"\\uZZZZ\"", Broken),
        (b"\"\\x00\"", Broken),
        (b"\"a\nb\"", Broken),
        (b"\"a\x00b\"", Broken),
        (b"\"open", Broken),
        (b"'single'", Broken),
        (b"", Broken),
        (b"NaN", Broken),
        (b"Infinity", Broken),
        (b"undefined", Broken),
        (b"01", Broken),
        (b"+1", Broken),
        (b"0x1", Broken),
        (b".5", Broken),
        (b"1.", Broken),
        (b"\"x\",", Broken),
        (b"/* */ \"x\"", Broken),
        (b"true", Type),
        (b"false", Type),
        (b"0", Type),
        (b"-1", Type),
        (b"1.5", Type),
        (b"1e300", Type),
        (b"9223372036854775808", Type),
        (b"[]", Type),
        (b"[\"x\"]", Type),
        (b"{}", Type),
        (b"{\"x\":\"y\"}", Type),
        (b"null", Null),
        (b"\"\\u0000\"", Nul),
    ];
    let huge = "9".repeat(400);
    let accents = format!("Z{}", "\u{301}".repeat(300));
    let text = [
        "",
        " ",
        "0",
        "-1",
        "1e3",
        &huge,
        "null",
        "[]",
        "../../etc/passwd",
        "//evil.test",
        "javascript:alert(1)",
        "a\r\nSet-Cookie: sid=x",
        "\u{1b}[31m",
        "' or 1=1 --",
        "${7*7}",
        "\u{202E}txt",
        "\u{200B}",
        "\u{FFFE}",
        "\u{FEFF}",
        &accents,
        "🦀",
        MARKER,
    ];
    let text = text.map(|text| (json!(text).to_string().into_bytes(), Text));
    let nul = (json!("a\0b").to_string().into_bytes(), Nul);
    raw.map(|(raw, oddity)| (raw.to_vec(), oddity)).into_iter().chain([nul]).chain(text).collect()
}

#[tokio::test]
async fn an_odd_value_in_any_document_is_answered_in_kind() {
    let mut at = AttackedSite::new().await;
    let ada = at.site.caller_of("ada").await;
    for door in lasting().iter().filter(|door| door.kind == Kind::Document) {
        let address = door.address(at.post);
        for name in door.members {
            for (value, oddity) in odd_members() {
                let body = door.document(Some((name, &value)));
                let shown = String::from_utf8_lossy(&body).into_owned();
                let is_secret = ["current_password", "password", "new_password"].contains(name);
                let may_miss = ["url", "body"].contains(name) && door.route != "/posts/preview";
                // A change takes no null for what must be there, as it takes nothing there at all.
                let may_be_null = may_miss || door.method == Method::PATCH;
                let allowed: &[u16] = match oddity {
                    // It is read from left to right: after a number nobody looks any further.
                    Oddity::Broken if value.first().is_some_and(u8::is_ascii_digit) => &[400, 422],
                    Oddity::Broken => &[400],
                    Oddity::Type => &[422],
                    Oddity::Null if !may_be_null => &[422],
                    _ if door.leads_nowhere() => &[404, 422],
                    _ if door.members.contains(&"current_password") => &[422],
                    Oddity::Null => &[200, 201],
                    Oddity::Nul if is_secret => &[201, 422],
                    Oddity::Nul => &[422],
                    Oddity::Text => &[200, 201, 409, 422],
                };
                if door.who != Who::Anyone {
                    let nobody = at.site.caller();
                    let request = begin(&nobody, door, &address);
                    let reply = send(&mut at, &nobody, request, body.clone()).await;
                    assert_eq!(reply.status, 401, "{address} {shown}");
                }
                let by = if door.who == Who::Anyone { &at.site.caller() } else { &ada };
                let reply = send(&mut at, by, begin(by, door, &address), body).await;
                let status = reply.status.as_u16();
                assert!(
                    allowed.contains(&status),
                    "{} {address} {shown}: {status} and not {allowed:?}: {}",
                    door.method,
                    reply.body
                );
            }
        }
    }
    at.tell();
}

#[tokio::test]
async fn an_odd_value_in_any_address_of_the_api_is_answered_in_kind() {
    let mut at = AttackedSite::new().await;
    let odd = [
        "",
        "%20",
        "0",
        "-1",
        "%2B1",
        "+1",
        "01",
        "1.0",
        "1e3",
        "0x1",
        "%EF%BC%91",
        "%D9%A1",
        "NaN",
        "null",
        "[]",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551617",
        "..%2F..%2Fetc",
        "%5C",
        "%2F%2Fevil.test",
        "%27%20or%201=1",
        "%E2%80%AEtxt",
        "%EF%BB%BF",
        "%F0%9F%A6%80",
        "%3Csvg%3E",
        "%ZZ",
        "%",
        "a%00b",
        "%00",
        "%FF",
        "%C0%AF",
        "%ED%A0%80",
        "%F0%9F%A6",
    ];
    let is_broken = |value: &str| ["%FF", "%C0%AF", "%ED%A0%80", "%F0%9F%A6"].contains(&value);
    for door in lasting() {
        let by = who(&at, &door).await;
        let address = door.address(at.post);
        for name in door.query {
            for value in odd {
                let address = format!("{address}?{name}={value}");
                let reply = send(&mut at, &by, begin(&by, &door, &address), "").await;
                let status = reply.status.as_u16();
                let allowed: &[u16] = match *name {
                    _ if is_broken(value) => &[400],
                    _ if value.is_empty() => &[200],
                    _ if value.contains("%00") => &[422],
                    "limit" | "skip" => match value {
                        "0" if *name == "skip" => &[200],
                        _ => &[400],
                    },
                    "search" => &[200, 422],
                    "author" => &[200],
                    _ => &[400],
                };
                assert!(allowed.contains(&status), "{address}: {status}: {}", reply.body);
            }
            for twice in [
                format!("{name}=5&{name}=5"),
                format!("{name}=&%{:02x}{}=", name.as_bytes()[0], &name[1..]),
            ] {
                let address = format!("{address}?{twice}");
                let reply = send(&mut at, &by, begin(&by, &door, &address), "").await;
                assert_eq!(reply.status, 400, "{address}");
            }
        }
        for place in ["{id}", "{username}"] {
            if !door.route.contains(place) {
                continue;
            }
            for value in odd.into_iter().filter(|value| !value.is_empty()) {
                let address = door.route.replace(place, value);
                let body = door.body();
                let reply = send(&mut at, &by, begin(&by, &door, &address), body).await;
                let status = if is_broken(value) { 400 } else { 404 };
                assert_eq!(reply.status, status, "{} {address}: {}", door.method, reply.body);
            }
        }
        // What nobody asked for changes nothing of the answer.
        let body = door.body();
        let address = format!("{address}?is_admin=1&utm_source=x");
        let request = begin(&by, &door, &address);
        send(&mut at, &by, request, body).await;
    }
    at.tell();
}

// --- Odd documents ---

#[tokio::test]
async fn only_one_whole_document_with_its_own_members_once_each_is_taken() {
    let mut at = AttackedSite::new().await;
    let strange = [
        "id",
        "score",
        "author",
        "author_id",
        "user_id",
        "created_at",
        "edited_at",
        "voted",
        "is_admin",
        "role",
        "body_html",
        "auth_epoch",
        "suspended_at",
        "__proto__",
        "constructor",
        "Title",
        "TITLE",
        " title",
        "title ",
        "",
    ];
    // Wherever the reader stops in these, it is soon.
    let mut deep = Vec::new();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        deep.extend([open.repeat(1_500), open.repeat(200_000)]);
        deep.extend([20, 120, 1_500].map(|n| format!("{}1{}", open.repeat(n), close.repeat(n))));
    }
    for door in lasting().into_iter().filter(|door| door.kind == Kind::Document) {
        let by = who(&at, &door).await;
        let address = door.address(at.post);
        let whole = String::from_utf8(door.body()).unwrap();
        let inner = &whole[1..whole.len() - 1];
        let mut odd: Vec<(Vec<u8>, u16)> = Vec::new();
        for name in strange {
            for value in ["1", "true", "\"x\"", "null"] {
                odd.push((format!("{{{inner},\"{name}\":{value}}}").into(), 422));
            }
        }
        for name in door.members {
            let value = good(name);
            odd.push((format!("{{{inner},\"{name}\":{value}}}").into(), 422));
            let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
            odd.push((format!("{{{inner},\"{escaped}\":{value}}}").into(), 422));
        }
        for (text, status) in [
            ("", 400),
            (" ", 400),
            ("\n", 400),
            ("null", 422),
            ("true", 422),
            ("1", 422),
            ("\"x\"", 422),
            ("[]", 422),
            ("[{}]", 422),
            ("{", 400),
            ("}", 400),
            ("{,}", 400),
            ("{title:\"x\"}", 400),
            ("title=x&body=y", 400),
            ("<post><title>x</title></post>", 400),
            ("\u{FEFF}{}", 400),
        ] {
            odd.push((text.into(), status));
        }
        odd.push((format!("{whole}{whole}").into(), 400));
        odd.push((format!("{whole}x").into(), 400));
        odd.push((format!("{whole}//").into(), 400));
        odd.push((format!("{whole}}}").into(), 400));
        odd.push((format!("{whole} {{}}").into(), 400));
        odd.push((format!("{whole}\0").into(), 400));
        odd.push((format!("\u{FEFF}{whole}").into(), 400));
        odd.push((whole.replace('}', ",}").into(), 400));
        odd.push((whole.encode_utf16().flat_map(u16::to_le_bytes).collect(), 400));
        let list: Vec<_> = door.members.iter().map(|name| good(name)).collect();
        odd.push((json!(list).to_string().into(), 422));
        odd.push((json!([list]).to_string().into(), 422));
        for text in &deep {
            for body in [text.clone(), format!("{{\"{}\":{text}", door.members[0])] {
                let is_long = body.len() > door.limit();
                let reply = send(&mut at, &by, begin(&by, &door, &address), body).await;
                let status = reply.status.as_u16();
                let allowed: &[u16] = if is_long { &[413] } else { &[400, 422] };
                assert!(allowed.contains(&status), "{address} {text:.20}: {status}");
            }
        }
        for (body, status) in odd {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            let reply = send(&mut at, &by, begin(&by, &door, &address), body).await;
            let fits = reply.status == status;
            assert!(fits, "{address} {text}: {} and not {status}", reply.status);
        }
        // White space is none of its meaning.
        let spaced = format!(" \r\n\t{whole}\n ");
        let spaced = send(&mut at, &by, begin(&by, &door, &address), spaced).await;
        let plain = send(&mut at, &by, begin(&by, &door, &address), door.body()).await;
        let (spaced, plain) = (spaced.status.as_u16(), plain.status.as_u16());
        assert!(spaced == plain || plain == 409, "{address}: {spaced} and {plain}");
    }
    at.tell();
}

#[tokio::test]
async fn only_a_body_of_the_right_type_and_a_fair_size_is_read() {
    let mut at = AttackedSite::new().await;
    let mut doors = lasting();
    doors.retain(|door| door.kind != Kind::Nothing);
    for door in doors {
        let by = who(&at, &door).await;
        let address = door.address(at.post);
        let body = door.body();
        let (right, other) = match door.kind {
            Kind::Form => ("application/x-www-form-urlencoded", "application/json"),
            _ => ("application/json", "application/x-www-form-urlencoded"),
        };
        for kind in [
            None,
            Some(String::new()),
            Some("text/plain".into()),
            Some("text/json".into()),
            Some("application/json5".into()),
            Some("application/problem+json".into()),
            Some("application/vnd.api+json".into()),
            Some("multipart/form-data; boundary=x".into()),
            Some(other.to_owned()),
            Some(format!("{right}; charset=latin1")),
            Some(format!("{right};charset=\"utf-16\"")),
            Some(format!("{right}, text/plain")),
            Some(format!("text/plain; {right}")),
        ] {
            let request = by.request(door.method.clone(), &address);
            let request = match &kind {
                Some(kind) => request.header(header::CONTENT_TYPE, kind),
                None => request,
            };
            let reply = send(&mut at, &by, request, body.clone()).await;
            assert_eq!(reply.status, 415, "{address} {kind:?}");
        }
        for coding in ["gzip", "br", "deflate", "identity"] {
            let request = begin(&by, &door, &address).header(header::CONTENT_ENCODING, coding);
            let reply = send(&mut at, &by, request, body.clone()).await;
            assert_eq!(reply.status, 415, "{address} {coding}");
        }
        for kind in [format!("{right}; charset=UTF-8"), right.to_uppercase()] {
            let request = by.request(door.method.clone(), &address);
            let request = request.header(header::CONTENT_TYPE, &kind);
            let reply = send(&mut at, &by, request, body.clone()).await;
            assert!(![400, 415].contains(&reply.status.as_u16()), "{address} {kind}");
        }

        let padded = |length: usize| {
            let is_form = door.kind == Kind::Form;
            let mut padded = body.clone();
            padded.extend_from_slice(if is_form { b"&pad=" } else { b"" });
            padded.resize(length, if is_form { b'x' } else { b' ' });
            padded
        };
        let reply = send(&mut at, &by, begin(&by, &door, &address), padded(door.limit())).await;
        assert_ne!(reply.status, 413, "{address}: the limit itself is no problem");
        let reply = send(&mut at, &by, begin(&by, &door, &address), padded(door.limit() + 1)).await;
        assert_eq!(reply.status, 413, "{address}");
    }
    at.tell();
}

/// The longest text there is fits, however a program writes its letters.
#[tokio::test]
async fn the_longest_post_fits_as_it_is_and_with_every_letter_escaped() {
    let mut at = AttackedSite::new().await;
    let ada = at.site.caller_of("ada").await;
    let text = "\u{1D11E}".repeat(40_000);
    let escaped = "\\ud834\\udd1e".repeat(40_000);
    for body in [&text, &escaped] {
        let document = format!("{{\"title\":\"A title\",\"body\":\"{body}\"}}");
        let request = ada.document(Method::POST, "/posts");
        let reply = send(&mut at, &ada, request, document).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        assert_eq!(reply.member("body"), json!(text));
    }
}

// --- Methods and addresses ---

#[tokio::test]
async fn a_method_that_an_address_of_the_api_does_not_know_is_told_which_it_does() {
    let mut at = AttackedSite::new().await;
    let routes = routes::api();
    let paths: BTreeSet<_> = routes.iter().map(|(path, _)| path.clone()).collect();
    for path in paths {
        let mut known: BTreeSet<&str> = routes
            .iter()
            .filter(|(of, _)| *of == path)
            .map(|(_, method)| method.as_str())
            .collect();
        if known.contains("GET") {
            known.insert("HEAD");
        }
        let address = door(Method::GET, path.clone().leak()).address(at.post);
        for method in
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "FOO", "get"]
        {
            if known.contains(method) {
                continue;
            }
            for by in [at.site.caller(), at.site.caller_of("ada").await] {
                let request = by
                    .document(method.parse().unwrap(), &address)
                    .header("x-http-method-override", "DELETE");
                let reply = send(&mut at, &by, request, "{\"_method\":\"DELETE\"}").await;
                assert_eq!(reply.status, 405, "{method} {address}");
                let allow: BTreeSet<_> = reply.header("allow").split(',').map(str::trim).collect();
                assert_eq!(allow, known, "{method} {address}");
            }
        }
        for other in ["/", "//", "/x", "%2F", "/."] {
            for method in ["GET", "POST", "DELETE", "OPTIONS"] {
                if path == "/users" && ["/x", "/."].contains(&other) {
                    continue;
                }
                let by = at.site.caller();
                let address = format!("{address}{other}");
                let request = by.document(method.parse().unwrap(), &address);
                let reply = send(&mut at, &by, request, "{}").await;
                let status = reply.status.as_u16();
                assert!([401, 404, 405].contains(&status), "{method} {address}: {status}");
                assert!(other != "/" || status == 404, "{method} {address}: {status}");
            }
        }
    }
    for path in ["", "/", "/nothing", "/Posts", "//posts", "/posts/..", "/../../posts", "/%2e%2e"] {
        let by = at.site.caller();
        let reply = at.send(&by.visitor, by.request(Method::GET, path), "").await;
        assert_eq!(reply.status, 404, "{path:?}");
    }
    at.tell();
}

#[tokio::test]
async fn a_head_has_the_headers_of_its_get_and_no_body() {
    let mut at = AttackedSite::new().await;
    let mut asked = Vec::new();
    for door in doors().iter().filter(|door| door.is_get()) {
        asked.push(door.address(at.post));
    }
    asked.extend(["/posts/987654", "/posts?limit=0", "/nothing"].map(str::to_owned));
    for by in [at.site.caller(), at.site.caller_of("ada").await] {
        for path in &asked {
            let got = send(&mut at, &by, by.request(Method::GET, path), "").await;
            let head = send(&mut at, &by, by.request(Method::HEAD, path), "").await;
            assert_eq!(got.status, head.status, "{path}");
            assert_eq!(head.body, "", "{path}");
            for (name, value) in &got.headers {
                let is_its_own = ["x-request-id", "date"].contains(&name.as_str())
                    // It says when it was made, at times in fewer digits.
                    || name == "content-length" && path == "/users/me/export";
                assert!(is_its_own || head.headers.get(name) == Some(value), "{path}: {name}");
            }
        }
    }
}

// --- Roles ---

#[tokio::test]
async fn each_program_may_do_what_its_owner_may_and_a_refusal_changes_nothing() {
    let mut at = AttackedSite::new().await;
    for name in ["other", "suspended", "gone", "chief"] {
        at.site.member(name).await;
    }
    let suspended = at.site.caller_of("suspended").await;
    let gone = at.site.caller_of("gone").await;
    for sql in [
        "update users set suspended_at = now() where username = 'suspended'",
        "delete from users where username = 'gone'",
        "update users set role = 'admin' where username = 'chief'",
    ] {
        sqlx::query(sql).execute(&at.site.db).await.unwrap();
    }
    at.last = at.state().await;
    for door in doors() {
        for name in ["nobody", "suspended", "gone", "other", "chief", "ada"] {
            let by = match name {
                "nobody" => at.site.caller(),
                "suspended" => Caller { token: suspended.token.clone(), ..at.site.caller() },
                "gone" => Caller { token: gone.token.clone(), ..at.site.caller() },
                name => at.site.caller_of(name).await,
            };
            let address = door.address(at.post);
            // No browser is asked where a program comes from, and none is believed.
            let request = begin(&by, &door, &address).header("origin", "https://evil.test");
            let reply = send(&mut at, &by, request, door.body()).await;
            let status = reply.status.as_u16();
            let what = format!("{} {address} by {name}: {}", door.method, reply.body);
            match (door.who, name) {
                (_, "suspended" | "gone") | (Who::Member | Who::Author, "nobody")
                    if !door.takes_no_token() =>
                {
                    assert_eq!(status, 401, "{what}");
                    let is_told = reply.header("www-authenticate").contains("invalid_token");
                    assert_eq!(is_told, name != "nobody", "{what}");
                }
                (Who::Author, "other" | "chief") => assert_eq!(status, 403, "{what}"),
                _ if door.leads_nowhere() => assert_eq!(status, 404, "{what}"),
                _ if door.kind == Kind::Form => assert_eq!(status, 401, "{what}"),
                _ if door.members.contains(&"current_password") => {
                    assert_eq!(status, 422, "{what}");
                }
                _ => assert!(status < 300, "{what}: {status}"),
            }
            if door.method == Method::DELETE && door.route == "/posts/{id}" && name == "ada" {
                at.post = at.site.post_by("ada", "Another").await;
                at.last = at.state().await;
            }
        }
    }
    at.tell();
}

/// What people write is data: it comes as it was written, and as HTML only where it is called so.
#[tokio::test]
async fn what_people_write_comes_back_as_it_was_and_its_html_is_safe() {
    let mut at = AttackedSite::new().await;
    let ada = at.site.caller_of("ada").await;
    let url = format!("https://example.test/?q={MARKER}#{MARKER}");
    let body =
        format!("# {MARKER}\n\n<b>{MARKER}</b> [x](javascript:alert(1)) <https://a.test/{MARKER}>");
    let post = json!({ "title": MARKER, "url": url, "body": body });
    let request = ada.document(Method::POST, "/posts");
    let reply = send(&mut at, &ada, request, post.to_string()).await;
    assert_eq!(reply.status, 201);
    let post = reply.json();
    assert_eq!((&post["title"], &post["body"]), (&json!(MARKER), &json!(body)));
    let html = post["body_html"].as_str().unwrap();
    assert!(
        !html.contains("<svg") && !html.contains("javascript:") && !html.contains("<b>"),
        "{html}"
    );
    for path in ["/posts", "/users/me/export"] {
        let request = ada.request(Method::GET, path);
        send(&mut at, &ada, request, "").await.has("svg/onload");
    }
    // No browser takes a document for a page.
    let reply = send(&mut at, &ada, ada.request(Method::GET, "/posts"), "").await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    for path in [format!("/{MARKER}"), format!("/posts/{MARKER}"), format!("/posts?sort={MARKER}")]
    {
        let path: String =
            encode(&[("", &path)])[1..].replace("%2F", "/").replace("%3F", "?").replace("%3D", "=");
        let request = ada.request(Method::GET, &path);
        send(&mut at, &ada, request, "").await.lacks("<svg");
    }
}
