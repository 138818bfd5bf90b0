//! Tokens that are damaged, changed, signed by others or expired.

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::sign};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    support::{JWT_SECRET, Reply, TestSite},
    tokens::show,
};

pub fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

pub fn coded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Any head and claims, signed with `secret` as HS256.
pub fn signed(head: impl ToString, claims: impl ToString, secret: &[u8]) -> String {
    signed_as(Algorithm::HS256, head, claims, secret)
}

#[expect(clippy::needless_pass_by_value, reason = "a text or a document, lent or not")]
pub fn signed_as(
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
pub struct Pattern {
    pub head: Value,
    pub claims: Value,
}

impl Pattern {
    pub fn of(token: &str) -> Pattern {
        let part = |at: usize| {
            let part = token.split('.').nth(at).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let mut pattern = Pattern { head: part(0), claims: part(1) };
        // Room on both sides within the longest life that a token may have.
        pattern.claims["exp"] = json!(now() + 600);
        pattern
    }

    pub fn token(&self) -> String {
        signed(&self.head, &self.claims, JWT_SECRET.as_bytes())
    }

    pub fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        claims[name] = value;
        signed(&self.head, claims, JWT_SECRET.as_bytes())
    }

    /// With a value that no `Value` can hold.
    pub fn with_raw_claim(&self, name: &str, value: &str) -> String {
        let mut claims = self.claims.clone();
        claims[name] = json!("RAW");
        let claims = claims.to_string().replace("\"RAW\"", value);
        signed(&self.head, claims, JWT_SECRET.as_bytes())
    }

    pub fn without_claim(&self, name: &str) -> String {
        let mut claims = self.claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        signed(&self.head, claims, JWT_SECRET.as_bytes())
    }

    pub fn with_head(&self, name: &str, value: Value) -> String {
        let mut head = self.head.clone();
        head[name] = value;
        signed(head, &self.claims, JWT_SECRET.as_bytes())
    }
}

/// Body and headers, without what is each answer's own.
pub fn face(reply: &Reply) -> (u16, String, HeaderMap) {
    let mut headers = reply.headers.clone();
    headers.remove("x-request-id");
    headers.remove("date");
    (reply.status.as_u16(), reply.body.clone(), headers)
}

/// Any text may be taken for a secret: these are public.
pub const PUBLIC_KEYS: [&str; 2] = [
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBm/RAlphM3+hUG6wWfcO5bIUIaqMLa2ywxcOK1wMWbh ada",
];

pub fn false_heads(fine: &Pattern) -> Vec<(String, String)> {
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

pub fn false_claims(fine: &Pattern) -> Vec<(String, String)> {
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

pub fn false_segments(fine: &Pattern) -> Vec<(String, String)> {
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

/// The response does not reveal what is wrong with a token, and none is an internal error.
#[tokio::test]
async fn forged_damaged_and_expired_tokens_are_refused_and_all_look_alike() {
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
