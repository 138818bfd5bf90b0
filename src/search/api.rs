//! The API's list of posts, with or without a search.

#![allow(unused_qualifications, reason = "utoipa names what it is given in full")]

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};

use crate::{
    identity::{PostId, UserId, Username, Viewer},
    lists::{
        PostSummary, Window, db,
        ranking::{CreatedAt, Hot, PageCursor, Period, Rank},
    },
    posts::{self, api::Post},
    score::Score,
    search, users,
    web::{
        Error, Result,
        client::ClientNet,
        error::Field,
        extract::{Query, number},
        json::Json,
        middleware::replica::ReadPool,
        throttle::{RateLimit, Throttle},
    },
};

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
    ReadPool(pool): ReadPool,
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
    let window = Window { limit: limit + 1, skip };
    let by = author.map_or(0, |author| author.0);
    let after = listing.after.as_deref();

    let (ids, next) =
        if let Some(words) = listing.search.as_deref().filter(|words| !words.is_empty()) {
            let words = search::Words::parse(words)
                .map_err(|bad| Error::Fields(vec![Field::new("search", &bad)]))?;
            match me {
                Some(me) => throttle.check(RateLimit::Search, me)?,
                None => throttle.check(RateLimit::Search, client)?,
            }
            let sort = match listing.sort {
                Sort::New => search::Sort::New,
                Sort::Hot => search::Sort::Relevance,
                Sort::Top => search::Sort::Top,
            };
            let list = format!("api search {} {by} {}", sort.word(), words.as_str());
            let after = PageCursor::<Hot>::decode(&list, after)?;
            let found =
                search::db::matches(&pool, &words, sort, author, after.as_ref(), window).await?;
            page(found, &list, after.as_ref(), limit)
        } else {
            let list = format!("api {} {by}", listing.sort.word());
            match listing.sort {
                Sort::New => {
                    let after = PageCursor::<CreatedAt>::decode(&list, after)?;
                    let posts = match author {
                        Some(author) => {
                            db::by_author(&pool, me, author, after.as_ref(), window).await?
                        }
                        None => db::newest(&pool, me, after.as_ref(), window).await?,
                    };
                    page(places(&posts), &list, after.as_ref(), limit)
                }
                Sort::Hot => {
                    let after = PageCursor::<Hot>::decode(&list, after)?;
                    let posts = match author {
                        Some(author) => {
                            db::hot_by_author(&pool, me, author, after.as_ref(), window).await?
                        }
                        None => db::hot(&pool, me, after.as_ref(), window).await?,
                    };
                    page(places(&posts), &list, after.as_ref(), limit)
                }
                Sort::Top => {
                    let after = PageCursor::<Score>::decode(&list, after)?;
                    let posts = match author {
                        Some(author) => {
                            db::top_by_author(&pool, me, author, after.as_ref(), window).await?
                        }
                        None => db::top(&pool, me, Period::All, after.as_ref(), window).await?,
                    };
                    page(places(&posts), &list, after.as_ref(), limit)
                }
            }
        };
    let posts = posts::db::find_all(&pool, &ids, me).await?;
    let posts = posts.into_iter().map(|post| Post::of(post, viewer.as_ref())).collect();
    Ok(Json(PostPage { posts, next }))
}

/// An id that no author has.
const NOBODY: UserId = UserId(-1);

async fn author(pool: &PgPool, name: &str) -> Result<Option<UserId>> {
    let Ok(username) = Username::parse(name) else { return Ok(None) };
    Ok(users::db::find(pool, &username).await?.map(|person| person.id))
}

fn places<R: Rank>(posts: &[PostSummary]) -> Vec<PageCursor<R>> {
    posts.iter().map(PageCursor::post).collect()
}

/// The ids of a page, and the cursor to the next.
fn page<R: Rank>(
    mut posts: Vec<PageCursor<R>>,
    list: &str,
    after: Option<&PageCursor<R>>,
    limit: i64,
) -> (Vec<PostId>, Option<String>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_full = posts.len() > limit;
    posts.truncate(limit);
    let ids = posts.iter().map(|post| post.id).collect();
    let next = posts.pop().filter(|_| is_full).map(|last| last.encode(list, after));
    (ids, next)
}
