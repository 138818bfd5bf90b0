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
use utoipa::{IntoParams, ToSchema};

use super::{
    Body, Draft, Key, Link, PostId, Score, Slice, Title, Version, db,
    db::Publication,
    markdown,
    ranking::{After, Hot, Period, Rank, Written},
    standing,
};
use crate::{
    search,
    users::{self, UserId, Username, Viewer},
    web::{
        Error, Result,
        client::ClientNet,
        error::Field,
        extract::{Path, Query, number},
        json::Json,
        problem::Problem,
        reader::Reader,
        throttle::{Act, Throttle},
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
    fn of(post: super::Post, viewer: Option<&Viewer>) -> Post {
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

#[derive(Serialize, ToSchema)]
pub struct PostPage {
    posts: Vec<Post>,
    /// Give it as `after` for the next page; null on the last.
    #[schema(required)]
    next: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    #[default]
    New,
    Hot,
    Top,
}

impl Sort {
    fn word(self) -> &'static str {
        match self {
            Sort::New => "new",
            Sort::Hot => "hot",
            Sort::Top => "top",
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// How many at most.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100, default = 10)]
    limit: Option<String>,
    /// How many to pass over. `after` is the better way: it neither repeats nor slows down.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 10_000, default = 0)]
    skip: Option<String>,
    /// Only posts with these words in title or text; 2 to 200 characters, or one that is a word of its
    /// own, as 雨 is. `hot` is then by relevance.
    #[param(min_length = 1, max_length = 200, pattern = "..|[^\\x00-\\x7f]", example = "garden")]
    search: Option<String>,
    /// `new`: the newest first. `hot`: votes against age. `top`: most votes first.
    #[serde(default)]
    #[param(inline, value_type = Sort, required = false)]
    sort: Sort,
    /// Only posts of this person.
    #[param(example = "ada")]
    author: Option<String>,
    /// `next` of the page before, with the other parameters as they were.
    #[param(min_length = 28, max_length = 1000, pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
}

/// Posts
#[utoipa::path(
    get, path = "/api/v1/posts", operation_id = "posts", tag = "posts", params(Listing),
    responses((status = 200, body = PostPage)),
    security((), ("token" = [])),
)]
pub async fn index(
    viewer: Option<Viewer>,
    client: ClientNet,
    Reader(pool): Reader,
    State(throttle): State<Throttle>,
    Query(listing): Query<Listing>,
) -> Result<Json<PostPage>> {
    let limit = number("limit", listing.limit.as_deref(), 10, 1, 100)?;
    let skip = number("skip", listing.skip.as_deref(), 0, 0, 10_000)?;
    let author = match &listing.author {
        None => None,
        // Who does not exist has written nothing; what else is asked for has to hold all the same.
        Some(name) => Some(author(&pool, name).await?.unwrap_or(NOBODY)),
    };
    let me = viewer.as_ref().map(|viewer| viewer.id);
    let slice = Slice { limit: limit + 1, skip };
    let by = author.map_or(0, |author| author.0);
    let after = listing.after.as_deref();

    let (ids, next) = if let Some(words) =
        listing.search.as_deref().filter(|words| !words.is_empty())
    {
        let words = search::Words::parse(words)
            .map_err(|bad| Error::Fields(vec![Field::new("search", &bad)]))?;
        match me {
            Some(me) => throttle.take(Act::Search, me)?,
            None => throttle.take(Act::Search, client)?,
        }
        let sort = match listing.sort {
            Sort::New => search::Sort::New,
            Sort::Hot => search::Sort::Relevance,
            Sort::Top => search::Sort::Top,
        };
        let list = format!("api search {} {by} {}", sort.word(), words.as_str());
        let after = After::<Hot>::decode(&list, after)?;
        let found = search::db::matches(&pool, &words, sort, author, after.as_ref(), slice).await?;
        page(found, &list, after.as_ref(), limit)
    } else {
        let list = format!("api {} {by}", listing.sort.word());
        match listing.sort {
            Sort::New => {
                let after = After::<Written>::decode(&list, after)?;
                let posts = match author {
                    Some(author) => db::by_author(&pool, me, author, after.as_ref(), slice).await?,
                    None => db::newest(&pool, me, after.as_ref(), slice).await?,
                };
                page(places(&posts), &list, after.as_ref(), limit)
            }
            Sort::Hot => {
                let after = After::<Hot>::decode(&list, after)?;
                let posts = match author {
                    Some(author) => {
                        db::hot_by_author(&pool, me, author, after.as_ref(), slice).await?
                    }
                    None => db::hot(&pool, me, after.as_ref(), slice).await?,
                };
                page(places(&posts), &list, after.as_ref(), limit)
            }
            Sort::Top => {
                let after = After::<Score>::decode(&list, after)?;
                let posts = match author {
                    Some(author) => {
                        db::top_by_author(&pool, me, author, after.as_ref(), slice).await?
                    }
                    None => db::top(&pool, me, Period::All, after.as_ref(), slice).await?,
                };
                page(places(&posts), &list, after.as_ref(), limit)
            }
        }
    };
    let posts = db::find_all(&pool, &ids, me).await?;
    let posts = posts.into_iter().map(|post| Post::of(post, viewer.as_ref())).collect();
    Ok(Json(PostPage { posts, next }))
}

/// An id that no author has.
const NOBODY: UserId = UserId(-1);

async fn author(pool: &PgPool, name: &str) -> Result<Option<UserId>> {
    let Ok(username) = Username::parse(name) else { return Ok(None) };
    Ok(users::db::find(pool, &username).await?.map(|person| person.id))
}

fn places<R: Rank>(posts: &[super::Listed]) -> Vec<After<R>> {
    posts.iter().map(After::post).collect()
}

/// The ids of a page, and the cursor to the next.
fn page<R: Rank>(
    mut posts: Vec<After<R>>,
    list: &str,
    after: Option<&After<R>>,
    limit: i64,
) -> (Vec<PostId>, Option<String>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_full = posts.len() > limit;
    posts.truncate(limit);
    let ids = posts.iter().map(|post| post.id).collect();
    let next = posts.pop().filter(|_| is_full).map(|last| last.encode(list, after));
    (ids, next)
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

/// The fields as an author gives them, or what is wrong with each.
fn check(title: &str, url: &str, body: &str) -> Result<Draft> {
    match (Title::parse(title), Link::parse(url), Body::parse(body)) {
        (Ok(title), Ok(link), Ok(body)) => Ok(Draft { title, link, body }),
        (title, url, body) => {
            let problems = [
                title.err().map(|bad| Field::new("title", &bad)),
                url.err().map(|bad| Field::new("url", &bad)),
                body.err().map(|bad| Field::new("body", &bad)),
            ];
            Err(Error::Fields(problems.into_iter().flatten().collect()))
        }
    }
}

impl NewPost {
    fn check(&self) -> Result<Draft> {
        let (url, body) = (self.url.as_deref(), self.body.as_deref());
        check(&self.title, url.unwrap_or_default(), body.unwrap_or_default())
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
    throttle.take(Act::Write, viewer.id)?;
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
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], post).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Key>> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let fits = key.to_str().is_ok_and(|key| {
        (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if !fits || keys.next().is_some() {
        let problem = "An Idempotency-Key is one value of 1 to 255 visible ASCII characters.";
        return Err(Error::BadRequest(problem.into()));
    }
    Ok(Some(Key::of(key.as_bytes())))
}

/// A post
#[utoipa::path(
    get, path = "/api/v1/posts/{id}", operation_id = "post", tag = "posts",
    params(("id" = i64, Path, minimum = 1, example = 42)), responses((status = 200, body = Post)),
    security((), ("token" = [])),
)]
pub async fn show(
    viewer: Option<Viewer>,
    Reader(pool): Reader,
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
    fn of(id: PostId, standing: standing::Standing) -> PostRank {
        let standing::Standing { score, created_at, hot, place, above, below } = standing;
        let neighbour = |post: standing::Neighbour| Neighbour { id: post.id.0, title: post.title };
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
    let standing = standing::db::find(&pool, id).await?.ok_or(Error::NotFound)?;
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
) -> Result<Json<Post>> {
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
) -> Result<Json<Post>> {
    let post = own(&pool, &viewer, id).await?;
    let version = post.version();
    let url = match change.url {
        Some(url) => url.unwrap_or_default(),
        None => post.link.map(|link| link.as_str().to_owned()).unwrap_or_default(),
    };
    let draft =
        check(&change.title.unwrap_or(post.title), &url, &change.body.unwrap_or(post.body))?;
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
) -> Result<Json<Post>> {
    throttle.take(Act::Write, viewer.id)?;
    let is_saved = db::edit(pool, id, viewer.id, draft, version).await?;
    // The statement alone decides; this tells why it did nothing.
    let post = own(pool, viewer, id).await?;
    if !is_saved {
        return Err(Error::Conflict(
            "The post has been changed meanwhile. Read it, then try again.".into(),
        ));
    }
    Ok(Json(Post::of(post, Some(viewer))))
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
) -> Result<StatusCode> {
    if !db::delete(&pool, id, viewer.id).await? {
        // The statement alone decides; this only tells why it did nothing.
        own(&pool, &viewer, id).await?;
        return Err(Error::NotFound);
    }
    Ok(StatusCode::NO_CONTENT)
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
) -> Result<Json<Rendered>> {
    let body =
        Body::parse(&text.body).map_err(|bad| Error::Fields(vec![Field::new("body", &bad)]))?;
    throttle.take(Act::Preview, viewer.id)?;
    Ok(Json(Rendered { body_html: markdown::to_html(body.as_str()).as_str().to_owned() }))
}
