//! What passes through, and what the site learns of the client.

use std::sync::Arc;

use axum::http::{Method, StatusCode, request::Builder};
use http_body_util::BodyExt as _;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::mpsc, time::timeout};

use crate::{
    proxy::{Chain, PATIENCE, as_http2, check, form, nginx::Nginx, request, upstream::Upstream},
    support::{PASSWORD, Reply, encode},
};

#[tokio::test]
async fn pages_forms_and_votes_pass_in_both_versions_of_http() {
    let chain = Chain::new().await;
    let nginx = &chain.nginx;
    for (name, is_http2) in [("ada", true), ("bob", false)] {
        let send = async |request: Builder, body: String| {
            let asked = format!("{:?} {:?}", request.method_ref(), request.uri_ref());
            let reply = if is_http2 {
                nginx.send(request, body).await
            } else {
                nginx.send_over_http1(request, body).await
            };
            check(&reply, &asked, true);
            reply
        };
        send(request(Method::GET, "/"), String::new()).await.has("Sign up");
        let email = format!("{name}@example.org");
        let fields = [("username", name), ("email", &email), ("password", PASSWORD)];
        let reply = send(form("/signup", ""), encode(&fields)).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let cookie = reply.cookies().into_iter().find(|cookie| cookie.contains("sid=")).unwrap();
        assert!(cookie.starts_with("__Host-sid=") && cookie.contains("; Secure"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap();

        let title = format!("A post by {name}");
        let fields = [("title", title.as_str()), ("url", ""), ("body", "Text")];
        let reply = send(form("/posts", cookie), encode(&fields)).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let post = reply.location().to_owned();
        let reply = send(form(&format!("{post}/vote"), cookie), "value=1".into()).await;
        assert_eq!(reply.status, 303, "{}", reply.body);
        let reply = send(request(Method::GET, &post).header("cookie", cookie), String::new()).await;
        reply.has(&title).has("aria-pressed=\"true\"").has(&format!("<b>{name}</b>"));
        let api = send(request(Method::GET, "/api/v1/posts"), String::new()).await;
        assert_eq!(
            (api.status, api.json()["posts"][0]["score"].as_i64()),
            (StatusCode::OK, Some(1))
        );

        let page = nginx.get("/").await;
        let (_, rest) = page.body.split_once("rel=\"stylesheet\" href=\"").unwrap();
        let css = rest.split_once('"').unwrap().0;
        for coding in ["br", "gzip", "br"] {
            let asked = request(Method::GET, css).header("accept-encoding", coding);
            let reply = send(asked, String::new()).await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("content-encoding"), coding);
            assert_eq!(reply.header("cache-control"), "public, max-age=31536000, immutable");
        }
    }
    assert_eq!(chain.site.wrong_scores().await, []);
}

#[tokio::test]
async fn forwarding_headers_of_a_client_are_replaced_by_the_proxy() {
    let upstream = Upstream::content().await;
    let nginx = Nginx::before([upstream.address; 2]).await;
    let forged = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.7"),
        ("forwarded", "for=6.6.6.6;proto=http"),
        ("x-real-ip", "6.6.6.6"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-port", "666"),
        ("proxy", "6.6.6.6:1"),
        ("x-request-id", "six six six: 6.6.6.6"),
    ];
    for is_http2 in [true, false] {
        let mut asked = request(Method::GET, "/new?q=canary-6.6.6.6").header("cookie", "a=canary");
        for (name, value) in forged {
            asked = asked.header(name, value);
        }
        asked = asked.header("x_forwarded_for", "6.6.6.6");
        let reply = if is_http2 {
            nginx.send(asked, "").await
        } else {
            nginx.send_over_http1(asked, "").await
        };
        assert_eq!(reply.body, "yes");
        check(&reply, "/new", true);
        let head = upstream.heads.lock().unwrap().pop().unwrap().to_lowercase();
        let (line, rest) = head.split_once("\r\n").unwrap();
        assert_eq!(line, "get /new?q=canary-6.6.6.6 http/1.1");
        // nginx's own name for the request may hold any digits.
        let rest: String =
            rest.lines().filter(|line| !line.starts_with("x-request-id: ")).collect();
        for bad in ["6.6.6", "evil", "666", "forwarded: for", "x-real-ip", "x-forwarded-host"] {
            assert!(!rest.contains(bad), "{bad} passed: {head}");
        }
        let id = reply.header("x-request-id");
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        for line in [
            "\r\nhost: social.test\r\n",
            "\r\nx-forwarded-for: 127.0.0.1\r\n",
            "\r\nx-forwarded-proto: https\r\n",
            &format!("\r\nx-request-id: {id}\r\n"),
        ] {
            assert_eq!(head.matches(line).count(), 1, "{line:?} in {head}");
        }
    }
    // A good name for a request is kept.
    let asked = request(Method::GET, "/").header("x-request-id", "0193c2f0-traced-by-us");
    assert_eq!(nginx.send(asked, "").await.header("x-request-id"), "0193c2f0-traced-by-us");
    let head = upstream.heads.lock().unwrap().pop().unwrap();
    assert!(head.contains("0193c2f0-traced-by-us"), "{head}");

    nginx.get("/password/reset/canary-secret").await;
    let noted = nginx.log_with("\"path\":\"/password/reset/...\"").await;
    assert!(noted.contains("0193c2f0-traced-by-us"), "{noted}");
    assert!(!noted.contains("canary"), "{noted}");
    for line in noted.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[tokio::test]
async fn password_guessing_through_the_proxy_is_rate_limited_despite_forged_addresses() {
    let chain = Chain::with(&[("RATE_LIMITS", "on")]).await;
    // Each process counts for itself: thirty in a quarter of an hour.
    for n in 0..80 {
        let login = format!("nobody{n}");
        let asked = form("/login", "")
            .header("x-forwarded-for", format!("198.51.100.{n}"))
            .header("x-real-ip", format!("198.51.100.{n}"))
            .header("forwarded", format!("for=198.51.100.{n}"));
        let fields = [("login", login.as_str()), ("password", "wrong horse battery")];
        let reply = chain.nginx.send(asked, encode(&fields)).await;
        check(&reply, "/login", true);
        if reply.status == 429 {
            assert!((30..=60).contains(&n), "after {n} tries");
            return reply.lacks("Too many requests.").assert_has_retry_after();
        }
        assert!(matches!(reply.status.as_u16(), 401 | 503), "{}", reply.status);
    }
    panic!("eighty tries from one address");
}

impl Reply {
    #[track_caller]
    pub fn assert_has_retry_after(&self) {
        assert!(self.header("retry-after").parse::<u32>().unwrap() > 0);
    }
}

#[tokio::test]
async fn the_proxy_passes_an_event_stream_on_line_by_line() {
    let (send, receive) = mpsc::channel::<String>(1);
    let receive = Arc::new(tokio::sync::Mutex::new(receive));
    let upstream = Upstream::answering(move |_, mut stream: TcpStream| {
        let receive = receive.clone();
        async move {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while let Some(line) = receive.lock().await.recv().await {
                let chunk = format!("{:x}\r\n{line}\r\n", line.len());
                stream.write_all(chunk.as_bytes()).await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let nginx = Nginx::before([upstream.address; 2]).await;
    let asked = request(Method::GET, "/live").header("accept-encoding", "gzip, br");
    let asked = as_http2(asked, "");
    // Over HTTP/2 nginx keeps the headers until there is something to follow, so a stream begins with
    // a line.
    let line = |n: usize| format!("data: {n}\n\n");
    send.send(line(0)).await.unwrap();
    let mut sender = nginx.http2().await;
    let answer = timeout(PATIENCE, sender.send_request(asked)).await.expect("no answer begins");
    let mut answer = answer.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    for n in 0..5 {
        let frame =
            timeout(PATIENCE, answer.body_mut().frame()).await.expect("a line is kept back");
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), line(n).as_bytes());
        // The next is sent only now that this one is there.
        send.send(line(n + 1)).await.unwrap();
    }
    let _last = timeout(PATIENCE, answer.body_mut().frame()).await.expect("a line is kept back");
    drop(send);
    let end = timeout(PATIENCE, answer.body_mut().frame()).await.expect("no end");
    assert!(end.is_none_or(|frame| frame.is_ok()));
}
