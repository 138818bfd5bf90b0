//! What each route of the API takes.

use axum::http::Method;
use serde_json::{Value, json};
use social_post::routes::{API, Access, Face, ROUTES, Route};

use crate::support::{PASSWORD, encode};

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nothing,
    Document,
    Form,
}

#[derive(Debug, Clone)]
pub struct Endpoint {
    pub method: Method,
    /// As `routes.rs` spells it.
    pub route: &'static str,
    pub query: &'static [&'static str],
    pub kind: Kind,
    pub members: &'static [&'static str],
    pub who: Access,
    /// The body's, in bytes.
    pub limit: usize,
    /// A log-in, which ignores any token in the request.
    pub takes_no_token: bool,
}

impl Endpoint {
    /// The endpoint of a row of the manifest.
    fn from_route(route: &'static Route) -> Endpoint {
        let kind = match route.path {
            "/api/v1/login" => Kind::Form,
            _ if route.fields.is_empty() => Kind::Nothing,
            _ => Kind::Document,
        };
        Endpoint {
            method: route.method.clone(),
            route: route.path.strip_prefix(API).unwrap(),
            query: route.query,
            kind,
            members: if kind == Kind::Form { &[] } else { route.fields },
            who: route.access,
            limit: route.body_limit,
            takes_no_token: route.face == Face::ApiLogIn,
        }
    }

    pub fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    pub fn address(&self, post: i64) -> String {
        address(self.route, post)
    }

    /// What fails although it looks valid.
    pub fn leads_nowhere(&self) -> bool {
        self.members.contains(&"token")
            || self.route == "/password/forgot"
            || self.route == "/users/me/sessions/{id}"
    }

    /// A document in which all is valid but `odd`, given as it is sent.
    pub fn document(&self, odd: Option<(&str, &[u8])>) -> Vec<u8> {
        let members: Vec<_> = self
            .members
            .iter()
            .map(|name| {
                let value = match odd {
                    Some((odd, value)) if odd == *name => value.to_vec(),
                    _ => good(name).to_string().into_bytes(),
                };
                [format!("\"{name}\":").as_bytes(), &value].concat()
            })
            .collect();
        [b"{", &members.join(&b',')[..], b"}"].concat()
    }

    pub fn body(&self) -> Vec<u8> {
        match self.kind {
            Kind::Nothing => Vec::new(),
            Kind::Document => self.document(None),
            Kind::Form => encode(&[("username", "ada"), ("password", "x")]).into_bytes(),
        }
    }
}

/// The pattern of a route, with values for its parameters.
pub fn address(route: &str, post: i64) -> String {
    route
        .replace("{username}", "ada")
        .replace("sessions/{id}", "sessions/00000000-0000-0000-0000-000000000000")
        .replace("{id}", &post.to_string())
}

/// A value that holds, or that is never right where it must not do anything.
pub fn good(member: &str) -> Value {
    match member {
        "username" => json!(format!("n{}", &uuid::Uuid::new_v4().simple().to_string()[..12])),
        "email" => json!(format!("{}@example.org", uuid::Uuid::new_v4().simple())),
        "password" | "new_password" => json!(PASSWORD),
        "current_password" => json!("not the password"),
        "token" => json!("AAAAAAAAAAAAAAAAAAAAAA"),
        "title" => json!("A fine title"),
        "url" => json!("https://example.test/a"),
        "body" => json!("Some *text*"),
        other => panic!("add a good value for {other:?} to tests/it/hostile_api/endpoints.rs"),
    }
}

/// Every route of the API, as the manifest has it.
pub fn endpoints() -> Vec<Endpoint> {
    ROUTES.iter().filter(|route| route.is_api()).map(Endpoint::from_route).collect()
}

/// Those that do the same again and again.
pub fn lasting() -> Vec<Endpoint> {
    let mut endpoints = endpoints();
    endpoints.retain(|endpoint| {
        endpoint.method != Method::DELETE
            || endpoint.route.ends_with("/vote")
            || endpoint.leads_nowhere()
    });
    endpoints
}
