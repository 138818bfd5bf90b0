//! Odd values in every parameter.

use axum::http::Method;
use serde_json::json;

use social_post::routes::Access;

use crate::{
    hostile::{AttackedSite, MARKER},
    hostile_api::{
        begin,
        endpoints::{Kind, lasting},
        send, who,
    },
};

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
async fn an_odd_value_in_any_json_document_gets_a_matching_status() {
    let mut at = AttackedSite::new().await;
    let ada = at.site.caller_of("ada").await;
    for endpoint in lasting().iter().filter(|endpoint| endpoint.kind == Kind::Document) {
        let address = endpoint.address(at.post);
        for name in endpoint.members {
            for (value, oddity) in odd_members() {
                let body = endpoint.document(Some((name, &value)));
                let shown = String::from_utf8_lossy(&body).into_owned();
                let is_secret = ["current_password", "password", "new_password"].contains(name);
                let may_miss = ["url", "body"].contains(name) && endpoint.route != "/posts/preview";
                // A change takes no null for what must be there, as it takes nothing there at all.
                let may_be_null = may_miss || endpoint.method == Method::PATCH;
                let allowed: &[u16] = match oddity {
                    // JSON is read from left to right: the reader stops after a number.
                    Oddity::Broken if value.first().is_some_and(u8::is_ascii_digit) => &[400, 422],
                    Oddity::Broken => &[400],
                    Oddity::Type => &[422],
                    Oddity::Null if !may_be_null => &[422],
                    _ if endpoint.leads_nowhere() => &[404, 422],
                    _ if endpoint.members.contains(&"current_password") => &[422],
                    Oddity::Null => &[200, 201],
                    Oddity::Nul if is_secret => &[201, 422],
                    Oddity::Nul => &[422],
                    Oddity::Text => &[200, 201, 409, 422],
                };
                if endpoint.who != Access::Anyone {
                    let nobody = at.site.caller();
                    let request = begin(&nobody, endpoint, &address);
                    let reply = send(&mut at, &nobody, request, body.clone()).await;
                    assert_eq!(reply.status, 401, "{address} {shown}");
                }
                let by = if endpoint.who == Access::Anyone { &at.site.caller() } else { &ada };
                let reply = send(&mut at, by, begin(by, endpoint, &address), body).await;
                let status = reply.status.as_u16();
                assert!(
                    allowed.contains(&status),
                    "{} {address} {shown}: {status} and not {allowed:?}: {}",
                    endpoint.method,
                    reply.body
                );
            }
        }
    }
    at.tell();
}

#[tokio::test]
async fn an_odd_value_in_any_api_path_or_query_gets_a_matching_status() {
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
    for endpoint in lasting() {
        let by = who(&at, &endpoint).await;
        let address = endpoint.address(at.post);
        for name in endpoint.query {
            for value in odd {
                let address = format!("{address}?{name}={value}");
                let reply = send(&mut at, &by, begin(&by, &endpoint, &address), "").await;
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
                let reply = send(&mut at, &by, begin(&by, &endpoint, &address), "").await;
                assert_eq!(reply.status, 400, "{address}");
            }
        }
        for place in ["{id}", "{username}"] {
            if !endpoint.route.contains(place) {
                continue;
            }
            for value in odd.into_iter().filter(|value| !value.is_empty()) {
                let address = endpoint.route.replace(place, value);
                let body = endpoint.body();
                let reply = send(&mut at, &by, begin(&by, &endpoint, &address), body).await;
                let status = if is_broken(value) { 400 } else { 404 };
                assert_eq!(reply.status, status, "{} {address}: {}", endpoint.method, reply.body);
            }
        }
        // An unknown parameter changes nothing of the response.
        let body = endpoint.body();
        let address = format!("{address}?is_admin=1&utm_source=x");
        let request = begin(&by, &endpoint, &address);
        send(&mut at, &by, request, body).await;
    }
    at.tell();
}
