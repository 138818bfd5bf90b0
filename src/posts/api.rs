//! Posts, for programs.

#![allow(unused_qualifications, reason = "utoipa names what it is given in full")]

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::live::Change;
use crate::{
    identity::{PostId, Viewer},
    markdown,
    posts::{
        Body, Draft, IdempotencyKey, Version,
        db::{self, Publication},
        rank,
    },
    web::{
        Error, Result,
        error::Field,
        extract::Path,
        json::Json,
        middleware::replica::ReadPool,
        problem::Problem,
        throttle::{RateLimit, Throttle},
    },
};

#[derive(Serialize, ToSchema)]
pub struct Post {
    #[schema(example = 42)]
    id: i64,
    #[schema(example = "A garden in a jar")]
    title: String,
    #[schema(example = "https://example.org/garden", required)]
    url: Option<String>,
    /// Markdown as the author wrote it; may be empty.
    #[schema(example = "It has *moss*.")]
    body: String,
    /// The same as HTML that is safe to show.
    #[schema(example = "<p>It has <em>moss</em>.</p>\n")]
    body_html: String,
    #[schema(example = "ada")]
    author: String,
    /// How many people voted for it.
    #[schema(example = 12, minimum = 0)]
    score: i64,
    /// Whether I voted for it; null without a token.
    #[schema(required)]
    voted: Option<bool>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    edited_at: Option<OffsetDateTime>,
}

impl Post {
    pub fn of(post: super::Post, viewer: Option<&Viewer>) -> Post {
        let super::Post {
            id,
            author_id: _,
            author,
            title,
            link,
            body,
            body_html,
            score,
            voted,
            created_at,
            edited_at,
        } = post;
        Post {
            id: id.0,
            title,
            url: link.map(|link| link.as_str().to_owned()),
            body,
            body_html: body_html.as_str().to_owned(),
            author: author.to_string(),
            score: score.0,
            voted: viewer.map(|_| voted),
            created_at,
            edited_at,
        }
    }
}

/// What an author gives.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPost {
    /// One line that shows something.
    #[schema(min_length = 1, max_length = 150, example = "A garden in a jar")]
    title: String,
    /// An http or https address without a password in it; empty or null for none.
    #[serde(default)]
    #[schema(
        max_length = 2000,
        pattern = "^(https?://.+)?$",
        example = "https://example.org/garden"
    )]
    url: Option<String>,
    /// Markdown.
    #[serde(default)]
    #[schema(max_length = 40_000, example = "It has *moss*.")]
    body: Option<String>,
}

/// The members to change. `"url": null` takes the link away.
#[expect(clippy::option_option, reason = "not there, null, or a text")]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostChange {
    #[serde(default)]
    #[schema(min_length = 1, max_length = 150, example = "A garden in two jars")]
    title: Option<String>,
    #[serde(default, deserialize_with = "there")]
    #[schema(value_type = Option<String>, max_length = 2000, pattern = "^(https?://.+)?$", example = "https://example.org/garden")]
    url: Option<Option<String>>,
    #[serde(default)]
    #[schema(max_length = 40_000, example = "They have *moss*.")]
    body: Option<String>,
}

/// Tells a member that is null from one that is not there.
#[expect(clippy::option_option, reason = "not there, null, or a text")]
fn there<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

impl NewPost {
    fn check(&self) -> Result<Draft> {
        let (url, body) = (self.url.as_deref(), self.body.as_deref());
        let draft = Draft::parse(&self.title, url.unwrap_or_default(), body.unwrap_or_default());
        draft.map_err(Error::Fields)
    }
}

/// Publishes a post
///
/// With an `Idempotency-Key` it may be sent again after a lost answer: for a day the same key makes no
/// second post, and answers with the first.
#[utoipa::path(
    post, path = "/api/v1/posts", operation_id = "publish", tag = "posts", request_body = NewPost,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters of your own", example = "6f1c9d1e-one-post", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 201, description = "It is there", body = Post, headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "The key made another post", body = Problem, content_type = "application/problem+json"),
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
    let draft = post.check()?;
    throttle.check(RateLimit::Write, viewer.id)?;
    let id = match db::publish(&pool, viewer.id, &draft, key).await? {
        Publication::Post(id) => id,
        Publication::KeyTaken(_) => {
            return Err(Error::Conflict("This Idempotency-Key has made another post.".into()));
        }
        Publication::NoAuthor => return Err(Error::BadToken),
    };
    let post = db::find(&pool, id, Some(viewer.id)).await?.ok_or(Error::NotFound)?;
    let place = HeaderValue::from_str(&format!("/api/v1/posts/{id}")).map_err(Error::internal)?;
    let post = Json(Post::of(post, Some(&viewer)));
    Ok((StatusCode::CREATED, Change::New(id), [(header::LOCATION, place)], post).into_response())
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
    Ok(Some(IdempotencyKey::of(key.as_bytes())))
}

/// A post
#[utoipa::path(
    get, path = "/api/v1/posts/{id}", operation_id = "post", tag = "posts",
    params(("id" = i64, Path, minimum = 1, example = 42)), responses((status = 200, body = Post)),
    security((), ("token" = [])),
)]
pub async fn show(
    viewer: Option<Viewer>,
    ReadPool(pool): ReadPool,
    Path(id): Path<PostId>,
) -> Result<Json<Post>> {
    let me = viewer.as_ref().map(|viewer| viewer.id);
    let post = db::find(&pool, id, me).await?.ok_or(Error::NotFound)?;
    Ok(Json(Post::of(post, viewer.as_ref())))
}

/// Where a post stands among the hot ones, and why.
#[derive(Serialize, ToSchema)]
pub struct PostRank {
    #[schema(example = 42)]
    id: i64,
    /// How many people voted for it.
    #[schema(example = 12, minimum = 0)]
    score: i64,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[schema(example = 10_800, minimum = 0)]
    age_seconds: i64,
    /// The list has the largest first. Ten times the votes add 1, as being written twelve and a half
    /// hours later does.
    #[schema(example = 4837.412)]
    rank: f64,
    /// Its number in the list; null beyond the first 1,000.
    #[schema(example = 7, minimum = 1, maximum = 1000, required)]
    place: Option<i64>,
    /// The post just above it; null where it is the first.
    #[schema(required)]
    above: Option<Neighbour>,
    /// The post just below it; null where it is the last.
    #[schema(required)]
    below: Option<Neighbour>,
}

#[derive(Serialize, ToSchema)]
pub struct Neighbour {
    #[schema(example = 41)]
    id: i64,
    #[schema(example = "A garden in a bottle")]
    title: String,
}

impl PostRank {
    fn of(id: PostId, standing: rank::RankExplanation) -> PostRank {
        let rank::RankExplanation { score, created_at, hot, place, above, below } = standing;
        let neighbour = |post: rank::Neighbour| Neighbour { id: post.id.0, title: post.title };
        PostRank {
            id: id.0,
            score: score.0,
            created_at,
            age_seconds: (OffsetDateTime::now_utc() - created_at).whole_seconds().max(0),
            rank: hot,
            place,
            above: above.map(neighbour),
            below: below.map(neighbour),
        }
    }
}

/// Why a post is where it is
///
/// The numbers behind its rank, its place in `sort=hot`, and the posts around it there.
#[utoipa::path(
    get, path = "/api/v1/posts/{id}/rank", operation_id = "rank", tag = "posts",
    params(("id" = i64, Path, minimum = 1, example = 42)), responses((status = 200, body = PostRank)),
    security((), ("token" = [])),
)]
pub async fn rank(State(pool): State<PgPool>, Path(id): Path<PostId>) -> Result<Json<PostRank>> {
    let standing = rank::db::find(&pool, id).await?.ok_or(Error::NotFound)?;
    Ok(Json(PostRank::of(id, standing)))
}

/// Replaces what I wrote
#[utoipa::path(
    put, path = "/api/v1/posts/{id}", operation_id = "replace", tag = "posts", request_body = NewPost,
    params(("id" = i64, Path, minimum = 1, example = 42)),
    responses(
        (status = 200, body = Post),
        (status = 403, description = "It is another's", body = Problem, content_type = "application/problem+json"),
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
    let draft = post.check()?;
    save(&pool, &throttle, &viewer, id, &draft, None).await
}

/// Changes a part of what I wrote
#[utoipa::path(
    patch, path = "/api/v1/posts/{id}", operation_id = "change", tag = "posts", request_body = PostChange,
    params(("id" = i64, Path, minimum = 1, example = 42)),
    responses(
        (status = 200, body = Post),
        (status = 403, description = "It is another's", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was changed meanwhile", body = Problem, content_type = "application/problem+json"),
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
    let draft = Draft::parse(&title, &url, &body).map_err(Error::Fields)?;
    // What is not given must be what stands there, not what stood there a moment ago.
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
    // The statement alone decides; this tells why it did nothing.
    let post = own(pool, viewer, id).await?;
    if !is_saved {
        return Err(Error::Conflict(
            "The post has been changed meanwhile. Read it, then try again.".into(),
        ));
    }
    Ok((Change::Post(id), Json(Post::of(post, Some(viewer)))))
}

/// The post, if it is the viewer's to change.
async fn own(pool: &PgPool, viewer: &Viewer, id: PostId) -> Result<super::Post> {
    let post = db::find(pool, id, Some(viewer.id)).await?.ok_or(Error::NotFound)?;
    if post.is_by(viewer) {
        return Ok(post);
    }
    Err(Error::Forbidden("Only its author can change this post.".into()))
}

/// Deletes what I wrote, for good
#[utoipa::path(
    delete, path = "/api/v1/posts/{id}", operation_id = "delete", tag = "posts",
    params(("id" = i64, Path, minimum = 1, example = 42)),
    responses(
        (status = 204, description = "It is gone"),
        (status = 403, description = "It is another's", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn delete(
    viewer: Viewer,
    State(pool): State<PgPool>,
    Path(id): Path<PostId>,
) -> Result<(Change, StatusCode)> {
    if !db::delete(&pool, id, viewer.id).await? {
        // The statement alone decides; this only tells why it did nothing.
        own(&pool, &viewer, id).await?;
        return Err(Error::NotFound);
    }
    Ok((Change::Post(id), StatusCode::NO_CONTENT))
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

/// Shows how a text will come out
#[utoipa::path(
    post, path = "/api/v1/posts/preview", operation_id = "preview", tag = "posts", request_body = Text,
    responses((status = 200, body = Rendered)),
)]
pub async fn preview(
    viewer: Viewer,
    State(throttle): State<Throttle>,
    Json(text): Json<Text>,
) -> Result<(Change, Json<Rendered>)> {
    let body =
        Body::parse(&text.body).map_err(|bad| Error::Fields(vec![Field::new("body", &bad)]))?;
    throttle.check(RateLimit::Preview, viewer.id)?;
    Ok((
        Change::Nothing,
        Json(Rendered { body_html: markdown::to_html(body.as_str()).as_str().to_owned() }),
    ))
}
