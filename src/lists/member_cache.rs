//! Lists for who is logged in: read and written out once for all of them, and marked for each with what
//! they voted for.

use std::{collections::HashSet, fmt, sync::Arc};

use askama::Template;
use axum::http::HeaderMap;
use sqlx::PgPool;

use crate::{
    identity::{PostId, UserId},
    lists::view::{List, PostRow, Row},
    votes,
    web::{
        Error, PageContext, Result,
        cache::{Lookup, SingleFlightCache, Topic, Versions},
        filters,
        middleware::replica,
    },
};

/// What all lists together may take, in bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The lists that are kept. A clone is the same. None in it: it could not be read.
#[derive(Clone)]
pub struct MemberLists(SingleFlightCache<Option<Arc<Shared>>>);

struct Shared {
    ids: Vec<PostId>,
    /// Of each post: as who voted for it sees it, and as who did not.
    rows: Vec<[Rendered; 2]>,
    next: Option<String>,
}

/// A part of a page that its template has written, and escaped.
#[derive(Clone)]
pub struct Rendered(Arc<str>);

impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Rendered {}

/// A row as everybody has it who is logged in: nothing in it may say who looks.
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

    /// The list at this address for its viewer. `read` reads it for one, or for nobody in particular, to be
    /// shared. For who has just written it is read anew: another process may have heard of it only.
    pub async fn list(
        &self,
        db: &PgPool,
        context: &PageContext,
        headers: &HeaderMap,
        read: impl AsyncFnOnce(Option<UserId>) -> Result<List>,
    ) -> Result<List> {
        let at = Lookup { address: &context.current_path, is_fragment: false };
        let viewer = context.viewer_id().filter(|_| !replica::has_written(headers, &context.site));
        let entry = viewer.and_then(|_| self.0.entry(at));
        let entry = entry.inspect(|entry| entry.set_topic(Topic::Lists));
        let (Some(viewer), Some(entry)) = (viewer, entry) else {
            return read(context.viewer_id()).await;
        };
        let (mut read, mut own) = (Some(read), None);
        let shared = entry.value.get_or_init(async || {
            let list = read.take()?(None).await;
            let made = list.and_then(|list| Shared::of(list, context)).map(Arc::new);
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
            // Waited for somebody who failed: all who did try at once now, not one after the other.
            (None, None, Some(read)) => return read(Some(viewer)).await,
            (None, None, None) => return Err(Error::Busy),
        };
        let voted = votes::db::among(db, viewer, &shared.ids).await?;
        Ok(shared.marked(&voted))
    }
}

impl Shared {
    fn of(list: List, context: &PageContext) -> Result<Shared> {
        let (mut ids, mut rows) = (Vec::new(), Vec::new());
        for row in list.rows {
            let Row::Read(mut row) = row else { continue };
            ids.push(row.post.id);
            let mut render = |voted| {
                row.post.voted = voted;
                let html = MemberRow { context, row: &row }.render().map_err(Error::internal)?;
                Ok::<_, Error>(Rendered(html.into()))
            };
            rows.push([render(true)?, render(false)?]);
        }
        Ok(Shared { ids, rows, next: list.next })
    }

    fn size(&self) -> usize {
        self.rows.iter().flatten().map(|row| row.0.len() + 32).sum()
    }

    fn marked(&self, voted: &HashSet<PostId>) -> List {
        let mark = |(id, [up, flat]): (&PostId, &[Rendered; 2])| {
            Row::Rendered(if voted.contains(id) { up } else { flat }.clone())
        };
        List { rows: self.ids.iter().zip(&self.rows).map(mark).collect(), next: self.next.clone() }
    }
}
