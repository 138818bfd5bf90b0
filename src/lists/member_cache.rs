//! Lists for members: read and rendered once for all of them, then filled with each member's marks.

use std::sync::Arc;

use askama::Template;
use axum::http::HeaderMap;
use sqlx::PgPool;
use tokio::sync::OnceCell;

use crate::{
    identity::{PostId, UserId},
    lists::{
        personal::{self, RowMarks},
        view::{List, PostRow, Row},
    },
    web::{
        Error, PageContext, Result,
        cache::{Lookup, SingleFlightCache, Topic, Versions},
        filters,
        middleware::replica,
        personal::{Marks, SharedHtml},
    },
};

/// What all lists together may take, in bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The cached lists. A clone shares them. `None` in the cache is a list that could not be read.
#[derive(Clone)]
pub struct MemberLists(SingleFlightCache<OnceCell<Option<Arc<SharedList>>>>);

struct SharedList {
    posts: Vec<PostId>,
    /// One for each post.
    rows: Vec<Arc<SharedHtml>>,
    next: Option<String>,
}

/// A row as every member gets it: nothing in it but an open mark may depend on the viewer.
#[derive(Template)]
#[template(path = "lists/_row.html")]
struct MemberRow<'a> {
    context: &'a PageContext,
    row: &'a PostRow,
}

impl MemberLists {
    pub fn new(versions: &Versions) -> MemberLists {
        MemberLists(SingleFlightCache::new(versions, MAX_BYTES))
    }

    /// The list at this address for its viewer. `read` reads it for one viewer, or for nobody, to be shared.
    /// A viewer who has just written gets a list of their own, because another process may not have received
    /// the write yet.
    pub async fn list(
        &self,
        db: &PgPool,
        context: &PageContext,
        headers: &HeaderMap,
        read: impl AsyncFnOnce(Option<UserId>) -> Result<List>,
    ) -> Result<List> {
        let at = Lookup { address: &context.current_path, is_fragment: false };
        let viewer = context.viewer_id().filter(|_| !replica::has_written(headers, &context.site));
        let entry = viewer.and_then(|_| self.0.entry(at, |_| OnceCell::new()));
        let entry = entry.inspect(|entry| entry.set_topic(Topic::Lists));
        let (Some(viewer), Some(entry)) = (viewer, entry) else {
            return read(context.viewer_id()).await;
        };
        let (mut read, mut own) = (Some(read), None);
        let shared = entry.value.get_or_init(async || {
            let list = read.take()?(None).await;
            let made = list.and_then(|list| SharedList::render(list, context)).map(Arc::new);
            own.insert(made).as_ref().ok().cloned()
        });
        let shared = shared.await.clone();
        let shared = match (own, shared, read) {
            (Some(Ok(shared)), ..) => {
                self.0.put(at.own(), entry, shared.size());
                shared
            }
            (Some(Err(err)), ..) => {
                self.0.remove(&at.own(), &entry);
                return Err(err);
            }
            (None, Some(shared), _) => shared,
            // The request that this one waited for failed. All that waited read the list now, at once and
            // not one after the other.
            (None, None, Some(read)) => return read(Some(viewer)).await,
            (None, None, None) => return Err(Error::Busy),
        };
        let marks = personal::load(db, viewer, &shared.posts).await?;
        Ok(shared.fill(&marks))
    }
}

impl SharedList {
    fn render(list: List, context: &PageContext) -> Result<SharedList> {
        let (mut posts, mut rows) = (Vec::new(), Vec::new());
        for row in list.rows {
            let Row::Read(mut row) = row else { continue };
            row.marks = RowMarks::OPEN;
            let html = MemberRow { context, row: &row }.render().map_err(Error::internal)?;
            posts.push(row.post.id);
            rows.push(Arc::new(SharedHtml::parse(&html)));
        }
        Ok(SharedList { posts, rows, next: list.next })
    }

    fn size(&self) -> usize {
        self.rows.iter().map(|row| row.size()).sum()
    }

    /// The list for a viewer with these marks on its posts.
    fn fill(&self, marks: &[Marks]) -> List {
        let rows = self.rows.iter().zip(marks).map(|(row, marks)| Row::Shared(row.fill(*marks)));
        List { rows: rows.collect(), next: self.next.clone() }
    }
}
