//! The OpenAPI document.

use std::collections::BTreeSet;

use serde_json::Value;
use social_post::openapi;

use crate::{
    api::parity::of_programs_alone,
    program::social_post,
    support::{API, TestSite, routes},
};

/// The schema that a reference leads to, or itself.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(place) => document.pointer(&place[1..]).unwrap_or_else(|| panic!("{place}")),
        None => schema,
    }
}

/// Whether a reader finds an example of it, whole or of each member that must be there.
fn has_example(document: &Value, schema: &Value) -> bool {
    let schema = resolved(document, schema);
    if ["example", "examples", "enum", "const"].iter().any(|name| !schema[name].is_null()) {
        return true;
    }
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    let Some(members) = schema["properties"].as_object() else { return false };
    let is_shown = |member: &Value| member["type"] == "boolean" || has_example(document, member);
    if required.is_empty() {
        return members.values().any(is_shown);
    }
    required.iter().all(|name| is_shown(&members[name.as_str().unwrap()]))
}

#[tokio::test]
async fn the_openapi_document_describes_every_route_and_no_other() {
    let site = TestSite::new().await;
    let reply = site.caller().get("/openapi.json").await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/json"));
    let document = reply.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(reply.body.trim_end(), openapi::json().unwrap().trim_end());
    let printed = social_post(&["openapi"], &[]);
    assert_eq!(printed.status.code(), Some(0));
    assert_eq!(serde_json::from_slice::<Value>(&printed.stdout).unwrap(), document);

    let mut known = routes::Routes::new();
    let (mut ids, mut faults) = (BTreeSet::new(), Vec::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        let short = path.strip_prefix(API).unwrap_or_else(|| panic!("{path}"));
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            known.insert((short.to_owned(), method.to_uppercase()));
            let id = operation["operationId"].as_str().unwrap_or_default();
            if id.is_empty() || !ids.insert(id.to_owned()) {
                faults.push(format!("{what}: operationId {id:?}"));
            }
            if operation["summary"].as_str().unwrap_or_default().is_empty() {
                faults.push(format!("{what}: no summary"));
            }
            let answers = operation["responses"].as_object().unwrap();
            for family in ['2', '4'] {
                if !answers.keys().any(|status| status.starts_with(family)) {
                    faults.push(format!("{what}: no {family}xx"));
                }
            }
            for (status, answer) in answers {
                if answer["description"].as_str().unwrap_or_default().is_empty() {
                    faults.push(format!("{what}: {status} without a word"));
                }
                let kinds = answer["content"].as_object();
                let kinds: Vec<_> = kinds.into_iter().flatten().map(|(kind, _)| kind).collect();
                let fits = match status.as_str() {
                    "202" | "204" => kinds.is_empty(),
                    status if status.starts_with('2') => kinds == ["application/json"],
                    _ => kinds == ["application/problem+json"],
                };
                if !fits {
                    faults.push(format!("{what}: {status} is {kinds:?}"));
                }
            }
            let contents = operation["requestBody"]["content"].as_object();
            for (kind, content) in contents.into_iter().flatten() {
                let is_shown =
                    !content["example"].is_null() || has_example(&document, &content["schema"]);
                if !is_shown {
                    faults.push(format!("{what}: no example of its {kind}"));
                }
            }
            let named: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let in_path: BTreeSet<_> = parameters
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            if named != in_path {
                faults.push(format!("{what}: parameters {in_path:?}"));
            }
        }
    }
    assert_eq!(faults, [""; 0]);
    let mut routes = routes::api();
    let alone = of_programs_alone();
    routes.retain(|(path, method)| !alone.contains(&format!("{method} {API}{path}")));
    assert_eq!(known, routes, "left: the description, right: src/routes/mod.rs");

    // And the page for people has all of it, of this host alone.
    let docs = site.caller().get("/docs").await;
    assert_eq!(docs.status, 200);
    for (path, _) in known {
        docs.has(&format!("{API}{path}"));
    }
    docs.lacks("<script src=\"http").lacks("Logged in as");
}
