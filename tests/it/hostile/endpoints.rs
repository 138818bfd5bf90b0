//! What each route takes.

use axum::http::Method;
use social_post::{
    routes::{Access, ROUTES, Route},
    web::cursor,
};

use crate::support::{PASSWORD, encode};

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

    /// The field of that name in a row of the manifest.
    fn from_manifest(route: &Route, name: &str) -> Field {
        match (name, route.path) {
            ("after", "/") => Field::After("hot"),
            ("after", "/new") => Field::After("new"),
            ("after", "/top") => Field::After("top week"),
            ("after", "/search") => Field::After("search new title"),
            ("after", "/users") => Field::After("people"),
            ("after", "/users/{username}") => Field::After("by 1"),
            ("after", "/live") => Field::After("a post"),
            ("t", _) => Field::Period,
            ("sort", _) => Field::Sort,
            ("q", _) => Field::Words,
            ("part", _) => Field::Part,
            ("next", _) if route.method.is_safe() => Field::NextOfPage,
            ("next", _) => Field::Next,
            ("title", _) => Field::Title,
            ("url", _) => Field::Url,
            ("body", _) => Field::Text,
            ("key", _) => Field::Key,
            ("version", _) => Field::Version,
            ("value", _) => Field::Ballot,
            ("username", _) => Field::Username,
            ("email", _) => Field::Email,
            ("password", "/signup") => Field::NewPassword,
            ("password", _) => Field::Password,
            ("login", _) => Field::Login,
            ("current_password", _) => Field::CurrentPassword,
            ("new_password", _) => Field::AnotherPassword,
            ("session", _) => Field::Session,
            (name, path) => panic!(
                "{path} takes {name:?}: add it to Field and Field::from_manifest in \
                 tests/it/hostile/endpoints.rs, with a good value, and to values.rs with bad ones"
            ),
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
pub struct Endpoint {
    pub method: Method,
    /// As `routes.rs` spells it.
    pub route: &'static str,
    pub path: Option<Field>,
    pub query: &'static [Field],
    pub form: &'static [Field],
    pub who: Access,
    /// In bytes.
    pub body_limit: usize,
}

/// One value as it stands in an address or a form.
pub fn encoded(value: &str) -> String {
    encode(&[("", value)])[1..].to_owned()
}

impl Endpoint {
    /// The endpoint of a row of the manifest.
    fn from_route(route: &'static Route) -> Endpoint {
        let path = match route.path {
            path if path.contains("{id}") => Some(Field::Id),
            path if path.contains("{username}") => Some(Field::Name),
            path if path.contains("{name}") => Some(Field::Asset),
            path if path.contains("{token}") => Some(Field::Token),
            _ => None,
        };
        let fields = |names: &[&'static str]| -> &'static [Field] {
            names.iter().map(|name| Field::from_manifest(route, name)).collect::<Vec<_>>().leak()
        };
        Endpoint {
            method: route.method.clone(),
            route: route.path,
            path,
            query: fields(route.query),
            form: fields(route.fields),
            who: route.access,
            body_limit: route.body_limit,
        }
    }

    /// The same without the fields that a client may leave out, where there are any.
    fn shorter(&self) -> Option<Endpoint> {
        let is_optional = |field: &Field| {
            matches!(field, Field::Key | Field::Version)
                || (self.route == "/search" && matches!(field, Field::After(_)))
        };
        let kept = |fields: &[Field]| -> &'static [Field] {
            fields.iter().copied().filter(|field| !is_optional(field)).collect::<Vec<_>>().leak()
        };
        let shorter = Endpoint { query: kept(self.query), form: kept(self.form), ..self.clone() };
        (shorter.fields().len() < self.fields().len()).then_some(shorter)
    }

    pub fn is_get(&self) -> bool {
        self.method == Method::GET
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

/// Every route that is not the API's, as the manifest has it: first what changes nothing, last what
/// logs in.
pub fn endpoints() -> Vec<Endpoint> {
    [reading(), writing(), entering()].concat()
}

fn of_the_manifest() -> impl Iterator<Item = Endpoint> {
    let routes = ROUTES.iter().filter(|route| !route.is_api()).map(Endpoint::from_route);
    routes.flat_map(|endpoint| [endpoint.shorter(), Some(endpoint)]).flatten()
}

pub fn reading() -> Vec<Endpoint> {
    of_the_manifest().filter(Endpoint::is_get).collect()
}

/// Forms of members.
pub fn writing() -> Vec<Endpoint> {
    of_the_manifest()
        .filter(|endpoint| !endpoint.is_get() && endpoint.who != Access::Anyone)
        .collect()
}

/// Forms that need no session, with the sign-up, after which there is one, at the end.
pub fn entering() -> Vec<Endpoint> {
    let forms =
        of_the_manifest().filter(|endpoint| !endpoint.is_get() && endpoint.who == Access::Anyone);
    let mut forms: Vec<Endpoint> = forms.collect();
    forms.sort_by_key(|endpoint| endpoint.route == "/signup");
    forms
}

/// What leads nowhere however good it looks: a link that was never sent, somebody else's session, mail
/// on a site that sends none.
pub fn leads_nowhere(endpoint: &Endpoint) -> bool {
    endpoint.path == Some(Field::Token)
        || endpoint.form == [Field::Session]
        || endpoint.route == "/static/{name}"
        || (endpoint.route == "/password/forgot" && !endpoint.is_get())
}
