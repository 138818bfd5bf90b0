//! Odd fields, types, methods and paths, and what is hardly HTTP.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode, header, request::Builder};

use crate::{
    hostile::{
        AttackedSite, CANARY, begin,
        endpoints::{entering, reading, writing},
        good, of,
    },
    support::{
        PASSWORD, Visitor, oracle, routes,
        wire::{exchange, listen},
    },
};

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
async fn a_duplicate_or_unknown_field_is_refused() {
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
    for endpoint in [writing(), entering()].concat() {
        let (by, address, body) = good(&at, &endpoint);
        let mut odd: Vec<(Vec<u8>, u16)> = Vec::new();
        for field in endpoint.form {
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
    for endpoint in reading() {
        let (by, address, _) = good(&at, &endpoint);
        let asks = if endpoint.query.is_empty() { '?' } else { '&' };
        let takes_query = !endpoint.query.is_empty();
        for field in endpoint.query {
            let address = format!("{address}{asks}{}=x", field.name());
            let reply = at.send(&by, begin(&by, &endpoint, &address, false), "").await;
            assert_eq!(reply.status, 400, "{address}");
        }
        let odd = [("utm_source=x&is_admin=1", None), ("%FF=1", Some(400)), ("%00=1", Some(422))];
        let plain = at.send(&by, begin(&by, &endpoint, &address, false), "").await.status;
        for (extra, status) in odd {
            let address = format!("{address}{asks}{extra}");
            let reply = at.send(&by, begin(&by, &endpoint, &address, false), "").await;
            let status = status.filter(|_| takes_query).unwrap_or(plain.as_u16());
            assert_eq!(reply.status, status, "{address}");
        }
    }
    at.tell();
}

#[tokio::test]
async fn only_a_urlencoded_form_within_the_body_limit_is_accepted() {
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
    for endpoint in [writing(), entering()].concat() {
        let (by, address, body) = good(&at, &endpoint);
        for kind in wrong {
            let reply = at.send(&by, typed(&by, &address, kind), body.clone()).await;
            assert_eq!(reply.status, 415, "{address} {kind:?}");
        }
        for coding in ["gzip", "br", "deflate"] {
            let request = by.form(&address).header(header::CONTENT_ENCODING, coding);
            let reply = at.send(&by, request, body.clone()).await;
            assert_eq!(reply.status, 415, "{address} {coding}");
        }

        let limit = endpoint.body_limit;
        let padded = |length: usize| {
            let mut padded = [body.as_slice(), b"&pad="].concat();
            padded.resize(length, b'x');
            padded
        };
        let reply = at.send(&by, by.form(&address), padded(limit)).await;
        assert_eq!(reply.status, 422, "{address}: the limit itself is no problem, the field is");
        for is_part in [false, true] {
            let request = begin(&by, &endpoint, &address, is_part);
            let reply = at.send(&by, request, padded(limit + 1)).await;
            assert_eq!(reply.status, 413, "{address}");
        }
    }
    at.tell();
}

#[tokio::test]
async fn an_unsupported_method_is_a_405_with_allow() {
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

#[tokio::test]
async fn no_path_serves_a_file_outside_the_static_files() {
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
async fn malformed_http_is_refused_or_harmless() {
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
