//! What a token is good for, what is no token, and what ends one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::http::{HeaderMap, Method, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use social_post::routes::router;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::{
    cli::complaint,
    server::{Program, get, post},
    support::{
        API, Caller, JWT_SECRET, PASSWORD, Reply, TestSite, absent_database, database,
        empty_directory, encode, oracle, post_office::PostOffice, routes, social_post,
        wire::exchange,
    },
};

const BETTER: &str = "marble otter 7 lantern";

// --- Forgery ---

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

fn coded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Whatever it says, signed with `secret` as HS256 is.
fn signed(head: impl ToString, claims: impl ToString, secret: &[u8]) -> String {
    signed_as(Algorithm::HS256, head, claims, secret)
}

#[expect(clippy::needless_pass_by_value, reason = "a text or a document, lent or not")]
fn signed_as(
    algorithm: Algorithm,
    head: impl ToString,
    claims: impl ToString,
    secret: &[u8],
) -> String {
    let said = format!("{}.{}", coded(head.to_string()), coded(claims.to_string()));
    let signature = sign(said.as_bytes(), &EncodingKey::from_secret(secret), algorithm).unwrap();
    format!("{said}.{signature}")
}

/// What a token of the site says, to say it again a little differently.
struct Pattern {
    head: Value,
    claims: Value,
}

impl Pattern {
    fn of(token: &str) -> Pattern {
        let part = |at: usize| {
            let part = token.split('.').nth(at).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let mut pattern = Pattern { head: part(0), claims: part(1) };
        // Room on both sides within the longest life that a token may have.
        pattern.claims["exp"] = json!(now() + 600);
        pattern
    }

    fn token(&self) -> String {
        signed(&self.head, &self.claims, JWT_SECRET.as_bytes())
    }

    fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        claims[name] = value;
        signed(&self.head, claims, JWT_SECRET.as_bytes())
    }

    /// With a value that no `Value` can hold.
    fn with_raw_claim(&self, name: &str, value: &str) -> String {
        let mut claims = self.claims.clone();
        claims[name] = json!("RAW");
        let claims = claims.to_string().replace("\"RAW\"", value);
        signed(&self.head, claims, JWT_SECRET.as_bytes())
    }

    fn without_claim(&self, name: &str) -> String {
        let mut claims = self.claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        signed(&self.head, claims, JWT_SECRET.as_bytes())
    }

    fn with_head(&self, name: &str, value: Value) -> String {
        let mut head = self.head.clone();
        head[name] = value;
        signed(head, &self.claims, JWT_SECRET.as_bytes())
    }
}

/// Body and headers, without what is each answer's own.
fn face(reply: &Reply) -> (u16, String, HeaderMap) {
    let mut headers = reply.headers.clone();
    headers.remove("x-request-id");
    headers.remove("date");
    (reply.status.as_u16(), reply.body.clone(), headers)
}

async fn show(site: &TestSite, token: &str, path: &str) -> Reply {
    let caller = Caller { token: Some(token.to_owned()), ..site.caller() };
    caller.get(path).await
}

/// Any text may be taken for a secret: these are public.
const PUBLIC_KEYS: [&str; 2] = [
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm/RAlphM3+hUG6wWfcO5bIUIaqMLa2ywxcOK1wMWbh ada",
];

fn false_heads(fine: &Pattern) -> Vec<(String, String)> {
    let secret = JWT_SECRET.as_bytes();
    let mut tokens = Vec::new();
    for name in ["none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "RS256", "EdDSA"] {
        let mut head = fine.head.clone();
        head["alg"] = json!(name);
        tokens.push((format!("alg {name}"), signed(&head, &fine.claims, secret)));
        let said = format!("{}.{}", coded(head.to_string()), coded(fine.claims.to_string()));
        tokens.push((format!("alg {name}, no signature"), format!("{said}.")));
        tokens.push((format!("alg {name}, 64 bytes"), format!("{said}.{}", coded([7; 64]))));
        tokens.push((format!("alg {name}, 256 bytes"), format!("{said}.{}", coded([7; 256]))));
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = signed_as(algorithm, &head, &fine.claims, secret);
            tokens.push((format!("alg {name}, really {algorithm:?}"), token));
        }
    }
    for (name, value) in [
        ("alg", json!(["HS256"])),
        ("alg", Value::Null),
        ("typ", json!("JWT")),
        ("typ", json!("AT+JWT")),
        ("typ", json!("application/at+jwt")),
        ("typ", Value::Null),
        ("typ", json!("")),
        ("kid", json!("")),
        ("kid", json!("unknown")),
        ("kid", json!("../../dev/null")),
        ("kid", json!("' or 1=1 --")),
        ("kid", json!(0)),
        ("kid", Value::Null),
        ("jku", json!("https://evil.test/keys.json")),
        ("jwk", json!({ "kty": "oct", "k": coded(JWT_SECRET), "alg": "HS256" })),
        ("x5u", json!("https://evil.test/chain.pem")),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("cty", json!("JWT")),
        ("pad", json!("x".repeat(400))),
    ] {
        tokens.push((format!("head {name}: {value:.40}"), fine.with_head(name, value)));
    }
    for name in ["alg", "typ", "kid"] {
        let mut head = fine.head.clone();
        head.as_object_mut().unwrap().remove(name);
        tokens.push((format!("head without {name}"), signed(&head, &fine.claims, secret)));
        let twice = fine.head.to_string().replacen('{', &format!("{{\"{name}\":\"x\","), 1);
        tokens.push((format!("head with {name} twice"), signed(twice, &fine.claims, secret)));
    }
    let kid = fine.head["kid"].clone();
    for head in ["", "null", "{}", "[]", "\"HS256\"", "{\"alg\":\"HS256\"", "\u{FEFF}{}"] {
        tokens.push((format!("head {head:?}"), signed(head, &fine.claims, secret)));
    }
    let list = json!(["HS256", "at+jwt", kid]);
    tokens.push(("head as a list".into(), signed(list, &fine.claims, secret)));
    tokens
}

fn false_claims(fine: &Pattern) -> Vec<(String, String)> {
    let now = now();
    let mut tokens = Vec::new();
    for name in ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "epoch"] {
        tokens.push((format!("without {name}"), fine.without_claim(name)));
        let right = fine.claims[name].clone();
        let odd = [
            Value::Null,
            json!(true),
            json!({}),
            json!([]),
            json!([right]),
            json!({ "x": right }),
            json!(""),
            json!(-1),
            json!(1.5),
            json!(1e300),
        ];
        for value in odd {
            tokens.push((format!("{name}: {value}"), fine.with_claim(name, value)));
        }
        for value in
            ["9223372036854775808", "1e400", "-9223372036854775809", "99999999999999999999", "NaN"]
        {
            tokens.push((format!("{name}: {value}"), fine.with_raw_claim(name, value)));
        }
        let twice = format!("{right},\"{name}\":{right}");
        tokens.push((format!("{name} twice"), fine.with_raw_claim(name, &twice)));
    }
    for name in ["iat", "nbf", "exp"] {
        let right = fine.claims[name].to_string();
        tokens.push((format!("{name} as a text"), fine.with_claim(name, json!(right))));
        let float = format!("{right}.5");
        tokens.push((format!("{name} as a fraction"), fine.with_raw_claim(name, &float)));
    }
    for (name, value) in [
        ("exp", now - 60),
        ("exp", now - 8),
        ("exp", 0),
        ("exp", i64::MIN),
        ("exp", now + 40 * 60),
        ("exp", i64::MAX),
        ("nbf", now + 60),
        ("nbf", i64::MAX),
        ("iat", now + 60),
        ("iat", i64::MAX),
        // Longer from beginning to end than any of ours lives.
        ("iat", now - 3600),
        ("iat", i64::MIN),
        ("epoch", 1),
        ("epoch", i64::from(i32::MAX)),
        ("epoch", i64::from(i32::MAX) + 1),
    ] {
        tokens.push((format!("{name}: {value}"), fine.with_claim(name, json!(value))));
    }
    let mut ends = fine.claims.clone();
    (ends["exp"], ends["iat"]) = (json!(i64::MAX), json!(i64::MIN));
    tokens.push(("all of time".into(), signed(&fine.head, ends, JWT_SECRET.as_bytes())));
    let sub = fine.claims["sub"].as_str().unwrap();
    for other in [
        format!("0{sub}"),
        format!("+{sub}"),
        format!(" {sub}"),
        format!("{sub} "),
        format!("{sub}.0"),
        format!("{sub}\0"),
        format!("{sub}e0"),
        "\u{FF11}".into(),
        "0x1".into(),
        "0".into(),
        "-1".into(),
        "987654".into(),
        "9223372036854775807".into(),
        "9223372036854775808".into(),
        "ada".into(),
    ] {
        tokens.push((format!("sub {other:?}"), fine.with_claim("sub", json!(other))));
    }
    tokens.push(("sub as a number".into(), fine.with_raw_claim("sub", sub)));
    for (name, value) in [
        ("iss", "http://site.test/"),
        ("iss", "https://site.test"),
        ("iss", "http://SITE.test"),
        ("iss", "http://site.test.evil.test"),
        ("aud", "http://site.test"),
        ("aud", "http://site.test/api/"),
        ("aud", "https://other.test/api"),
    ] {
        tokens.push((format!("{name} {value}"), fine.with_claim(name, json!(value))));
    }
    let both = json!([fine.claims["aud"], "https://other.test/api"]);
    tokens.push(("aud of two".into(), fine.with_claim("aud", both)));
    for claims in ["", "null", "[]", "\"sub\"", "{", "{}x"] {
        let token = signed(&fine.head, claims, JWT_SECRET.as_bytes());
        tokens.push((format!("claims {claims:?}"), token));
    }
    tokens
}

fn false_segments(fine: &Pattern) -> Vec<(String, String)> {
    let token = fine.token();
    let parts: Vec<_> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else { panic!("{token}") };
    let mut tokens: Vec<(String, String)> = [
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
        format!("{head}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{claims}.{head}.{signature}"),
        format!("{head}.{signature}.{claims}"),
        format!("{signature}.{claims}.{head}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{head}.{signature}.{claims}.{signature}.{signature}"),
        "..".into(),
        ".".into(),
        "x".into(),
        "....".into(),
        "null".into(),
        "undefined".into(),
        format!("{head}.{claims}.{}", coded([0; 32])),
        format!("{head}.{claims}.{}", &signature[..42]),
        format!("{head}.{claims}.{signature}AAAA"),
        format!("{head}=.{claims}.{signature}"),
        format!("{head}.{claims}=.{signature}"),
        format!("{head}.{claims}.{signature}="),
        format!("{head}.{claims}.{signature}=="),
        format!("{head} .{claims}.{signature}"),
        format!("{head}.{claims}\t.{signature}"),
        format!("{token},{token}"),
        format!("{token} {token}"),
        format!("\"{token}\""),
        format!("Bearer {token}"),
        token.to_uppercase(),
        "x".repeat(4097),
        format!("{head}.{}.{signature}", "x".repeat(9000)),
    ]
    .into_iter()
    .map(|token| (token.clone(), token))
    .collect();
    // 32 bytes are 43 letters, the last of which has two bits that say nothing.
    let (whole, last) = signature.split_at(42);
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = letters.find(last).unwrap();
    for other in 1..4 {
        let letter = letters.as_bytes()[at ^ other] as char;
        tokens.push(("other last bits".into(), format!("{head}.{claims}.{whole}{letter}")));
    }
    // All is right but the length.
    let token = fine.with_claim("pad", json!("x".repeat(3000)));
    assert!(token.len() > 4096);
    tokens.push(("a token over 4 KiB".into(), token));

    for key in PUBLIC_KEYS {
        for key in [key, key.trim_end()] {
            tokens.push((key.into(), signed(&fine.head, &fine.claims, key.as_bytes())));
        }
    }
    let odd: [&[u8]; 6] = [
        b"",
        b"\0",
        b"secret",
        JWT_SECRET.to_uppercase().leak().as_bytes(),
        &JWT_SECRET.as_bytes()[1..],
        b"a secret of the tests, 32 bytes or more\n",
    ];
    for secret in odd {
        let token = signed(&fine.head, &fine.claims, secret);
        tokens.push((format!("the secret {:?}", String::from_utf8_lossy(secret)), token));
    }
    tokens
}

/// Nobody learns from the answer what is wrong with a token, and none is an error of ours.
#[tokio::test]
async fn only_a_token_that_is_whole_ours_and_of_now_counts_and_all_others_look_alike() {
    let site = TestSite::new().await;
    let ada = site.program("ada").await;
    let real = ada.token.clone().unwrap();
    let fine = Pattern::of(&real);
    assert_eq!(fine.head["alg"], "HS256");
    assert_eq!(fine.head["typ"], "at+jwt");
    assert_eq!(fine.claims["iss"], "http://site.test");
    assert_eq!(fine.claims["aud"], "http://site.test/api");
    assert_eq!(show(&site, &real, "/users/me").await.member("username"), "ada");

    let bad = show(&site, "x", "/users/me").await;
    assert_eq!(bad.status, 401);
    assert_eq!(
        bad.header("www-authenticate"),
        "Bearer realm=\"social-post\", error=\"invalid_token\""
    );
    let elsewhere = TestSite::at("https://site.test").await;
    elsewhere.program("ada").await;
    let of_another = elsewhere.caller_of("ada").await.token.unwrap();
    let others = vec![("a token of another site".to_owned(), of_another)];
    let all = [false_heads(&fine), false_claims(&fine), false_segments(&fine), others].concat();
    assert!(all.len() > 250, "only {}", all.len());
    for (what, token) in all {
        assert_ne!(token, real, "{what}");
        for path in ["/users/me", "/posts", "/openapi.json"] {
            let reply = show(&site, &token, path).await;
            assert_eq!(face(&reply), face(&bad), "{what}: {token}");
        }
    }

    // Five seconds for clocks that are apart, and what is more than we ask for does no harm.
    let now = now();
    for (name, value) in [
        ("exp", json!(now - 3)),
        ("nbf", json!(now + 3)),
        ("iat", json!(now + 3)),
        ("exp", json!(now + 600)),
        ("more", json!({ "is_admin": true })),
    ] {
        let token = fine.with_claim(name, value.clone());
        assert_eq!(show(&site, &token, "/users/me").await.status, 200, "{name} {value}");
    }
}

#[tokio::test]
async fn a_token_is_shown_in_one_header_of_one_form_and_nowhere_else() {
    let site = TestSite::new().await;
    let ada = site.program("ada").await;
    let token = ada.token.clone().unwrap();
    let nobody = site.caller();
    let asking = async |values: &[String]| {
        let mut request = nobody.request(Method::GET, "/users/me");
        for value in values {
            request = request.header(header::AUTHORIZATION, value);
        }
        nobody.send(request, "").await
    };
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(asking(&[format!("{scheme} {token}")]).await.status, 200, "{scheme}");
    }
    let bad = asking(&["Bearer x".into()]).await;
    for value in [
        format!("Bearer  {token}"),
        format!("Bearer\t{token}"),
        format!("Bearer{token}"),
        format!("Bearer: {token}"),
        format!("Bearer={token}"),
        format!("Bearer token={token}"),
        format!("Bearer \"{token}\""),
        "Bearer".into(),
        "Bearer ".into(),
        String::new(),
        token.clone(),
        format!("Token {token}"),
        format!("JWT {token}"),
        format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("ada:{PASSWORD}"))),
        "Digest username=\"ada\"".into(),
        "Bearer \u{e9}".into(),
    ] {
        assert_eq!(face(&asking(std::slice::from_ref(&value)).await), face(&bad), "{value}");
    }
    let twice = [format!("Bearer {token}"), format!("Bearer {token}")];
    assert_eq!(asking(&twice).await.status, 400);

    // Nobody is not one with a bad token.
    let reply = nobody.get("/users/me").await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"social-post\"");
    let query = encode(&[("access_token", &token), ("token", &token), ("authorization", &token)]);
    let reply = nobody.get(&format!("/users/me?{query}")).await;
    assert_eq!(reply.status, 401, "in the address");
    let form = nobody
        .request(Method::PUT, "/posts/1/vote")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    assert_eq!(nobody.send(form, query).await.status, 401, "in a form");
    for name in ["proxy-authorization", "x-authorization", "x-access-token", "cookie"] {
        let request =
            nobody.request(Method::GET, "/users/me").header(name, format!("Bearer {token}"));
        assert_eq!(nobody.send(request, "").await.status, 401, "{name}");
    }
}

#[tokio::test]
async fn a_cookie_gives_nothing_in_the_api_and_a_token_nothing_on_pages() {
    let site = TestSite::new().await;
    let ada = site.member("ada").await;
    let program = site.caller_of("ada").await;
    let post = site.post_by("ada", "A title").await;
    let with_cookie = Caller { visitor: ada, token: None };
    program.put(&format!("/posts/{post}/vote"), &Value::Null).await;

    for (path, method) in routes::api() {
        let path = path.replace("{id}", &post.to_string()).replace("{username}", "ada");
        let ask = async |caller: &Caller| {
            let request = caller.document(method.parse().unwrap(), &path);
            caller.send(request.header("origin", "http://site.test"), "{}").await
        };
        let reply = ask(&with_cookie).await;
        assert_eq!(reply.cookies(), [""; 0], "{path}");
        assert_eq!(face(&reply), face(&ask(&site.caller()).await), "{method} {path}");
    }
    assert_eq!(with_cookie.get(&format!("/posts/{post}")).await.member("voted"), Value::Null);
    assert_eq!(program.get(&format!("/posts/{post}")).await.member("voted"), true);

    for (path, method) in routes::pages() {
        let path = path.replace("{id}", &post.to_string()).replace("{username}", "ada");
        let ask = async |token: &str| {
            let nobody = site.visitor();
            let request = nobody.form(&path).method(method.as_str());
            nobody.send(request.header(header::AUTHORIZATION, token), "title=x").await
        };
        let token = format!("Bearer {}", program.token.as_ref().unwrap());
        let (with, without) = (ask(&token).await, ask("x").await);
        assert_eq!(with.status, without.status, "{method} {path}");
        // A form has a key of its own, and a stream begins with the time.
        if !without.body.contains("name=\"key\"") && path != "/live" {
            assert_eq!(with.body, without.body, "{method} {path}");
        }
        with.lacks("Logged in as");
    }
    assert_eq!(site.count("select count(*) from posts").await, 1);
}

// --- The end of a token ---

/// Fails unless the token counts, or does not count, wherever one shows it.
#[track_caller]
fn counts(replies: &[Reply], does: bool, why: &str) {
    for reply in replies {
        assert_eq!(reply.status.as_u16(), if does { 200 } else { 401 }, "{why}: {}", reply.body);
        assert_eq!(reply.header("www-authenticate").contains("invalid_token"), !does, "{why}");
    }
}

async fn everywhere(caller: &Caller, post: i64) -> Vec<Reply> {
    vec![
        caller.get("/users/me").await,
        caller.get("/posts").await,
        caller.get(&format!("/posts/{post}")).await,
        caller.put(&format!("/posts/{post}/vote"), &Value::Null).await,
        caller.post("/posts/preview", &json!({ "body": "x" })).await,
        caller.get("/users/me/export").await,
    ]
}

#[tokio::test]
async fn whatever_ends_somebodys_sessions_ends_their_tokens_at_the_next_request() {
    let office = PostOffice::open().await;
    let database = database().await;
    let mut site = TestSite::over(database.options(), "http://site.test");
    site.app.mailer = social_post::mail::Mailer::new(Some(&office.outgoing())).unwrap();
    site.router = router(site.app.clone());
    let ada = site.member("ada").await;
    let bob = site.program("bob").await;
    office.letters(2).await;
    let post = site.post_by("bob", "A title").await;
    let settings = [("DATABASE_URL", database.url.as_str())];
    let run = |arguments: &[&str]| {
        assert_eq!(social_post(arguments, &settings).status.code(), Some(0), "{arguments:?}");
    };
    let mut letters = 2;

    for end in [
        "another password by the form",
        "another password by the API",
        "a link by mail, followed by the form",
        "a link by mail, followed by the API",
        "another password by the operator",
        "logging out everywhere by the form",
        "logging out everywhere by the API",
        "ending all tokens",
        "a suspension",
    ] {
        let (one, other) = (site.caller_of("ada").await, site.caller_of("ada").await);
        counts(&everywhere(&one, post).await, true, end);
        counts(&everywhere(&other, post).await, true, end);
        let new = json!({ "current_password": PASSWORD, "new_password": BETTER });
        match end {
            "another password by the form" => {
                let fields = [("current_password", PASSWORD), ("new_password", BETTER)];
                assert_eq!(ada.post("/settings/password", &fields).await.status, 303);
            }
            "another password by the API" => {
                assert_eq!(one.put("/users/me/password", &new).await.status, 204);
            }
            "a link by mail, followed by the form" | "a link by mail, followed by the API" => {
                let email = json!({ "email": "ada@example.org" });
                assert_eq!(site.caller().post("/password/forgot", &email).await.status, 202);
                letters += 1;
                let all = office.letters(letters).await;
                let newest = all.iter().filter(|letter| letter.subject.contains("A new password"));
                let links: Vec<_> = newest.map(|letter| letter.link("/password/reset")).collect();
                let mut statuses = Vec::new();
                for link in links {
                    let (_, token) = link.rsplit_once('/').unwrap();
                    if end.ends_with("API") {
                        let reset = json!({ "token": token, "new_password": BETTER });
                        let reply = site.caller().post("/password/reset", &reset).await;
                        statuses.push(reply.status.as_u16());
                    } else {
                        let reply = ada.post(&link, &[("new_password", BETTER)]).await;
                        statuses.push(reply.status.as_u16());
                    }
                }
                let done = if end.ends_with("API") { 204 } else { 303 };
                assert_eq!(statuses.iter().filter(|status| **status == done).count(), 1);
            }
            "another password by the operator" => run(&["user", "reset-password", "ada"]),
            "logging out everywhere by the form" => {
                let ada = site.visitor();
                let fields = [("login", "ada"), ("password", PASSWORD)];
                assert_eq!(ada.post("/login", &fields).await.status, 303);
                let fields = [("others", "true")];
                assert_eq!(ada.post("/settings/sessions/revoke", &fields).await.status, 303);
                assert_eq!(ada.get("/settings").await.status, 200, "here it goes on");
            }
            "logging out everywhere by the API" => {
                assert_eq!(one.delete("/users/me/sessions").await.status, 204);
                assert_eq!(site.count("select count(*) from user_sessions").await, 0);
            }
            "ending all tokens" => {
                assert_eq!(one.delete("/users/me/tokens").await.status, 204);
            }
            _ => run(&["user", "suspend", "ada"]),
        }
        counts(&everywhere(&one, post).await, false, end);
        counts(&everywhere(&other, post).await, false, end);
        counts(&everywhere(&bob, post).await, true, end);
        // Another password tells its owner by mail, except the operator's.
        if end.starts_with("another password by the form")
            || end.starts_with("another password by the API")
            || end.starts_with("a link")
        {
            letters += 1;
            office.letters(letters).await;
        }
        if end == "a suspension" {
            run(&["user", "restore", "ada"]);
            counts(&everywhere(&one, post).await, false, "nothing brings a token back");
        }
        as_before(&site).await;
    }

    let ada = site.caller_of("ada").await;
    let leave = json!({ "current_password": PASSWORD });
    assert_eq!(ada.post("/users/me/deletion", &leave).await.status, 204);
    counts(&everywhere(&ada, post).await, false, "a deletion");
    let again = site.member("ada").await;
    assert_eq!(again.get("/settings").await.status, 200);
    counts(&everywhere(&ada, post).await, false, "a deletion, and another of the same name");
}

/// Ada has the password of all tests again.
async fn as_before(site: &TestSite) {
    sqlx::query(
        "update users set password_hash = (select password_hash from users where username = 'bob') \
         where username = 'ada'",
    )
    .execute(&site.db)
    .await
    .unwrap();
}

// --- The secret ---

const OLD: &str = "the secret of before, and long enough: 7f3a91";
const NEW: &str = "the secret of today, and long enough: c04b22";

fn ask(path: &str, token: &str) -> String {
    let head = format!("GET {API}{path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n");
    format!("{head}Authorization: Bearer {token}\r\n\r\n")
}

async fn log_in_at(program: &Program) -> String {
    let fields = [("username", "ada"), ("password", PASSWORD)];
    let reply = program.ask(post(&format!("{API}/login"), "", &fields)).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.member("access_token").as_str().unwrap().to_owned()
}

/// Two programs over one database, as when one replaces the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_beside_the_old_one_fails_no_request_and_without_it_old_tokens_end() {
    let database = database().await;
    TestSite::over(database.options(), "http://site.test").member("ada").await;
    let start = async |settings: &[(&str, &str)]| {
        let settings = [settings, &[("LISTEN_ADDR", "127.0.0.1:0")]].concat();
        Program::start_with(&database.url, &settings).await
    };
    let first = start(&[("JWT_SECRET", OLD)]).await;
    let old_token = log_in_at(&first).await;

    let current = Arc::new(Mutex::new((first.address, old_token.clone())));
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..2 {
        let (current, stop, asked) = (current.clone(), stop.clone(), asked.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let (address, token) = current.lock().unwrap().clone();
                let reply = exchange(address, ask("/users/me", &token)).await.unwrap();
                assert_eq!(reply.status, 200, "{}", reply.body);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let some_more = async || {
        let before = asked.load(Ordering::Relaxed);
        while asked.load(Ordering::Relaxed) < before + 20 {
            assert_eq!(clients.len(), 2);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    some_more().await;
    let mut second = start(&[("JWT_SECRET", NEW), ("JWT_SECRET_PREVIOUS", OLD)]).await;
    *current.lock().unwrap() = (second.address, old_token.clone());
    some_more().await;
    drop(first);
    some_more().await;
    let new_token = log_in_at(&second).await;
    assert_ne!(Pattern::of(&new_token).head["kid"], Pattern::of(&old_token).head["kid"]);
    current.lock().unwrap().1.clone_from(&new_token);
    some_more().await;
    let third = start(&[("JWT_SECRET", NEW)]).await;
    current.lock().unwrap().0 = third.address;
    some_more().await;
    second.signal(Signal::SIGTERM);
    assert_eq!(second.ended().await, Some(0));
    some_more().await;
    stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }

    for (token, status) in [(&old_token, 401), (&new_token, 200)] {
        assert_eq!(third.ask(ask("/users/me", token)).await.status, status);
        oracle::check(&third.ask(ask("/users/me", token)).await, "/users/me", &[OLD, NEW]);
    }
    // And one that knows the old secret alone takes nothing of the new.
    let back = start(&[("JWT_SECRET", OLD)]).await;
    assert_eq!(back.ask(ask("/users/me", &new_token)).await.status, 401);
    for program in [&second, &third] {
        let log = program.log.lock().unwrap();
        for secret in [OLD, NEW, old_token.as_str(), new_token.as_str()] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[tokio::test]
async fn a_secret_that_is_none_stops_the_start_in_one_line_and_is_not_told() {
    let url = absent_database().url;
    let directory = empty_directory("secrets");
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let short = file("short", "canary7f3a\n");
    let empty = file("empty", " \n");
    let canary = "canary7f3a canary7f3a canary7f3a and so on";
    let cases: [(&[(&str, &str)], &str); 21] = [
        (&[("JWT_SECRET", "canary7f3a")], "JWT_SECRET"),
        (&[("JWT_SECRET", &canary[..31])], "JWT_SECRET"),
        (&[("JWT_SECRET", "cccccccccccccccccccccccccccccccccccccccc")], "JWT_SECRET"),
        (&[("JWT_SECRET", "changemechangemechangemechangeme")], "JWT_SECRET"),
        (
            &[("JWT_SECRET", "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7")],
            "JWT_SECRET",
        ),
        (&[("JWT_SECRET", "a-string-secret-at-least-256-bits-long")], "JWT_SECRET"),
        (&[("JWT_SECRET_FILE", &short)], "JWT_SECRET"),
        (&[("JWT_SECRET_FILE", &empty)], "JWT_SECRET_FILE"),
        (&[("JWT_SECRET_FILE", "/nowhere")], "JWT_SECRET_FILE"),
        (&[("JWT_SECRET_FILE", &short), ("JWT_SECRET", canary)], "JWT_SECRET"),
        (&[("JWT_SECRET_PREVIOUS", canary)], "JWT_SECRET"),
        (&[("JWT_SECRET_PREVIOUS", "canary7f3a"), ("JWT_SECRET", canary)], "JWT_SECRET_PREVIOUS"),
        (&[("API_ENABLED", "true")], "JWT_SECRET"),
        (&[("API_ENABLED", "maybe"), ("JWT_SECRET", canary)], "API_ENABLED"),
        (&[("ACCESS_TOKEN_EXPIRE_MINUTES", "0")], "ACCESS_TOKEN_EXPIRE_MINUTES"),
        (&[("ACCESS_TOKEN_EXPIRE_MINUTES", "half")], "ACCESS_TOKEN_EXPIRE_MINUTES"),
        (&[("CORS_ALLOWED_ORIGINS", "*")], "CORS_ALLOWED_ORIGINS"),
        (&[("CORS_ALLOWED_ORIGINS", "null")], "CORS_ALLOWED_ORIGINS"),
        (&[("CORS_ALLOWED_ORIGINS", "example.org")], "CORS_ALLOWED_ORIGINS"),
        (&[("CORS_ALLOWED_ORIGINS", "https://a.test/path")], "CORS_ALLOWED_ORIGINS"),
        (&[("CORS_ALLOWED_ORIGINS", "https://a.test,https://*.a.test")], "CORS_ALLOWED_ORIGINS"),
    ];
    for (settings, name) in cases {
        let settings = [settings, &[("DATABASE_URL", url.as_str())]].concat();
        let told = complaint(&social_post(&["user", "list"], &settings), 2);
        assert!(told.starts_with(&format!("{name} ")), "{settings:?}: {told}");
        assert!(!told.contains("canary7f3a"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_is_off_is_nowhere() {
    let site = TestSite::altered(|app| app.tokens = None).await;
    site.member("ada").await;
    let mut paths: Vec<String> = ["", "/", "/v1", "/v1/", "/v2/posts", "/v1/nothing"]
        .map(|rest| format!("/api{rest}"))
        .into();
    paths.extend(routes::api().into_iter().map(|(path, _)| format!("{API}{path}")));
    for path in paths {
        let path = path.replace("{id}", "1").replace("{username}", "ada");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            for origin in ["http://site.test", "https://evil.test", "null"] {
                let nobody = site.visitor();
                let request = nobody
                    .request(method.parse().unwrap(), &path)
                    .header("origin", origin)
                    .header("content-type", "application/json");
                let reply = nobody.send(request, "{}").await;
                // That alone is an address like any other.
                let is_page = ["/api", "/api/"].contains(&path.as_str());
                assert!(is_page || reply.status == 404, "{method} {path}: {}", reply.status);
                assert!(reply.status.is_client_error(), "{method} {path}: {}", reply.status);
                oracle::check(&reply, &path, &[]);
            }
        }
    }

    let database = database().await;
    let listens = ("LISTEN_ADDR", "127.0.0.1:0");
    for settings in [
        vec![listens],
        vec![listens, ("JWT_SECRET", NEW), ("API_ENABLED", "false")],
        vec![listens, ("API_ENABLED", "false")],
    ] {
        let program = Program::start_with(&database.url, &settings).await;
        for path in ["/posts", "/openapi.json", "/docs"] {
            let reply = program.ask(get(&format!("{API}{path}"), "")).await;
            assert_eq!(reply.status, 404, "{settings:?}");
        }
        let fields = [("username", "ada"), ("password", PASSWORD)];
        assert_eq!(program.ask(post(&format!("{API}/login"), "", &fields)).await.status, 404);
        assert_eq!(program.ask(get("/", "")).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_cluster_of_its_own_a_secret_is_made_once_and_kept_to_itself() {
    let directory = empty_directory("data");
    let data = directory.join("data");
    let data_dir = data.display().to_string();
    let settings = [("DATA_DIR", data_dir.as_str()), ("LISTEN_ADDR", "127.0.0.1:0")];
    let secret = || fs::read_to_string(data.join("jwt-secret")).unwrap();

    let mut program = Program::start_with("", &settings).await;
    let made = secret();
    assert!(made.trim().len() >= 32, "{made}");
    let rights = fs::metadata(data.join("jwt-secret")).unwrap().permissions();
    assert_eq!(rights.mode() & 0o777, 0o600);
    let account = json!({ "username": "ada", "email": "ada@example.org", "password": PASSWORD });
    let account = account.to_string();
    let sign_up = format!(
        "POST {API}/users HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{account}",
        account.len()
    );
    assert_eq!(program.ask(sign_up).await.status, 201);
    let token = log_in_at(&program).await;
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));

    let mut program = Program::start_with("", &settings).await;
    assert_eq!(secret(), made);
    assert_eq!(program.ask(ask("/users/me", &token)).await.status, 200, "it outlives a restart");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.ended().await, Some(0));
    assert!(!program.log.lock().unwrap().contains(made.trim()));

    fs::write(data.join("jwt-secret"), "canary7f3a").unwrap();
    let settings =
        [settings[0], settings[1], ("BASE_URL", "http://site.test"), ("DATABASE_URL", "")];
    let output = social_post(&["serve"], &settings);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_ne!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("jwt-secret") && !told.contains("canary7f3a"), "{told}");
}
