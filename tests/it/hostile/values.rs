//! Odd values in every parameter.

use social_post::routes::Access;

use crate::hostile::{
    AttackedSite, MARKER, begin,
    endpoints::{Endpoint, Field, encoded, entering, leads_nowhere, reading, writing},
};

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
    endpoint: &Endpoint,
    field: Field,
    (value, oddity): (&[u8], Oddity),
    is_stranger: bool,
    is_part: bool,
) -> &'static [u16] {
    if is_stranger && endpoint.who != Access::Anyone {
        return if endpoint.is_get() && !is_part { &[303] } else { &[401] };
    }
    let is_in_path = endpoint.path == Some(field);
    let saved: &[u16] = if is_part { &[200] } else { &[303] };
    match (oddity, field) {
        (Oddity::NotUtf8, _) => &[400],
        (_, _) if is_in_path || leads_nowhere(endpoint) => &[404],
        (_, _) if endpoint.form.contains(&Field::CurrentPassword) => &[422],
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
        (Oddity::Text, _) if endpoint.route == "/posts/preview" => &[200, 422],
        (Oddity::Text, Field::Key) => &[422],
        // 409: changed since that version.
        (Oddity::Text, _) if endpoint.form.contains(&Field::Version) => &[303, 409, 422],
        (Oddity::Text, _) => &[303, 422],
    }
}

async fn drive(endpoints: Vec<Endpoint>, entering: bool) {
    let mut at = AttackedSite::new().await;
    for endpoint in &endpoints {
        for field in endpoint.fields() {
            for (n, (value, oddity)) in odd_values().iter().enumerate() {
                let is_sent = endpoint.form.contains(&field)
                    || value.is_ascii() && !(value.is_empty() && endpoint.path == Some(field));
                for is_stranger in [true, false] {
                    // A log-in changes the session, so only visitors without one send it.
                    if !is_sent || entering && !is_stranger {
                        continue;
                    }
                    for is_part in [false, true] {
                        // What is merely odd goes one way or the other: there are many of them.
                        if *oddity == Oddity::Text && (n % 2 == 0) != (is_part == is_stranger) {
                            continue;
                        }
                        let by = if is_stranger { at.site.visitor() } else { at.ada() };
                        let (address, body) = endpoint.with(at.post, Some((field, value)));
                        let request = begin(&by, endpoint, &address, is_part);
                        let reply = at.send(&by, request, body).await;
                        let allowed =
                            allowed(endpoint, field, (value, *oddity), is_stranger, is_part);
                        assert!(
                            allowed.contains(&reply.status.as_u16()),
                            "{} {address} with {field:?} = {:?}, stranger: {is_stranger}, part: {is_part}: \
                             {} and not {allowed:?}: {}",
                            endpoint.method,
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
async fn an_odd_value_in_any_path_or_query_gets_a_matching_status() {
    drive(reading(), false).await;
}

#[tokio::test]
async fn an_odd_value_in_any_form_gets_a_matching_status() {
    drive(writing(), false).await;
}

#[tokio::test]
async fn an_odd_value_in_a_log_in_or_sign_up_gets_a_matching_status() {
    drive(entering(), true).await;
}
