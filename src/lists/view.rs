//! A page of posts as templates show it.

use askama::Template;

use crate::{
    lists::{PostSummary, highlight::Highlights, personal::RowMarks},
    web::{PageContext, filters, list::ListPage, personal::FilledHtml},
};

/// A page of posts, and the address of the next.
pub struct List {
    pub rows: Vec<Row>,
    /// The address of the next page; `None` on the last.
    pub next: Option<String>,
}

pub enum Row {
    Read(Box<PostRow>),
    /// Rendered before, for all members, and filled with one member's marks.
    Shared(FilledHtml),
}

/// A post as it was read for a list.
pub struct PostRow {
    pub post: PostSummary,
    pub marks: RowMarks,
    /// Where a search found its words.
    pub highlights: Option<Highlights>,
}

impl Row {
    /// A row for the viewer for whom `post` was read.
    pub fn new(post: PostSummary, highlights: Option<Highlights>) -> Row {
        let marks = RowMarks::from_post(&post);
        Row::Read(Box::new(PostRow { post, marks, highlights }))
    }
}

impl List {
    /// The rows of a page; `address` makes the address of the next page from its cursor.
    pub fn new(page: ListPage<PostSummary>, address: impl FnOnce(&str) -> String) -> List {
        let rows = page.rows.into_iter().map(|post| Row::new(post, None));
        List { rows: rows.collect(), next: page.next.as_deref().map(address) }
    }
}

/// The next rows, for htmx to append, and the link to the page after them.
#[derive(Template)]
#[template(path = "lists/_next_page.html")]
pub struct NextPage {
    pub context: PageContext,
    pub list: List,
}
