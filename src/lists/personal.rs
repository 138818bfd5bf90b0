//! What a viewer adds to the rows of a list: the marks that differ from reader to reader.
//!
//! A further mark needs a number here, a query in [`load`], and a place in a template that writes it with
//! [`Mark::choose`].

use sqlx::PgPool;

use crate::{
    identity::{PostId, UserId},
    lists::PostSummary,
    votes,
    web::personal::{Mark, Marks},
};

const VOTED: u8 = 0;

/// The marks of a row, as its template takes them.
#[derive(Debug, Clone, Copy)]
pub struct RowMarks {
    /// Whether the viewer voted for the post.
    pub voted: Mark,
}

impl RowMarks {
    /// For a row that is shared, and filled in for each viewer.
    pub const OPEN: RowMarks = RowMarks { voted: Mark::Open(VOTED) };

    /// For a row that was read for one viewer.
    pub fn from_post(post: &PostSummary) -> RowMarks {
        RowMarks { voted: post.voted.into() }
    }
}

/// The viewer's marks on these posts, in the same order.
pub async fn load(db: &PgPool, viewer: UserId, posts: &[PostId]) -> sqlx::Result<Vec<Marks>> {
    let voted = votes::db::among(db, viewer, posts).await?;
    let marks = posts.iter().map(|post| Marks::default().with(VOTED, voted.contains(post)));
    Ok(marks.collect())
}
