//! Posts as people see them: lists, the page of one post, and the forms of its author.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::live::Change;
use crate::web::cache::{CachePolicy, Topic};
use crate::{
    identity::{PostId, Viewer},
    markdown,
    posts::{
        Post,
        access::{self, own},
        db,
        rank::{self, RankExplanation},
    },
    web::{
        Error, Page, PageContext, Result, extract::Path, filters, middleware::replica::ReadPool,
    },
};

/// Where a post stands on a page.
pub fn anchor(id: &PostId) -> String {
    format!("#post-{id}")
}

pub fn address(id: PostId) -> String {
    format!("/posts/{id}")
}

#[derive(Template)]
#[template(path = "posts/show.html")]
struct Show {
    context: PageContext,
    post: Post,
    standing: RankExplanation,
    description: String,
    is_own: bool,
}

pub async fn show(
    context: PageContext,
    ReadPool(db): ReadPool,
    Path(id): Path<PostId>,
) -> Result<(CachePolicy, Page<impl Template>)> {
    let post = access::visible(&db, context.viewer.as_ref(), id).await?;
    let standing = rank::db::find(&db, id).await?.ok_or(Error::NotFound)?;
    let is_own = context.viewer.as_ref().is_some_and(|viewer| access::may_change(viewer, &post));
    let description = match markdown::excerpt(&post.body, 160) {
        text if text.is_empty() => post.title.clone(),
        text => text,
    };
    Ok((
        CachePolicy::Shared(Topic::Post(id.0)),
        Page(Show { context, post, standing, description, is_own }),
    ))
}

#[derive(Template)]
#[template(path = "posts/delete.html")]
struct Delete {
    context: PageContext,
    post: Post,
}

pub async fn confirm_delete(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    Path(id): Path<PostId>,
) -> Result<Page<impl Template>> {
    let post = own(&db, &viewer, id).await?;
    Ok(Page(Delete { context, post }))
}

/// Nothing but the press of the button.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {}

pub async fn delete(
    viewer: Viewer,
    State(db): State<PgPool>,
    Path(id): Path<PostId>,
    crate::web::extract::Form(Confirmed {}): crate::web::extract::Form<Confirmed>,
) -> Result<Response> {
    if db::delete(&db, id, viewer.id).await? {
        let response = crate::web::flash::Flash::Deleted.on(crate::web::page::see_other("/"));
        return Ok(Change::Post(id).on(response));
    }
    // The statement alone decides; this only tells why it did nothing.
    own(&db, &viewer, id).await?;
    Err(Error::NotFound)
}

/// A page with a status of its own.
pub(super) fn with_status(status: StatusCode, page: impl Template) -> Response {
    (status, Page(page)).into_response()
}
