//! The API as programs meet it: every row of what it promises, with the statuses and shapes as they
//! are written down.

mod account;
mod idempotency;
mod lists;
mod openapi;
mod parity;
mod people;
mod posts;
mod rate_limits;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Caller, PASSWORD, TestSite};

const BETTER: &str = "marble otter 7 lantern";

const POST: [&str; 10] = [
    "author",
    "body",
    "body_html",
    "created_at",
    "edited_at",
    "id",
    "score",
    "title",
    "url",
    "voted",
];

/// The names of a document's members.
#[track_caller]
fn members(document: &Value) -> BTreeSet<&str> {
    document
        .as_object()
        .unwrap_or_else(|| panic!("{document}"))
        .keys()
        .map(String::as_str)
        .collect()
}

fn is_moment(value: &Value) -> bool {
    let format = time::format_description::well_known::Rfc3339;
    value.as_str().is_some_and(|text| time::OffsetDateTime::parse(text, &format).is_ok())
}

fn account(name: &str) -> Value {
    json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD })
}

async fn publish(by: &Caller, post: &Value) -> Value {
    let reply = by.post("/posts", post).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.json()
}

async fn fits(site: &TestSite, name: &str, password: &str) -> bool {
    let reply = site.caller().log_in(name, password).await;
    assert!([200, 401].contains(&reply.status.as_u16()), "{}", reply.body);
    reply.status == 200
}
