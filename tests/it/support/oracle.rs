//! Rules for every response, for any request.

use serde_json::Value;

use super::Reply;

/// Headers of every response, errors included, with exactly these values.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
         object-src 'none'; manifest-src 'self'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
    ),
    ("x-frame-options", "DENY"),
];

/// Words of the machinery, which no visitor should ever read.
const INTERNALS: [&str; 19] = [
    "serde",
    "axum",
    "sqlx",
    "postgres",
    "hyper",
    "tokio",
    "askama",
    "panicked",
    "deserialize",
    "i64",
    "utf8error",
    ".rs:",
    "sqlstate",
    "relation \"",
    "constraint",
    "duplicate key",
    "missing field",
    "unknown field",
    "line 1 column",
];

/// Fails unless the answer keeps every rule; `secrets` are texts that stand in no answer.
#[track_caller]
pub fn check(reply: &Reply, asked: &str, secrets: &[&str]) {
    let status = reply.status.as_u16();
    assert!(status < 500 || status == 503, "{asked}: {status} {}", reply.body);
    if status == 503 {
        assert_ne!(reply.header("retry-after"), "", "{asked}: a 503 without Retry-After");
    }
    if status == 405 {
        assert_ne!(reply.header("allow"), "", "{asked}: a 405 without Allow");
    }
    check_any(reply, asked, secrets);
}

/// As [`check`], for a test that makes the site fail.
#[track_caller]
pub fn check_any(reply: &Reply, asked: &str, secrets: &[&str]) {
    check_headers(reply, asked);
    let kind = reply.header("content-type");
    if kind.starts_with("text/") {
        assert!(kind.ends_with("; charset=utf-8"), "{asked}: {kind}");
    }
    assert!(reply.body.is_empty() || !kind.is_empty(), "{asked}: a body without a type");
    if matches!(kind.split(';').next(), Some("text/html" | "text/plain")) {
        let lower = reply.body.to_lowercase();
        for word in INTERNALS {
            assert!(!lower.contains(word), "{asked}: says {word:?}: {}", reply.body);
        }
    }
    if matches!(kind, "application/json" | "application/problem+json") && !reply.body.is_empty() {
        check_document(reply, asked);
    }
    if kind.starts_with("text/html")
        && let Err(problem) = markup(&reply.body)
    {
        panic!("{asked}: {problem}: {}", reply.body);
    }

    for secret in secrets {
        assert!(!reply.body.contains(secret), "{asked}: the page tells {secret:?}");
        for (name, value) in &reply.headers {
            let is_told = String::from_utf8_lossy(value.as_bytes()).contains(secret);
            assert!(!is_told || name == "set-cookie", "{asked}: {name} tells {secret:?}");
        }
    }
}

/// A document of the API; a failure is one that says what it is and nothing of the machinery.
#[track_caller]
fn check_document(reply: &Reply, asked: &str) {
    let document: Value = serde_json::from_str(&reply.body)
        .unwrap_or_else(|err| panic!("{asked}: {err}: {}", reply.body));
    let is_failure = reply.status.as_u16() >= 400;
    assert_eq!(reply.header("content-type") == "application/problem+json", is_failure, "{asked}");
    if !is_failure {
        return;
    }
    let members = document.as_object().unwrap();
    for name in members.keys() {
        let is_known = ["type", "title", "status", "detail", "errors"].contains(&name.as_str());
        assert!(is_known, "{asked}: {name} in {document}");
    }
    assert_eq!(document["type"], "about:blank", "{asked}");
    assert_eq!(document["status"], reply.status.as_u16(), "{asked}");
    assert_eq!(document["title"].as_str(), reply.status.canonical_reason(), "{asked}");
    assert_eq!(reply.header("cache-control"), "no-store", "{asked}");
    let challenge = reply.header("www-authenticate");
    assert_eq!(challenge.starts_with("Bearer realm="), reply.status == 401, "{asked}: {challenge}");
    let is_token_bad = challenge.contains("error=");
    assert!(
        !is_token_bad || challenge.ends_with("error=\"invalid_token\""),
        "{asked}: {challenge}"
    );
    let errors = document["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(errors.is_empty() || [409, 422].contains(&reply.status.as_u16()), "{asked}");
    let says = [&document["detail"]].into_iter().chain(errors.iter().map(|e| &e["message"]));
    for text in says {
        let text = text.as_str().unwrap_or_else(|| panic!("{asked}: {document}"));
        assert!(text.ends_with('.') && !text.contains('\n'), "{asked}: {text:?} is no sentence");
        let lower = text.to_lowercase();
        for word in INTERNALS {
            assert!(!lower.contains(word), "{asked}: says {word:?}: {text}");
        }
    }
}

/// What the headers alone must say.
#[track_caller]
pub fn check_headers(reply: &Reply, asked: &str) {
    for name in ["location", "hx-redirect", "hx-location", "hx-push-url", "hx-replace-url"] {
        for place in reply.headers.get_all(name) {
            let place = place.to_str().unwrap();
            let is_here = place.starts_with('/') && !place.starts_with("//");
            let is_plain = place.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
            assert!(is_here && is_plain, "{asked}: {name} leads to {place:?}");
        }
    }
    for (name, value) in HEADERS {
        let values: Vec<_> = reply.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{asked}: {} with {name}", reply.status);
    }
    for (name, value) in &reply.headers {
        let is_plain = value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(is_plain, "{asked}: {name} holds {value:?}");
        assert!(!name.as_str().starts_with("access-control-"), "{asked}: has {name}");
    }
    for name in ["server", "x-powered-by"] {
        assert!(!reply.headers.contains_key(name), "{asked}: has {name}");
    }
}

/// Reads the tags as a browser would. A text that broke out of its place shows as an attribute
/// without quotes, with an odd name or with code in it.
fn markup(html: &str) -> Result<(), String> {
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if rest.starts_with('!') {
            let is_doctype = rest.starts_with("!doctype html>");
            rest = is_doctype.then(|| &rest[14..]).ok_or("a comment or declaration")?;
            continue;
        }
        let name_ends = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '-')))
            .ok_or("an unfinished tag")?;
        let name = rest[..name_ends].trim_matches('/').to_owned();
        if name.is_empty() || name.contains('/') {
            return Err(format!("<{} is no tag of ours", &rest[..name_ends]));
        }
        rest = &rest[name_ends..];
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix("/>").or_else(|| rest.strip_prefix('>')) {
                rest = after;
                break;
            }
            let ends = rest
                .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "-:".contains(c)))
                .filter(|ends| *ends > 0 || rest.starts_with("viewBox"))
                .ok_or_else(|| format!("<{name}> has an odd attribute"))?;
            let ends = if rest.starts_with("viewBox") { "viewBox".len() } else { ends };
            let attribute = &rest[..ends];
            rest = &rest[ends..];
            let mut value = "";
            if let Some(quoted) = rest.strip_prefix('=') {
                let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\''));
                let quote = quote.ok_or_else(|| format!("{attribute} is not quoted"))?;
                (value, rest) = quoted[1..]
                    .split_once(quote)
                    .ok_or_else(|| format!("{attribute} has no end"))?;
            }
            let leads_on = !matches!(attribute, "value" | "content" | "title" | "aria-label");
            let is_code = attribute.starts_with("on")
                || attribute == "style"
                || attribute.starts_with("hx-on")
                || (leads_on && value.trim_start().to_lowercase().starts_with("javascript:"));
            if is_code {
                return Err(format!("code in {attribute}={value:?} of <{name}>"));
            }
        }
    }
    Ok(())
}

#[test]
fn the_tag_reader_detects_markup_that_broke_out() {
    for fine in ["<p>a > b</p>", "<input value=\"x&#34;>\" required/>", "a <br> b"] {
        assert_eq!(markup(fine), Ok(()), "{fine}");
    }
    for broken in [
        "<svg/onload=alert(1)>",
        "<input value=\"x\"&gt;\">",
        "<input value=x>",
        "<a href=\"JavaScript:alert(1)\">",
        "<p \"></p>",
        "<!-- x -->",
        "a < b",
    ] {
        assert!(markup(broken).is_err(), "{broken}");
    }
}
