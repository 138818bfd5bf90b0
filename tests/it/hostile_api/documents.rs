//! Odd request bodies.

use axum::http::{Method, header};
use serde_json::json;

use crate::{
    hostile::AttackedSite,
    hostile_api::{
        begin,
        endpoints::{Kind, good, lasting},
        send, who,
    },
};

#[tokio::test]
async fn only_one_complete_json_document_without_duplicate_or_unknown_members_is_accepted() {
    let mut at = AttackedSite::new().await;
    let strange = [
        "id",
        "score",
        "author",
        "author_id",
        "user_id",
        "created_at",
        "edited_at",
        "voted",
        "is_admin",
        "role",
        "body_html",
        "auth_epoch",
        "suspended_at",
        "__proto__",
        "constructor",
        "Title",
        "TITLE",
        " title",
        "title ",
        "",
    ];
    // The reader stops early in each of these.
    let mut deep = Vec::new();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        deep.extend([open.repeat(1_500), open.repeat(200_000)]);
        deep.extend([20, 120, 1_500].map(|n| format!("{}1{}", open.repeat(n), close.repeat(n))));
    }
    for endpoint in lasting().into_iter().filter(|endpoint| endpoint.kind == Kind::Document) {
        let by = who(&at, &endpoint).await;
        let address = endpoint.address(at.post);
        let whole = String::from_utf8(endpoint.body()).unwrap();
        let inner = &whole[1..whole.len() - 1];
        let mut odd: Vec<(Vec<u8>, u16)> = Vec::new();
        for name in strange {
            for value in ["1", "true", "\"x\"", "null"] {
                odd.push((format!("{{{inner},\"{name}\":{value}}}").into(), 422));
            }
        }
        for name in endpoint.members {
            let value = good(name);
            odd.push((format!("{{{inner},\"{name}\":{value}}}").into(), 422));
            let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
            odd.push((format!("{{{inner},\"{escaped}\":{value}}}").into(), 422));
        }
        for (text, status) in [
            ("", 400),
            (" ", 400),
            ("\n", 400),
            ("null", 422),
            ("true", 422),
            ("1", 422),
            ("\"x\"", 422),
            ("[]", 422),
            ("[{}]", 422),
            ("{", 400),
            ("}", 400),
            ("{,}", 400),
            ("{title:\"x\"}", 400),
            ("title=x&body=y", 400),
            ("<post><title>x</title></post>", 400),
            ("\u{FEFF}{}", 400),
        ] {
            odd.push((text.into(), status));
        }
        odd.push((format!("{whole}{whole}").into(), 400));
        odd.push((format!("{whole}x").into(), 400));
        odd.push((format!("{whole}//").into(), 400));
        odd.push((format!("{whole}}}").into(), 400));
        odd.push((format!("{whole} {{}}").into(), 400));
        odd.push((format!("{whole}\0").into(), 400));
        odd.push((format!("\u{FEFF}{whole}").into(), 400));
        odd.push((whole.replace('}', ",}").into(), 400));
        odd.push((whole.encode_utf16().flat_map(u16::to_le_bytes).collect(), 400));
        let list: Vec<_> = endpoint.members.iter().map(|name| good(name)).collect();
        odd.push((json!(list).to_string().into(), 422));
        odd.push((json!([list]).to_string().into(), 422));
        for text in &deep {
            for body in [text.clone(), format!("{{\"{}\":{text}", endpoint.members[0])] {
                let is_long = body.len() > endpoint.limit;
                let reply = send(&mut at, &by, begin(&by, &endpoint, &address), body).await;
                let status = reply.status.as_u16();
                let allowed: &[u16] = if is_long { &[413] } else { &[400, 422] };
                assert!(allowed.contains(&status), "{address} {text:.20}: {status}");
            }
        }
        for (body, status) in odd {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            let reply = send(&mut at, &by, begin(&by, &endpoint, &address), body).await;
            let fits = reply.status == status;
            assert!(fits, "{address} {text}: {} and not {status}", reply.status);
        }
        // White space does not count.
        let spaced = format!(" \r\n\t{whole}\n ");
        let spaced = send(&mut at, &by, begin(&by, &endpoint, &address), spaced).await;
        let plain = send(&mut at, &by, begin(&by, &endpoint, &address), endpoint.body()).await;
        let (spaced, plain) = (spaced.status.as_u16(), plain.status.as_u16());
        assert!(spaced == plain || plain == 409, "{address}: {spaced} and {plain}");
    }
    at.tell();
}

#[tokio::test]
async fn only_a_body_of_the_right_type_within_the_limit_is_read() {
    let mut at = AttackedSite::new().await;
    let mut endpoints = lasting();
    endpoints.retain(|endpoint| endpoint.kind != Kind::Nothing);
    for endpoint in endpoints {
        let by = who(&at, &endpoint).await;
        let address = endpoint.address(at.post);
        let body = endpoint.body();
        let (right, other) = match endpoint.kind {
            Kind::Form => ("application/x-www-form-urlencoded", "application/json"),
            _ => ("application/json", "application/x-www-form-urlencoded"),
        };
        for kind in [
            None,
            Some(String::new()),
            Some("text/plain".into()),
            Some("text/json".into()),
            Some("application/json5".into()),
            Some("application/problem+json".into()),
            Some("application/vnd.api+json".into()),
            Some("multipart/form-data; boundary=x".into()),
            Some(other.to_owned()),
            Some(format!("{right}; charset=latin1")),
            Some(format!("{right};charset=\"utf-16\"")),
            Some(format!("{right}, text/plain")),
            Some(format!("text/plain; {right}")),
        ] {
            let request = by.request(endpoint.method.clone(), &address);
            let request = match &kind {
                Some(kind) => request.header(header::CONTENT_TYPE, kind),
                None => request,
            };
            let reply = send(&mut at, &by, request, body.clone()).await;
            assert_eq!(reply.status, 415, "{address} {kind:?}");
        }
        for coding in ["gzip", "br", "deflate", "identity"] {
            let request = begin(&by, &endpoint, &address).header(header::CONTENT_ENCODING, coding);
            let reply = send(&mut at, &by, request, body.clone()).await;
            assert_eq!(reply.status, 415, "{address} {coding}");
        }
        for kind in [format!("{right}; charset=UTF-8"), right.to_uppercase()] {
            let request = by.request(endpoint.method.clone(), &address);
            let request = request.header(header::CONTENT_TYPE, &kind);
            let reply = send(&mut at, &by, request, body.clone()).await;
            assert!(![400, 415].contains(&reply.status.as_u16()), "{address} {kind}");
        }

        let padded = |length: usize| {
            let is_form = endpoint.kind == Kind::Form;
            let mut padded = body.clone();
            padded.extend_from_slice(if is_form { b"&pad=" } else { b"" });
            padded.resize(length, if is_form { b'x' } else { b' ' });
            padded
        };
        let reply =
            send(&mut at, &by, begin(&by, &endpoint, &address), padded(endpoint.limit)).await;
        assert_ne!(reply.status, 413, "{address}: the limit itself is no problem");
        let reply =
            send(&mut at, &by, begin(&by, &endpoint, &address), padded(endpoint.limit + 1)).await;
        assert_eq!(reply.status, 413, "{address}");
    }
    at.tell();
}

/// The longest text there is fits, however a program writes its letters.
#[tokio::test]
async fn the_longest_post_fits_the_body_limit_even_with_every_letter_escaped() {
    let mut at = AttackedSite::new().await;
    let ada = at.site.caller_of("ada").await;
    let text = "\u{1D11E}".repeat(40_000);
    let escaped = "\\ud834\\udd1e".repeat(40_000);
    for body in [&text, &escaped] {
        let document = format!("{{\"title\":\"A title\",\"body\":\"{body}\"}}");
        let request = ada.document(Method::POST, "/posts");
        let reply = send(&mut at, &ada, request, document).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        assert_eq!(reply.member("body"), json!(text));
    }
}
