//! The pages of users.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    config::Site,
    identity::{UserId, Username},
    lists::{
        self, Listing, PAGE, Start, atom,
        view::{List, NextPage as OlderPosts},
    },
    users::{Person, db},
    web::{
        Error, Page, PageContext, Result,
        cache::{CachePolicy, Topic},
        cursor,
        extract::{Path, Query},
        filters,
        htmx::wants_fragment,
        list::{ListPage, Window},
        middleware::replica::ReadPool,
    },
};

#[derive(Template)]
#[template(path = "profiles/index.html")]
struct Index {
    context: PageContext,
    people: Vec<Person>,
    older: Option<String>,
    is_continued: bool,
}

#[derive(Template)]
#[template(path = "profiles/_next_page.html")]
struct Older {
    people: Vec<Person>,
    older: Option<String>,
}

#[derive(Deserialize)]
pub struct Paged {
    after: Option<String>,
}

pub async fn index(
    context: PageContext,
    ReadPool(db): ReadPool,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    let after = query.after.as_deref().map(|after| cursor::decode("people", after)).transpose()?;
    let window = Window::first(db::PER_PAGE);
    let people = db::list(&db, after.as_ref().map(|after| UserId(after.id)), window.rows()).await?;
    let ListPage { rows: people, next } =
        ListPage::new(people, window, |last| cursor::encode("people", 0, last.id.0, ""));
    let older = next.map(|cursor| format!("/users?after={cursor}"));
    if wants_fragment(&headers) {
        return Ok(
            (CachePolicy::Shared(Topic::Lists), Page(Older { people, older })).into_response()
        );
    }
    let is_continued = after.is_some();
    Ok((CachePolicy::Shared(Topic::Lists), Page(Index { context, people, older, is_continued }))
        .into_response())
}

#[derive(Template)]
#[template(path = "profiles/show.html")]
struct Show {
    context: PageContext,
    person: Person,
    path: String,
    description: String,
    list: List,
    is_self: bool,
    is_continued: bool,
}

pub async fn show(
    context: PageContext,
    ReadPool(db): ReadPool,
    Path(name): Path<String>,
    Query(query): Query<Paged>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let person = find(&db, &name).await?;
    // Each user has one URL, in the name's own spelling.
    let canonical = format!("/users/{}", person.username);
    if uri.path() != canonical {
        let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let redirect = Redirect::permanent(&format!("{canonical}{query}"));
        return Ok((CachePolicy::Revalidate, redirect).into_response());
    }
    let cursor_name = format!("by {}", person.id.0);
    let start = Start { list: &cursor_name, after: query.after.as_deref() };
    let listing = Listing::newest_by(person.id);
    let posts = lists::page(&db, context.viewer_id(), listing, start, PAGE).await?;
    let list = List::new(posts, |cursor| format!("{canonical}?after={cursor}"));
    if wants_fragment(&headers) {
        return Ok(
            (CachePolicy::Shared(Topic::Lists), Page(OlderPosts { context, list })).into_response()
        );
    }
    let is_self = context.viewer_id() == Some(person.id);
    let is_continued = query.after.is_some();
    let (name, site, count) = (&person.username, &context.site.name, person.post_count);
    let posts = if count == 1 { "post" } else { "posts" };
    let description = format!("{name} on {site}: {count} {posts}.");
    let page = Show { context, person, path: canonical, description, list, is_self, is_continued };
    Ok((CachePolicy::Shared(Topic::Lists), Page(page)).into_response())
}

pub async fn feed(
    State(site): State<Arc<Site>>,
    ReadPool(db): ReadPool,
    Path(name): Path<String>,
) -> Result<Response> {
    let person = find(&db, &name).await?;
    let page = format!("/users/{}", person.username);
    let path = format!("{page}/feed.atom");
    if person.username.as_str() != name {
        let redirect = Redirect::permanent(&path);
        return Ok((CachePolicy::Revalidate, redirect).into_response());
    }
    let info = atom::FeedInfo {
        // Not the user name, which another person may have later.
        name: format!("users/{}", person.id.0),
        title: format!("Posts by {} · {}", person.username, site.name),
        path,
        page,
    };
    let feed = atom::from_listing(&db, site, info, Listing::newest_by(person.id)).await?;
    Ok(feed.into_response())
}

/// The user that a URL names, in any case.
async fn find(db: &PgPool, name: &str) -> Result<Person> {
    let username = Username::parse(name).ok().filter(|username| username.as_str() == name);
    let username = username.ok_or(Error::NotFound)?;
    db::find(db, &username).await?.ok_or(Error::NotFound)
}
