//! The pages about people.

use askama::Template;
use axum::{
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;

use crate::{
    posts::pages::{List, Older as OlderPosts, by_author},
    users::{Person, UserId, Username, db},
    web::{
        Error, Page, Result, Shell, cursor,
        extract::{Path, Query},
        filters,
        htmx::wants_fragment,
        reader::Reader,
    },
};

#[derive(Template)]
#[template(path = "users/index.html")]
struct Index {
    shell: Shell,
    people: Vec<Person>,
    older: Option<String>,
}

#[derive(Template)]
#[template(path = "users/_older.html")]
struct Older {
    people: Vec<Person>,
    older: Option<String>,
}

#[derive(Deserialize)]
pub struct Paged {
    after: Option<String>,
}

pub async fn index(
    shell: Shell,
    Reader(db): Reader,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    let after = query.after.as_deref().map(|after| cursor::decode("people", after)).transpose()?;
    let mut people = db::list(&db, after.map(|after| UserId(after.id)), db::PER_PAGE + 1).await?;
    let page = usize::try_from(db::PER_PAGE).unwrap_or(usize::MAX);
    let is_full = people.len() > page;
    people.truncate(page);
    let older = people.last().filter(|_| is_full);
    let older =
        older.map(|last| format!("/users?after={}", cursor::encode("people", 0, last.id.0, "")));
    if wants_fragment(&headers) {
        return Ok(Page(Older { people, older }).into_response());
    }
    Ok(Page(Index { shell, people, older }).into_response())
}

#[derive(Template)]
#[template(path = "users/show.html")]
struct Show {
    shell: Shell,
    person: Person,
    list: List,
    is_self: bool,
    is_continued: bool,
}

pub async fn show(
    shell: Shell,
    Reader(db): Reader,
    Path(name): Path<String>,
    Query(query): Query<Paged>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let username = Username::parse(&name).ok().filter(|username| username.as_str() == name);
    let username = username.ok_or(Error::NotFound)?;
    let person = db::find(&db, &username).await?.ok_or(Error::NotFound)?;
    // Each person has one address, in the name's own spelling.
    let own = format!("/users/{}", person.username);
    if uri.path() != own {
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        return Ok(Redirect::permanent(&format!("{own}{query}")).into_response());
    }
    let address = |cursor| format!("{own}?after={cursor}");
    let list =
        by_author(&db, shell.viewer_id(), person.id, query.after.as_deref(), address).await?;
    if wants_fragment(&headers) {
        return Ok(Page(OlderPosts { shell, list }).into_response());
    }
    let is_self = shell.viewer_id() == Some(person.id);
    let is_continued = query.after.is_some();
    Ok(Page(Show { shell, person, list, is_self, is_continued }).into_response())
}
