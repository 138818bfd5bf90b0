//! The page of a post, and the form that deletes it.

use askama::Template;
use axum::{extract::State, response::Response};
use sqlx::PgPool;

use crate::{
    identity::{PostId, Viewer},
    live::Change,
    markdown,
    posts::{
        Post,
        access::{self, own},
        db,
        rank::{self, RankExplanation},
    },
    web::{
        Error, Page, PageContext, Result,
        cache::{CachePolicy, Topic},
        extract::{Form, Path},
        filters,
        flash::Flash,
        form::NoFields,
        middleware::replica::ReadPool,
        page::see_other,
    },
};

/// The fragment of a post on any page that shows it.
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
    rank: RankExplanation,
    description: String,
    is_own: bool,
}

pub async fn show(
    context: PageContext,
    ReadPool(db): ReadPool,
    Path(id): Path<PostId>,
) -> Result<(CachePolicy, Page<impl Template>)> {
    let post = access::visible(&db, context.viewer.as_ref(), id).await?;
    let rank = rank::db::find(&db, id).await?.ok_or(Error::NotFound)?;
    let is_own = context.viewer.as_ref().is_some_and(|viewer| access::may_change(viewer, &post));
    let description = match markdown::excerpt(&post.body, 160) {
        text if text.is_empty() => post.title.clone(),
        text => text,
    };
    Ok((
        CachePolicy::Shared(Topic::Post(id.0)),
        Page(Show { context, post, rank, description, is_own }),
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

pub async fn delete(
    viewer: Viewer,
    State(db): State<PgPool>,
    Path(id): Path<PostId>,
    Form(NoFields {}): Form<NoFields>,
) -> Result<Response> {
    if db::delete(&db, id, viewer.id).await? {
        return Ok(Change::Removed(id).on(Flash::Deleted.on(see_other("/"))));
    }
    // The statement alone decides; this only finds out why it deleted nothing.
    own(&db, &viewer, id).await?;
    Err(Error::NotFound)
}
