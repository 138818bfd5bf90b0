//! Cookies, read strictly and written with every attribute they need.

use axum::http::{HeaderMap, header};

use crate::config::Site;

/// The value of the one cookie with exactly this name.
pub fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let pair = pair.strip_prefix(b" ").unwrap_or(pair);
            let (found, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
            (found == name.as_bytes()).then_some(&value[1..])
        });
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// A `Set-Cookie` with every attribute it needs; `max_age` in seconds, 0 to clear it.
pub fn build(site: &Site, name: &str, value: &str, max_age: i64) -> String {
    let secure = if site.base_url.is_secure() { "; Secure" } else { "" };
    let name = site.cookie_name(name);
    format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}")
}

/// Whether a page may differ for this client: with a session, with a flash message to be shown, or just
/// after a write (`middleware::replica`).
pub fn may_be_personal(headers: &HeaderMap) -> bool {
    headers.get_all(header::COOKIE).iter().any(|cookies| {
        // Any prefix and any spelling of the name: the exact name is checked further in.
        let holds = |name: &[u8]| cookies.as_bytes().windows(name.len()).any(|part| part == name);
        holds(b"sid") || holds(b"flash") || holds(b"wrote")
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[Vec<u8>]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
            headers.append(header::COOKIE, line);
        }
        headers
    }

    /// As a browser sends them, with what a stranger may have planted among them.
    fn pairs() -> impl Strategy<Value = Vec<String>> {
        let name = prop::sample::select(vec![
            "sid",
            "%73id",
            "Sid",
            "sid ",
            "  sid",
            "\tsid",
            "\u{a0}sid",
            "\u{2003}sid",
            "si",
            "sidd",
            "",
            "=sid",
            "__Host-sid",
            "a",
        ]);
        let pair = (name, "[ -~&&[^;]]{0,8}").prop_map(|(name, value)| format!("{name}={value}"));
        prop::collection::vec(pair, 0..6)
    }

    proptest! {
        #[test]
        fn a_cookie_is_the_one_with_exactly_its_name_or_none(pairs in pairs(), at in 0..7usize) {
            let own: Vec<_> = pairs.iter().filter_map(|pair| pair.strip_prefix("sid=")).collect();
            let expected = if let [only] = own[..] { Some(only) } else { None };
            // On one line or on two, it is the same.
            let (first, second) = pairs.split_at(at.min(pairs.len()));
            let lines = [first, second].map(|pairs| pairs.join("; ").into_bytes());
            for headers in [headers(&lines), headers(&[pairs.join(";").into_bytes()])] {
                prop_assert_eq!(read(&headers, "sid"), expected);
            }
        }

        #[test]
        fn no_bytes_break_the_reader(lines: Vec<Vec<u8>>) {
            let headers = headers(&lines);
            if let Some(value) = read(&headers, "sid") {
                prop_assert!(!value.contains(';'));
            }
        }
    }
}
