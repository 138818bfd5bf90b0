//! Posts as people see them: lists, the page of one post, and the forms of its author.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use super::{
    Listed, Post, PostId, Score, Slice, db,
    ranking::{After, Hot, Order, Period, Rank, Written},
    shared::{Rendered, SharedLists},
    standing::{self, Standing},
};
use crate::{
    search::Marks,
    users::{UserId, Viewer},
    web::{
        Error, Page, Result, Shell,
        extract::{Path, Query},
        filters,
        htmx::wants_fragment,
        reader::Reader,
    },
};

/// A page of posts, and the way to the next.
pub struct List {
    pub rows: Vec<Row>,
    /// The address of the next page; none on the last.
    pub older: Option<String>,
}

pub enum Row {
    Found(Box<Found>),
    /// Written out already, for many.
    Rendered(Rendered),
}

/// A post as it was read for a list.
pub struct Found {
    pub post: Listed,
    /// Where a search found its words.
    pub marks: Option<Marks>,
}

impl List {
    /// Keeps a page of `posts` from `after` on, of which there is one more where the list goes on;
    /// `address` makes the next page's address from the cursor after the last one kept.
    pub fn new<R: Rank>(
        mut posts: Vec<Listed>,
        list: &str,
        after: Option<&After<R>>,
        address: impl Fn(String) -> String,
    ) -> List {
        let page = usize::try_from(db::PER_PAGE).unwrap_or(usize::MAX);
        let is_full = posts.len() > page;
        posts.truncate(page);
        let end = posts.last().filter(|_| is_full);
        let older = end.map(|end| address(After::post(end).encode(list, after)));
        let rows = posts
            .into_iter()
            .map(|post| Row::Found(Box::new(Found { post, marks: None })))
            .collect();
        List { rows, older }
    }
}

/// The next rows, for htmx to append, and the link to those after them.
#[derive(Template)]
#[template(path = "posts/_older.html")]
pub struct Older {
    pub shell: Shell,
    pub list: List,
}

#[derive(Template)]
#[template(path = "posts/feed.html")]
struct Feed {
    shell: Shell,
    order: Order,
    list: List,
    is_continued: bool,
}

#[derive(Deserialize)]
pub struct Paged {
    after: Option<String>,
}

pub async fn hot(
    shell: Shell,
    Reader(db): Reader,
    State(lists): State<SharedLists>,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    let after = After::<Hot>::decode("hot", query.after.as_deref())?;
    let read = async |viewer| {
        let posts = db::hot(&db, viewer, after.as_ref(), Slice::PAGE).await?;
        let address = |cursor| format!("/?after={cursor}");
        Ok(List::new(posts, "hot", after.as_ref(), address))
    };
    let list = lists.list(&db, &shell, &headers, read).await?;
    Ok(feed(shell, Order::Hot, list, after.is_some(), &headers))
}

pub async fn newest(
    shell: Shell,
    Reader(db): Reader,
    State(lists): State<SharedLists>,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    let after = After::<Written>::decode("new", query.after.as_deref())?;
    let read = async |viewer| {
        let posts = db::newest(&db, viewer, after.as_ref(), Slice::PAGE).await?;
        let address = |cursor| format!("/new?after={cursor}");
        Ok(List::new(posts, "new", after.as_ref(), address))
    };
    let list = lists.list(&db, &shell, &headers, read).await?;
    Ok(feed(shell, Order::New, list, after.is_some(), &headers))
}

#[derive(Deserialize)]
pub struct TopQuery {
    #[serde(default)]
    t: Period,
    after: Option<String>,
}

pub async fn top(
    shell: Shell,
    Reader(db): Reader,
    State(lists): State<SharedLists>,
    Query(query): Query<TopQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let name = format!("top {}", query.t.word());
    let after = After::<Score>::decode(&name, query.after.as_deref())?;
    let read = async |viewer| {
        let posts = db::top(&db, viewer, query.t, after.as_ref(), Slice::PAGE).await?;
        let address = |cursor| format!("/top?t={}&after={cursor}", query.t.word());
        Ok(List::new(posts, &name, after.as_ref(), address))
    };
    let list = lists.list(&db, &shell, &headers, read).await?;
    Ok(feed(shell, Order::Top(query.t), list, after.is_some(), &headers))
}

fn feed(
    shell: Shell,
    order: Order,
    list: List,
    is_continued: bool,
    headers: &HeaderMap,
) -> Response {
    if wants_fragment(headers) {
        return Page(Older { shell, list }).into_response();
    }
    Page(Feed { shell, order, list, is_continued }).into_response()
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
    let after = After::<Written>::decode(&name, after)?;
    let posts = db::by_author(db, viewer, author, after.as_ref(), Slice::PAGE).await?;
    Ok(List::new(posts, &name, after.as_ref(), address))
}

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
    shell: Shell,
    post: Post,
    standing: Standing,
    description: String,
    is_own: bool,
}

pub async fn show(
    shell: Shell,
    Reader(db): Reader,
    Path(id): Path<PostId>,
) -> Result<Page<impl Template>> {
    let post = db::find(&db, id, shell.viewer_id()).await?.ok_or(Error::NotFound)?;
    let standing = standing::db::find(&db, id).await?.ok_or(Error::NotFound)?;
    let is_own = shell.viewer.as_ref().is_some_and(|viewer| post.is_by(viewer));
    let description = match super::markdown::excerpt(&post.body, 160) {
        text if text.is_empty() => post.title.clone(),
        text => text,
    };
    Ok(Page(Show { shell, post, standing, description, is_own }))
}

/// The post, if it is the viewer's to change.
pub(super) async fn own(db: &PgPool, viewer: &Viewer, id: PostId) -> Result<Post> {
    let post = db::find(db, id, None).await?.ok_or(Error::NotFound)?;
    if post.is_by(viewer) { Ok(post) } else { Err(not_yours()) }
}

fn not_yours() -> Error {
    Error::Forbidden("Only its author can change this post.".into())
}

#[derive(Template)]
#[template(path = "posts/delete.html")]
struct Delete {
    shell: Shell,
    post: Post,
}

pub async fn confirm_delete(
    viewer: Viewer,
    shell: Shell,
    State(db): State<PgPool>,
    Path(id): Path<PostId>,
) -> Result<Page<impl Template>> {
    let post = own(&db, &viewer, id).await?;
    Ok(Page(Delete { shell, post }))
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
        return Ok(crate::web::flash::Flash::Deleted.on(crate::web::page::see_other("/")));
    }
    // The statement alone decides; this only tells why it did nothing.
    own(&db, &viewer, id).await?;
    Err(Error::NotFound)
}

/// A page with a status of its own.
pub(super) fn with_status(status: StatusCode, page: impl Template) -> Response {
    (status, Page(page)).into_response()
}
