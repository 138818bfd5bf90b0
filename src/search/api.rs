//! The API's list of posts, with or without a search.

#![allow(unused_qualifications, reason = "utoipa names what it is given in full")]

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};

use crate::{
    identity::{PostId, UserId, Username, Viewer},
    lists::{self, Listing, Order, Period, Scope, Start},
    posts::{self, api::Post},
    search::{self, Words, db},
    users,
    web::{
        Error, Result,
        client::ClientNet,
        error::Field,
        extract::{Query, number},
        json::Json,
        list::{ListPage, Window},
        middleware::replica::ReadPool,
        throttle::{RateLimit, Throttle},
    },
};

#[derive(Serialize, ToSchema)]
pub struct PostPage {
    posts: Vec<Post>,
    /// The value of `after` for the next page; null on the last.
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
    fn as_str(self) -> &'static str {
        match self {
            Sort::New => "new",
            Sort::Hot => "hot",
            Sort::Top => "top",
        }
    }

    /// The order of a list.
    fn order(self) -> Order {
        match self {
            Sort::New => Order::New,
            Sort::Hot => Order::Hot,
            Sort::Top => Order::Top(Period::All),
        }
    }

    /// The order of search results.
    fn search(self) -> search::Sort {
        match self {
            Sort::New => search::Sort::New,
            Sort::Hot => search::Sort::Relevance,
            Sort::Top => search::Sort::Top,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PostsQuery {
    /// How many at most. A page whose texts are more than half a megabyte ends earlier, with `next`.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100, default = 10)]
    limit: Option<String>,
    /// How many to skip. Prefer `after`, which repeats no post and stays fast.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 10_000, default = 0)]
    skip: Option<String>,
    /// Only posts with these words in title or text; 2 to 200 characters, or a single one that is a word,
    /// such as 雨. `hot` then means by relevance.
    #[param(min_length = 1, max_length = 200, pattern = "..|[^\\x00-\\x7f]", example = "garden")]
    search: Option<String>,
    /// `new`: the newest first. `hot`: votes against age. `top`: most votes first.
    #[serde(default)]
    #[param(inline, value_type = Sort, required = false)]
    sort: Sort,
    /// Only posts of this user.
    #[param(example = "ada")]
    author: Option<String>,
    /// `next` of the previous page, with the other parameters unchanged.
    #[param(min_length = 28, max_length = 1000, pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
}

/// List posts
#[utoipa::path(
    get, path = "/api/v1/posts", operation_id = "posts", tag = "posts", params(PostsQuery),
    responses((status = 200, body = PostPage)),
    security((), ("token" = [])),
)]
pub async fn index(
    viewer: Option<Viewer>,
    client: ClientNet,
    ReadPool(pool): ReadPool,
    State(throttle): State<Throttle>,
    Query(query): Query<PostsQuery>,
) -> Result<Json<PostPage>> {
    let limit = number("limit", query.limit.as_deref(), 10, 1, 100)?;
    let skip = number("skip", query.skip.as_deref(), 0, 0, 10_000)?;
    let author = match &query.author {
        None => None,
        // An unknown author has no posts; the other parameters are checked all the same.
        Some(name) => Some(author(&pool, name).await?.unwrap_or(NOBODY)),
    };
    let me = viewer.as_ref().map(|viewer| viewer.id);
    let window = Window { limit, skip, bytes: TEXTS };
    let after = query.after.as_deref();

    let (ids, next) = match query.search.as_deref().filter(|words| !words.is_empty()) {
        Some(words) => {
            let words = Words::parse(words)
                .map_err(|bad| Error::Fields(vec![Field::new("search", &bad)]))?;
            match me {
                Some(me) => throttle.check(RateLimit::Search, me)?,
                None => throttle.check(RateLimit::Search, client)?,
            }
            search(&pool, &words, query.sort, author, after, window).await?
        }
        None => list(&pool, me, query.sort, author, after, window).await?,
    };
    let posts = posts::db::find_all(&pool, &ids, me).await?;
    let posts = posts.into_iter().map(|post| Post::new(post, viewer.as_ref())).collect();
    Ok(Json(PostPage { posts, next }))
}

/// The ids of a page of a list, and the cursor of the next.
async fn list(
    pool: &PgPool,
    viewer: Option<UserId>,
    sort: Sort,
    author: Option<UserId>,
    after: Option<&str>,
    window: Window,
) -> Result<(Vec<PostId>, Option<String>)> {
    let listing = Listing { order: sort.order(), scope: author.map_or(Scope::All, Scope::Author) };
    let name = format!("api {} {}", sort.as_str(), author_key(author));
    let start = Start { list: &name, after };
    let page = lists::page(pool, viewer, listing, start, window).await?;
    Ok((page.rows.iter().map(|post| post.id).collect(), page.next))
}

/// The same for a search.
async fn search(
    pool: &PgPool,
    words: &Words,
    sort: Sort,
    author: Option<UserId>,
    after: Option<&str>,
    window: Window,
) -> Result<(Vec<PostId>, Option<String>)> {
    let sort = sort.search();
    let name = format!("api search {} {} {}", sort.as_str(), author_key(author), words.as_str());
    let after = sort.cursor(&name, after)?;
    let found = db::matches(pool, words, sort, author, after.as_ref(), window).await?;
    let window = window.fitting(found.iter().map(|found| found.text_bytes));
    let page = ListPage::new(found, window, |last| last.cursor().encode(&name, after.as_ref()));
    Ok((page.rows.iter().map(|found| found.post).collect(), page.next))
}

/// The author's part in the name of a list.
fn author_key(author: Option<UserId>) -> i64 {
    author.map_or(0, |author| author.0)
}

/// What the texts of one page may have together, in bytes.
const TEXTS: i64 = 512 * 1024;

/// An id that no user has.
const NOBODY: UserId = UserId(-1);

async fn author(pool: &PgPool, name: &str) -> Result<Option<UserId>> {
    let Ok(username) = Username::parse(name) else { return Ok(None) };
    Ok(users::db::find(pool, &username).await?.map(|person| person.id))
}
