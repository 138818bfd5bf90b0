//! Reading writes nothing.

use std::collections::BTreeSet;

use axum::http::{Method, header};

use crate::hostile::{AttackedSite, endpoints::endpoints};

/// Every row of every table.
async fn everything(at: &AttackedSite) -> Vec<(String, String)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', table_schema, table_name) from information_schema.tables \
         where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&at.site.db)
    .await
    .unwrap();
    assert!(tables.len() > 8, "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!(
            "select coalesce(string_agg(t::text, E'\\n' order by t::text), '') from {table} t"
        );
        rows.push((table, sqlx::query_scalar(&sql).fetch_one(&at.site.db).await.unwrap()));
    }
    rows
}

/// Where the page leads to on this site.
fn ways(page: &str) -> Vec<String> {
    let links = page.split("href=\"/").skip(1).map(|rest| rest.split_once('"').unwrap().0);
    links
        .map(|link| format!("/{}", link.split('#').next().unwrap().replace("&#38;", "&")))
        .collect()
}

#[tokio::test]
async fn no_get_request_writes_to_the_database() {
    let mut at = AttackedSite::new().await;
    for n in 0..40 {
        at.site.post_by("ada", &format!("Title {n}")).await;
    }
    at.last = at.state().await;
    let before = everything(&at).await;

    let mut to_see: Vec<String> = vec!["/".into(), "/search?q=title".into()];
    for endpoint in endpoints() {
        // What a form would send, in the address of a link.
        let (address, body) = endpoint.with(at.post, None);
        let asks = if address.contains('?') { '&' } else { '?' };
        to_see.push(format!("{address}{asks}{}", String::from_utf8(body).unwrap()));
        to_see.push(address);
    }
    let mut seen = BTreeSet::new();
    while let Some(path) = to_see.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let by = at.ada();
            let request = by.request(method.clone(), &path).header("sec-fetch-site", "cross-site");
            let reply = at.send(&by, request, "").await;
            if method == Method::GET {
                assert_ne!(reply.status, 403, "a link from elsewhere to {path}");
                to_see.extend(ways(&reply.body));
            }
            assert!(by.cookie("sid").is_some(), "{method} {path} logs out");
        }
        for cookies in [
            "",
            "sid=AAAAAAAAAAAAAAAAAAAAAA",
            "sid=rubbish; flash=rubbish",
            "sid=a; sid=b",
            "id=AAAAAAAAAAAAAAAAAAAAAA; __Host-sid=AAAAAAAAAAAAAAAAAAAAAA; tower.sid=x",
        ] {
            let stranger = at.site.visitor();
            let request = stranger.request(Method::GET, &path).header(header::COOKIE, cookies);
            let reply = at.send(&stranger, request, "").await;
            assert_eq!(reply.cookies(), [""; 0], "{path} with {cookies:?}");
        }
    }
    assert!(seen.len() > 100, "only {} pages are linked", seen.len());
    assert_eq!(everything(&at).await, before);
    at.tell();
}
