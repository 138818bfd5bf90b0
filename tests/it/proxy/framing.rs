//! Requests that two servers could read differently.

use axum::http::Method;

use crate::proxy::{Chain, as_http2, request, whole};

/// Each with another request hidden in it, which must never run.
fn framing() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let hidden = "GET /users/smuggled HTTP/1.1\r\nHost: social.test\r\n\r\n";
    let sized = |head: &str, body: &str| {
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let post = "POST /login HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n";
    let get = "GET / HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n";
    let chunked = format!("0\r\n\r\n{hidden}");
    let refused: &[u16] = &[400, 421];
    let mut table = vec![
        ("a length and chunks", sized(&format!("{post}Transfer-Encoding: chunked\r\n"), &chunked)),
        ("two lengths", format!("{post}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        ("a length twice", format!("{post}Content-Length: 0\r\nContent-Length: 0\r\n\r\n{hidden}").into_bytes()),
        ("lengths in a list", format!("{post}Content-Length: 0, {}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        ("a length with a sign", format!("{post}Content-Length: +{}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        ("a length below zero", format!("{post}Content-Length: -1\r\n\r\n{hidden}").into_bytes()),
        ("no known coding", format!("{post}Transfer-Encoding: xchunked\r\n\r\n{chunked}").into_bytes()),
        ("a coding twice", format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{chunked}").into_bytes()),
        ("codings in a list", format!("{post}Transfer-Encoding: identity, chunked\r\n\r\n{chunked}").into_bytes()),
        ("chunks in HTTP/1.0", format!("POST /login HTTP/1.0\r\nHost: social.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}").into_bytes()),
        ("a bad size of a chunk", format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{hidden}").into_bytes()),
        ("a size without end", format!("{post}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{hidden}").into_bytes()),
        ("two hosts", format!("{get}Host: evil.test\r\n\r\n").into_bytes()),
        ("the same host twice", format!("{get}Host: social.test\r\n\r\n").into_bytes()),
        ("no host", b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec()),
        ("a list of hosts", b"GET / HTTP/1.1\r\nHost: social.test, evil.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("an address of another host", b"GET http://evil.test/ HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("an address of ours for another host", b"GET http://social.test/ HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("no version", b"GET /users/smuggled\r\n\r\n".to_vec()),
        ("another version", b"GET / HTTP/3.1\r\nHost: social.test\r\n\r\n".to_vec()),
        ("a space before the colon", format!("{post}Content-Length : {}\r\n\r\n{hidden}", hidden.len()).into_bytes()),
        ("NUL in a header", format!("{get}X-A: a\0b\r\n\r\n").into_bytes()),
        ("a bare CR in a header", format!("{get}X-A: a\rGET /users/smuggled HTTP/1.1\r\n\r\n").into_bytes()),
        ("NUL in the address", b"GET /a%00b HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("a space in the address", b"GET /a b HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("up out of the root", b"GET /../../etc/passwd HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
        ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("a method in small letters", b"get / HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n".to_vec()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name, bytes, refused))
    .collect::<Vec<_>>();
    table.extend([
        (
            "a tunnel",
            b"CONNECT evil.test:443 HTTP/1.1\r\nHost: social.test\r\nConnection: close\r\n\r\n"
                .to_vec(),
            &[400, 405][..],
        ),
        (
            "a method that is none",
            format!("FOO{}", &get[3..]).into_bytes().into_iter().chain(*b"\r\n").collect(),
            &[403, 405],
        ),
        // Understood in one way only, so they are passed on, or read past, in that way.
        (
            "a folded header",
            format!("{get}X-A: a\r\n Host: evil.test\r\n\r\n").into_bytes(),
            &[200, 400],
        ),
        (
            "bare LF",
            b"GET / HTTP/1.1\nHost: social.test\nConnection: close\n\n".to_vec(),
            &[200, 400],
        ),
        ("another protocol", format!("{get}Upgrade: h2c\r\n\r\n").into_bytes(), &[200, 400]),
        ("a form with a GET", sized(get, hidden), &[200, 400]),
        (
            "an underscore for a dash",
            format!("{post}Content_Length: {}\r\n\r\n{hidden}", hidden.len()).into_bytes(),
            &[400, 403, 415],
        ),
    ]);
    table
}

#[tokio::test]
async fn odd_framing_is_refused_and_no_response_reaches_another_client() {
    let chain = Chain::new().await;
    let ada = chain.site.member("ada").await.cookie_header();
    let bob = chain.site.member("bob").await.cookie_header();
    // A connection that bob keeps while others try theirs.
    let kept = chain.nginx.http2().await;
    for (name, bytes, expected) in framing() {
        // Ada's name goes with it, and would show in an answer that is not hers.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let bytes = match text.split_once("\r\n") {
            Some((line, rest)) if line.contains("HTTP/1.") => {
                format!("{line}\r\nCookie: {ada}\r\n{rest}").into_bytes()
            }
            _ => bytes,
        };
        let answer = chain.nginx.exchange(&bytes).await;
        if !answer.is_empty() {
            let statuses: Vec<u16> = answer
                .match_indices("HTTP/1.1 ")
                .map(|(at, _)| answer[at + 9..at + 12].parse().unwrap())
                .collect();
            assert!(
                statuses.len() == 1 && expected.contains(&statuses[0]),
                "{name}: {statuses:?}, not {expected:?}: {answer}"
            );
            assert!(!answer.contains("smuggled"), "{name}: {answer}");
        }
        for _ in 0..2 {
            let asked = request(Method::GET, "/").header("cookie", &bob);
            let asked = as_http2(asked, "");
            let reply = whole(kept.clone().send_request(asked).await.unwrap()).await;
            assert_eq!(reply.status, 200, "{name}");
            reply.has("Logged in as <b>bob</b>").lacks("<b>ada</b>");
        }
    }
    for process in &chain.processes {
        let log = process.log.lock().unwrap();
        assert!(!log.contains("/users/{username}"), "a hidden request ran: {log}");
    }
}
