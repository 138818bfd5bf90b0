//! The feed: hot, newest, and best posts.

use askama::Template;
use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    identity::UserId,
    lists::{
        Window, db,
        member_cache::MemberLists,
        ranking::{CreatedAt, Hot, Order, PageCursor, Period},
        view::{List, NextPage},
    },
    score::Score,
    web::{
        Page, PageContext, Result,
        cache::{CachePolicy, Topic},
        extract::Query,
        filters,
        htmx::wants_fragment,
        middleware::replica::ReadPool,
    },
};

#[derive(Template)]
#[template(path = "lists/index.html")]
struct Feed {
    context: PageContext,
    order: Order,
    list: List,
    is_continued: bool,
}

#[derive(Deserialize)]
pub struct Paged {
    after: Option<String>,
}

pub async fn hot(
    context: PageContext,
    ReadPool(db): ReadPool,
    State(lists): State<MemberLists>,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    let after = PageCursor::<Hot>::decode("hot", query.after.as_deref())?;
    let read = async |viewer| {
        let posts = db::hot(&db, viewer, after.as_ref(), Window::PAGE).await?;
        let address = |cursor| format!("/?after={cursor}");
        Ok(List::new(posts, "hot", after.as_ref(), address))
    };
    let list = lists.list(&db, &context, &headers, read).await?;
    Ok(feed(context, Order::Hot, list, after.is_some(), &headers))
}

pub async fn newest(
    context: PageContext,
    ReadPool(db): ReadPool,
    State(lists): State<MemberLists>,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    let after = PageCursor::<CreatedAt>::decode("new", query.after.as_deref())?;
    let read = async |viewer| {
        let posts = db::newest(&db, viewer, after.as_ref(), Window::PAGE).await?;
        let address = |cursor| format!("/new?after={cursor}");
        Ok(List::new(posts, "new", after.as_ref(), address))
    };
    let list = lists.list(&db, &context, &headers, read).await?;
    Ok(feed(context, Order::New, list, after.is_some(), &headers))
}

#[derive(Deserialize)]
pub struct TopQuery {
    #[serde(default)]
    t: Period,
    after: Option<String>,
}

pub async fn top(
    context: PageContext,
    ReadPool(db): ReadPool,
    State(lists): State<MemberLists>,
    Query(query): Query<TopQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let name = format!("top {}", query.t.word());
    let after = PageCursor::<Score>::decode(&name, query.after.as_deref())?;
    let read = async |viewer| {
        let posts = db::top(&db, viewer, query.t, after.as_ref(), Window::PAGE).await?;
        let address = |cursor| format!("/top?t={}&after={cursor}", query.t.word());
        Ok(List::new(posts, &name, after.as_ref(), address))
    };
    let list = lists.list(&db, &context, &headers, read).await?;
    Ok(feed(context, Order::Top(query.t), list, after.is_some(), &headers))
}

fn feed(
    context: PageContext,
    order: Order,
    list: List,
    is_continued: bool,
    headers: &HeaderMap,
) -> Response {
    if wants_fragment(headers) {
        return (CachePolicy::Shared(Topic::Lists), Page(NextPage { context, list }))
            .into_response();
    }
    (CachePolicy::Shared(Topic::Lists), Page(Feed { context, order, list, is_continued }))
        .into_response()
}

/// The list of one person's posts, for that person's page.
pub async fn by_author(
    db: &PgPool,
    viewer: Option<UserId>,
    author: UserId,
    after: Option<&str>,
    address: impl Fn(String) -> String,
) -> Result<List> {
    let name = format!("by {}", author.0);
    let after = PageCursor::<CreatedAt>::decode(&name, after)?;
    let posts = db::by_author(db, viewer, author, after.as_ref(), Window::PAGE).await?;
    Ok(List::new(posts, &name, after.as_ref(), address))
}
