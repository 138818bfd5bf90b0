//! Publishing, editing, deleting and previewing posts.

#![allow(unused_qualifications, reason = "utoipa names what it is given in full")]

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::{
    cpu,
    identity::{PostId, Viewer},
    live::Change,
    posts::{
        Body, Draft, Version,
        access::{self, own},
        api::{NewPost, Post, PostChange},
        db,
        publish::{self, IdempotencyKey, Publication},
    },
    web::{
        Error, Result,
        error::Field,
        extract::{LONG, Path},
        json::Json,
        problem::Problem,
        throttle::{RateLimit, Throttle},
    },
};

/// Publish a post
///
/// With an `Idempotency-Key` the request can be repeated after a lost response: for a day the same key
/// publishes no second post, and returns the first.
#[utoipa::path(
    post, path = "/api/v1/posts", operation_id = "publish", tag = "posts", request_body = NewPost,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters of your choice", example = "6f1c9d1e-one-post", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 201, description = "Published", body = Post, headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "The key belongs to another post", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn publish(
    viewer: Viewer,
    State(pool): State<PgPool>,
    State(throttle): State<Throttle>,
    headers: HeaderMap,
    Json(post): Json<NewPost>,
) -> Result<Response> {
    let key = idempotency_key(&headers)?;
    let draft = post.parse().await?;
    throttle.check(RateLimit::Write, viewer.id)?;
    let id = match publish::db::publish(&pool, viewer.id, &draft, key).await? {
        Publication::Post(id) => id,
        Publication::KeyTaken(_) => {
            return Err(Error::Conflict("This Idempotency-Key was used for another post.".into()));
        }
        Publication::NoAuthor => return Err(Error::BadToken),
    };
    let post = access::visible(&pool, Some(&viewer), id).await?;
    let url = HeaderValue::from_str(&format!("/api/v1/posts/{id}")).map_err(Error::internal)?;
    let post = Json(Post::new(post, Some(&viewer)));
    Ok((StatusCode::CREATED, Change::New(id), [(header::LOCATION, url)], post).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let fits = key.to_str().is_ok_and(|key| {
        (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if !fits || keys.next().is_some() {
        let problem = "An Idempotency-Key is one value of 1 to 255 visible ASCII characters.";
        return Err(Error::BadRequest(problem.into()));
    }
    Ok(Some(IdempotencyKey::from_text(key.as_bytes())))
}

/// Replace a post
#[utoipa::path(
    put, path = "/api/v1/posts/{id}", operation_id = "replace", tag = "posts", request_body = NewPost,
    params(("id" = i64, Path, minimum = 1, example = 42)),
    responses(
        (status = 200, body = Post),
        (status = 403, description = "You are not its author", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn replace(
    viewer: Viewer,
    State(pool): State<PgPool>,
    State(throttle): State<Throttle>,
    Path(id): Path<PostId>,
    Json(post): Json<NewPost>,
) -> Result<(Change, Json<Post>)> {
    own(&pool, &viewer, id).await?;
    let draft = post.parse().await?;
    save(&pool, &throttle, &viewer, id, &draft, None).await
}

/// Change parts of a post
#[utoipa::path(
    patch, path = "/api/v1/posts/{id}", operation_id = "change", tag = "posts", request_body = PostChange,
    params(("id" = i64, Path, minimum = 1, example = 42)),
    responses(
        (status = 200, body = Post),
        (status = 403, description = "You are not its author", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The post was changed in the meantime", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn change(
    viewer: Viewer,
    State(pool): State<PgPool>,
    State(throttle): State<Throttle>,
    Path(id): Path<PostId>,
    Json(change): Json<PostChange>,
) -> Result<(Change, Json<Post>)> {
    let post = own(&pool, &viewer, id).await?;
    let version = post.version();
    let url = match change.url {
        Some(url) => url.unwrap_or_default(),
        None => post.link.map(|link| link.as_str().to_owned()).unwrap_or_default(),
    };
    let (title, body) = (change.title.unwrap_or(post.title), change.body.unwrap_or(post.body));
    let draft = Draft::read(title, url, body).await.map_err(Error::Fields)?;
    // With the version: fields that are not given keep what the post has now, not what it had a moment ago.
    save(&pool, &throttle, &viewer, id, &draft, Some(version)).await
}

async fn save(
    pool: &PgPool,
    throttle: &Throttle,
    viewer: &Viewer,
    id: PostId,
    draft: &Draft,
    version: Option<Version>,
) -> Result<(Change, Json<Post>)> {
    throttle.check(RateLimit::Write, viewer.id)?;
    let is_saved = db::edit(pool, id, viewer.id, draft, version).await?;
    // The statement alone decides; this finds out why it did nothing.
    let post = own(pool, viewer, id).await?;
    if !is_saved {
        return Err(Error::Conflict(
            "The post was changed in the meantime. Read it again, then retry.".into(),
        ));
    }
    Ok((Change::Removed(id), Json(Post::new(post, Some(viewer)))))
}

/// Delete a post
#[utoipa::path(
    delete, path = "/api/v1/posts/{id}", operation_id = "delete", tag = "posts",
    params(("id" = i64, Path, minimum = 1, example = 42)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 403, description = "You are not its author", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn delete(
    viewer: Viewer,
    State(pool): State<PgPool>,
    Path(id): Path<PostId>,
) -> Result<(Change, StatusCode)> {
    if !db::delete(&pool, id, viewer.id).await? {
        // The statement alone decides; this finds out why it did nothing.
        own(&pool, &viewer, id).await?;
        return Err(Error::NotFound);
    }
    Ok((Change::Removed(id), StatusCode::NO_CONTENT))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Markdown.
    #[schema(max_length = 40_000, example = "It has *moss*.")]
    body: String,
}

#[derive(Serialize, ToSchema)]
pub struct Rendered {
    #[schema(example = "<p>It has <em>moss</em>.</p>\n")]
    body_html: String,
}

/// Preview a text
#[utoipa::path(
    post, path = "/api/v1/posts/preview", operation_id = "preview", tag = "posts", request_body = Text,
    responses((status = 200, body = Rendered)),
)]
pub async fn preview(
    viewer: Viewer,
    State(throttle): State<Throttle>,
    Json(text): Json<Text>,
) -> Result<(Change, Json<Rendered>)> {
    throttle.check(RateLimit::Preview, viewer.id)?;
    let body = cpu::run_if(text.body.len() > LONG, move || Body::parse(&text.body)).await;
    let body = body.map_err(|bad| Error::Fields(vec![Field::new("body", &bad)]))?;
    let (html, _) = body.render().await;
    Ok((Change::Nothing, Json(Rendered { body_html: html.as_str().to_owned() })))
}
