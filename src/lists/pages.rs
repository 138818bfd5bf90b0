//! The feed: hot, newest and top posts.

use askama::Template;
use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    lists::{
        self, Listing, Order, PAGE, Period, Start,
        member_cache::MemberLists,
        view::{List, NextPage},
    },
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
    feed(context, &db, &lists, Order::Hot, query.after, &headers).await
}

pub async fn newest(
    context: PageContext,
    ReadPool(db): ReadPool,
    State(lists): State<MemberLists>,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    feed(context, &db, &lists, Order::New, query.after, &headers).await
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
    feed(context, &db, &lists, Order::Top(query.t), query.after, &headers).await
}

async fn feed(
    context: PageContext,
    db: &PgPool,
    lists: &MemberLists,
    order: Order,
    after: Option<String>,
    headers: &HeaderMap,
) -> Result<Response> {
    let name = order.cursor_name();
    let read = async |viewer| {
        let start = Start { list: &name, after: after.as_deref() };
        let page = lists::page(db, viewer, Listing::all(order), start, PAGE).await?;
        Ok(List::new(page, |cursor| order.next_address(cursor)))
    };
    let list = lists.list(db, &context, headers, read).await?;
    let cache = CachePolicy::Shared(Topic::Lists);
    if wants_fragment(headers) {
        return Ok((cache, Page(NextPage { context, list })).into_response());
    }
    let page = Page(Feed { context, order, list, is_continued: after.is_some() });
    Ok((cache, page).into_response())
}
