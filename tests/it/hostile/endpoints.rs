//! What each route takes.

use std::collections::BTreeSet;

use axum::http::Method;
use social_post::web::{
    cursor,
    middleware::body::{POST_BODY, SMALL_BODY},
};

use crate::support::{PASSWORD, encode, routes};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Anyone,
    Member,
    Author,
}

/// A parameter: what it is called, and by which rule it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Id,
    Name,
    Asset,
    /// The place in the list of that name.
    After(&'static str),
    Period,
    Sort,
    Words,
    /// Of the sitemap.
    Part,
    NextOfPage,
    Title,
    Url,
    Text,
    Key,
    Version,
    Ballot,
    Username,
    Email,
    NewPassword,
    Login,
    Password,
    Next,
    /// Of somebody who is logged in; what the matrix gives is never right.
    CurrentPassword,
    /// One that somebody wants instead.
    AnotherPassword,
    Session,
    Token,
}

impl Field {
    pub fn name(self) -> &'static str {
        match self {
            Field::Id => "{id}",
            Field::Name => "{username}",
            Field::Asset => "{name}",
            Field::After(_) => "after",
            Field::Period => "t",
            Field::Sort => "sort",
            Field::Words => "q",
            Field::Part => "part",
            Field::NextOfPage | Field::Next => "next",
            Field::Title => "title",
            Field::Url => "url",
            Field::Text => "body",
            Field::Key => "key",
            Field::Version => "version",
            Field::Ballot => "value",
            Field::Username => "username",
            Field::Email => "email",
            Field::NewPassword | Field::Password => "password",
            Field::Login => "login",
            Field::CurrentPassword => "current_password",
            Field::AnotherPassword => "new_password",
            Field::Session => "session",
            Field::Token => "{token}",
        }
    }

    /// A value that holds.
    pub fn good(self, post: i64) -> String {
        match self {
            Field::Id => post.to_string(),
            Field::Name | Field::Login => "ada".into(),
            Field::Asset => "nothing.css".into(),
            Field::After("a post") => "7".to_owned(),
            Field::After(list) => cursor::encode(list, 1_700_000_000_000_000, 7, ""),
            Field::Period => "week".into(),
            Field::Sort => "new".into(),
            Field::Words => "title".into(),
            Field::NextOfPage | Field::Next => "/new".into(),
            Field::Title => "A fine title".into(),
            Field::Url => "https://example.test/a".into(),
            Field::Text => "Some *text*".into(),
            Field::Key => uuid::Uuid::now_v7().to_string(),
            // Of a post that was never edited; what stands already may be saved with any.
            Field::Part | Field::Version => "0".into(),
            Field::Ballot => "1".into(),
            Field::Username => format!("n{}", &uuid::Uuid::new_v4().simple().to_string()[..12]),
            Field::Email => format!("{}@example.org", uuid::Uuid::new_v4().simple()),
            Field::NewPassword | Field::Password | Field::AnotherPassword => PASSWORD.into(),
            Field::CurrentPassword => "not the password".into(),
            Field::Session => uuid::Uuid::new_v4().to_string(),
            Field::Token => "AAAAAAAAAAAAAAAAAAAAAA".into(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Door {
    pub method: Method,
    /// As `routes.rs` spells it.
    pub route: &'static str,
    pub path: Option<Field>,
    pub query: &'static [Field],
    pub form: &'static [Field],
    pub who: Who,
}

/// One value as it stands in an address or a form.
pub fn encoded(value: &str) -> String {
    encode(&[("", value)])[1..].to_owned()
}

pub fn get(route: &'static str, query: &'static [Field]) -> Door {
    let path = match () {
        () if route.contains("{id}") => Some(Field::Id),
        () if route.contains("{username}") => Some(Field::Name),
        () if route.contains("{name}") => Some(Field::Asset),
        () if route.contains("{token}") => Some(Field::Token),
        () => None,
    };
    Door { method: Method::GET, route, path, query, form: &[], who: Who::Anyone }
}

pub fn post(route: &'static str, form: &'static [Field]) -> Door {
    Door { method: Method::POST, form, ..get(route, &[]) }
}

impl Door {
    pub fn by(self, who: Who) -> Door {
        Door { who, ..self }
    }

    pub fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    pub fn body_limit(&self) -> usize {
        if self.form.contains(&Field::Text) { POST_BODY } else { SMALL_BODY }
    }

    pub fn fields(&self) -> Vec<Field> {
        self.path.iter().chain(self.query).chain(self.form).copied().collect()
    }

    /// The address and the body of a request in which all is good but `odd`, given as it is sent.
    pub fn with(&self, post: i64, odd: Option<(Field, &[u8])>) -> (String, Vec<u8>) {
        let raw = |field: Field| match odd {
            Some((odd, value)) if odd == field => value.to_vec(),
            _ => encoded(&field.good(post)).into_bytes(),
        };
        let pairs = |fields: &[Field]| {
            let pairs: Vec<_> = fields
                .iter()
                .map(|field| [field.name().as_bytes(), b"=", &raw(*field)].concat())
                .collect();
            pairs.join(&b'&')
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut address = match self.path {
            Some(field) => self.route.replace(field.name(), &text(raw(field))),
            None => self.route.to_owned(),
        };
        if !self.query.is_empty() {
            address = format!("{address}?{}", text(pairs(self.query)));
        }
        (address, pairs(self.form))
    }
}

pub fn reading() -> Vec<Door> {
    use Field::{After, NextOfPage, Part, Period, Sort, Words};
    vec![
        get("/", &[After("hot")]),
        get("/new", &[After("new")]),
        get("/top", &[Period, After("top week")]),
        get("/search", &[Words, Sort]),
        get("/search", &[Words, Sort, After("search new title")]),
        get("/posts/{id}", &[]),
        get("/users", &[After("people")]),
        get("/users/{username}", &[After("by 1")]),
        get("/posts/new", &[]).by(Who::Member),
        get("/posts/{id}/edit", &[]).by(Who::Author),
        get("/posts/{id}/delete", &[]).by(Who::Author),
        get("/signup", &[NextOfPage]),
        get("/login", &[NextOfPage]),
        get("/password/forgot", &[]),
        get("/password/reset/{token}", &[]),
        get("/email/confirm/{token}", &[]),
        get("/settings", &[]).by(Who::Member),
        get("/settings/sessions", &[]).by(Who::Member),
        get("/settings/export", &[]).by(Who::Member),
        get("/settings/delete-account", &[]).by(Who::Member),
        get("/feed.atom", &[]),
        get("/new/feed.atom", &[]),
        get("/users/{username}/feed.atom", &[]),
        get("/search/feed.atom", &[Words]),
        get("/sitemap.xml", &[Part]),
        get("/robots.txt", &[]),
        get("/manifest.webmanifest", &[]),
        get("/opensearch.xml", &[]),
        get("/.well-known/security.txt", &[]),
        get("/.well-known/change-password", &[]),
        get("/static/{name}", &[]),
        get("/favicon.svg", &[]),
        get("/favicon.ico", &[]),
        get("/healthz", &[]),
        get("/readyz", &[]),
        get("/live", &[After("a post")]),
    ]
}

pub fn writing() -> Vec<Door> {
    use Field::{
        AnotherPassword, Ballot, CurrentPassword, Email, Key, Session, Text, Title, Url, Version,
    };
    vec![
        post("/posts", &[Title, Url, Text]).by(Who::Member),
        post("/posts", &[Title, Url, Text, Key]).by(Who::Member),
        post("/posts/preview", &[Title, Url, Text, Key, Version]).by(Who::Member),
        post("/posts/{id}/edit", &[Title, Url, Text]).by(Who::Author),
        post("/posts/{id}/edit", &[Title, Url, Text, Version]).by(Who::Author),
        post("/posts/{id}/delete", &[]).by(Who::Author),
        post("/posts/{id}/vote", &[Ballot]).by(Who::Member),
        post("/logout", &[]).by(Who::Member),
        post("/settings/password", &[CurrentPassword, AnotherPassword]).by(Who::Member),
        post("/settings/email", &[CurrentPassword, Email]).by(Who::Member),
        post("/settings/sessions/revoke", &[Session]).by(Who::Member),
        post("/settings/delete-account", &[CurrentPassword]).by(Who::Member),
    ]
}

pub fn entering() -> Vec<Door> {
    use Field::{AnotherPassword, Email, Login, NewPassword, Next, Password, Username};
    vec![
        post("/login", &[Login, Password, Next]),
        post("/signup", &[Username, Email, NewPassword]),
        post("/password/forgot", &[Email]),
        post("/password/reset/{token}", &[AnotherPassword]),
        post("/email/confirm/{token}", &[]),
    ]
}

/// What leads nowhere however good it looks: a link that was never sent, somebody else's session, mail
/// on a site that sends none.
pub fn leads_nowhere(door: &Door) -> bool {
    door.path == Some(Field::Token)
        || door.form == [Field::Session]
        || door.route == "/static/{name}"
        || (door.route == "/password/forgot" && !door.is_get())
}

pub fn doors() -> Vec<Door> {
    [reading(), writing(), entering()].concat()
}

#[test]
fn the_matrix_knows_every_route() {
    let known: BTreeSet<_> = doors()
        .into_iter()
        .map(|door| (door.route.to_owned(), door.method.as_str().to_owned()))
        .collect();
    assert_eq!(known, routes::pages(), "left: doors of this file, right: src/routes.rs");
}
