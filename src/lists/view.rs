//! A page of posts as templates show it.

use askama::Template;

use crate::{
    lists::{
        PER_PAGE, PostSummary,
        highlight::Highlights,
        member_cache::Rendered,
        ranking::{PageCursor, Rank},
    },
    web::{PageContext, filters},
};

/// A page of posts, and the way to the next.
pub struct List {
    pub rows: Vec<Row>,
    /// The address of the next page; none on the last.
    pub next: Option<String>,
}

pub enum Row {
    Read(Box<PostRow>),
    /// CreatedAt out already, for many.
    Rendered(Rendered),
}

/// A post as it was read for a list.
pub struct PostRow {
    pub post: PostSummary,
    /// Where a search found its words.
    pub marks: Option<Highlights>,
}

impl List {
    /// Keeps a page of `posts` from `after` on, of which there is one more where the list goes on;
    /// `address` makes the next page's address from the cursor after the last one kept.
    pub fn new<R: Rank>(
        mut posts: Vec<PostSummary>,
        list: &str,
        after: Option<&PageCursor<R>>,
        address: impl Fn(String) -> String,
    ) -> List {
        let page = usize::try_from(PER_PAGE).unwrap_or(usize::MAX);
        let is_full = posts.len() > page;
        posts.truncate(page);
        let end = posts.last().filter(|_| is_full);
        let next = end.map(|end| address(PageCursor::post(end).encode(list, after)));
        let rows = posts
            .into_iter()
            .map(|post| Row::Read(Box::new(PostRow { post, marks: None })))
            .collect();
        List { rows, next }
    }
}

/// The next rows, for htmx to append, and the link to those after them.
#[derive(Template)]
#[template(path = "lists/_next_page.html")]
pub struct NextPage {
    pub context: PageContext,
    pub list: List,
}
