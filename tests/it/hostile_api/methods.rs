//! Odd methods and paths.

use std::collections::BTreeSet;

use axum::http::Method;

use crate::{
    hostile::AttackedSite,
    hostile_api::{
        endpoints::{self, endpoints},
        send,
    },
    support::routes,
};

#[tokio::test]
async fn an_unsupported_method_of_the_api_is_a_405_with_allow() {
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
        let address = endpoints::address(&path, at.post);
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
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.is_get()) {
        asked.push(endpoint.address(at.post));
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
