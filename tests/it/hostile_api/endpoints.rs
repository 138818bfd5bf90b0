//! What each route of the API takes.

use axum::http::Method;
use serde_json::{Value, json};
use social_post::web::middleware::body::{POST_BODY, SMALL_BODY};

use crate::support::{PASSWORD, encode, routes};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Anyone,
    Member,
    Author,
}

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nothing,
    Document,
    Form,
}

#[derive(Debug, Clone)]
pub struct Door {
    pub method: Method,
    /// As `routes.rs` spells it.
    pub route: &'static str,
    pub query: &'static [&'static str],
    pub kind: Kind,
    pub members: &'static [&'static str],
    pub who: Who,
}

pub fn door(method: Method, route: &'static str) -> Door {
    Door { method, route, query: &[], kind: Kind::Nothing, members: &[], who: Who::Anyone }
}

impl Door {
    pub fn by(self, who: Who) -> Door {
        Door { who, ..self }
    }

    pub fn takes(self, members: &'static [&'static str]) -> Door {
        Door { kind: Kind::Document, members, ..self }
    }

    pub fn asks(self, query: &'static [&'static str]) -> Door {
        Door { query, ..self }
    }

    pub fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    pub fn address(&self, post: i64) -> String {
        self.route
            .replace("{username}", "ada")
            .replace("sessions/{id}", "sessions/00000000-0000-0000-0000-000000000000")
            .replace("{id}", &post.to_string())
    }

    pub fn limit(&self) -> usize {
        if self.route.starts_with("/posts") { POST_BODY } else { SMALL_BODY }
    }

    /// Where one comes in, whatever token one still holds.
    pub fn takes_no_token(&self) -> bool {
        ["/login", "/password/forgot", "/password/reset", "/email/confirm"].contains(&self.route)
    }

    /// What leads nowhere however good it looks.
    pub fn leads_nowhere(&self) -> bool {
        self.members.contains(&"token")
            || self.route == "/password/forgot"
            || self.route == "/users/me/sessions/{id}"
    }

    /// A document in which all is good but `odd`, given as it is sent.
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
        other => panic!("{other}"),
    }
}

pub fn doors() -> Vec<Door> {
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let (patch, delete) = (Method::PATCH, Method::DELETE);
    let posts = &["limit", "skip", "search", "sort", "author", "after"];
    vec![
        door(get.clone(), "/users").asks(&["limit", "after"]),
        door(get.clone(), "/users/{username}"),
        door(get.clone(), "/posts").asks(posts),
        door(get.clone(), "/posts/{id}"),
        door(get.clone(), "/posts/{id}/rank"),
        door(get.clone(), "/openapi.json"),
        door(get.clone(), "/docs"),
        door(get.clone(), "/users/me").by(Who::Member),
        door(get.clone(), "/users/me/export").by(Who::Member),
        door(get, "/users/me/sessions").by(Who::Member),
        door(post.clone(), "/users").takes(&["username", "email", "password"]),
        Door { kind: Kind::Form, ..door(post.clone(), "/login") },
        door(post.clone(), "/password/forgot").takes(&["email"]),
        door(post.clone(), "/password/reset").takes(&["token", "new_password"]),
        door(post.clone(), "/email/confirm").takes(&["token"]),
        door(put.clone(), "/users/me/password")
            .takes(&["current_password", "new_password"])
            .by(Who::Member),
        door(put.clone(), "/users/me/email").takes(&["current_password", "email"]).by(Who::Member),
        door(post.clone(), "/users/me/deletion").takes(&["current_password"]).by(Who::Member),
        door(delete.clone(), "/users/me/sessions/{id}").by(Who::Member),
        door(post.clone(), "/posts").takes(&["title", "url", "body"]).by(Who::Member),
        door(post, "/posts/preview").takes(&["body"]).by(Who::Member),
        door(put.clone(), "/posts/{id}").takes(&["title", "url", "body"]).by(Who::Author),
        door(patch, "/posts/{id}").takes(&["title", "url", "body"]).by(Who::Author),
        door(put, "/posts/{id}/vote").by(Who::Member),
        door(delete.clone(), "/posts/{id}/vote").by(Who::Member),
        door(delete.clone(), "/posts/{id}").by(Who::Author),
        door(delete.clone(), "/users/me/tokens").by(Who::Member),
        door(delete, "/users/me/sessions").by(Who::Member),
    ]
}

/// Those that do the same again and again.
pub fn lasting() -> Vec<Door> {
    let mut doors = doors();
    doors.retain(|door| {
        door.method != Method::DELETE || door.route.ends_with("/vote") || door.leads_nowhere()
    });
    doors
}

#[test]
fn the_matrix_knows_every_route_of_the_api() {
    let known: routes::Routes = doors()
        .into_iter()
        .map(|door| (door.route.to_owned(), door.method.as_str().to_owned()))
        .collect();
    assert_eq!(known, routes::api(), "left: doors of this file, right: src/routes.rs");
}
