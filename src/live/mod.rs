//! Changes on the site, as they reach every process and every open page.
//!
//! The handler of every unsafe method puts a [`Change`] into its response, and [`publish_changes`]
//! publishes it after success. It invalidates the cached pages that show it: here at once, in the
//! other processes through Postgres' `NOTIFY` ([`bus`]). A moment later every open page receives the
//! post's new state ([`pages`]). A lost notification loses nothing: pages are cached for a second
//! at most, and the next change sends the newest state.

mod bus;
pub mod db;
pub mod pages;
mod streams;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponseParts, Response, ResponseParts},
};
use tokio::sync::Notify;

pub use bus::run;
use streams::Streams;

use crate::{identity::PostId, server::Shutdown, web::cache::Versions};

/// What a request has changed of what others see. The handler of every unsafe method says it in its
/// response: `(Change::Post(id), Json(...))`, or `Change::Post(id).on(response)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing that anybody else sees.
    Nothing,
    /// More than can be named, such as everything a deleted account wrote and voted for.
    All,
    /// Something that lists show and no post's page does, such as a new member.
    Lists,
    /// A post's votes.
    Post(PostId),
    /// Text that people could read is gone: the post was edited or deleted.
    Removed(PostId),
    /// A new post.
    New(PostId),
}

impl Change {
    /// Adds the change to a response that is built already.
    pub fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponseParts for Change {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// The hub of all changes in this process. A clone is the same hub.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    /// Names this process among those that share the database.
    origin: String,
    versions: Versions,
    /// Changes that the other processes have not received yet.
    outbox: Mutex<BTreeSet<Change>>,
    outbox_filled: Notify,
    /// Posts whose new state open pages have not received yet.
    touched: Mutex<BTreeSet<PostId>>,
    pages_outdated: Notify,
    streams: Streams,
    /// Ends all streams: each client reconnects to another process.
    shutdown: Shutdown,
}

impl Live {
    /// Invalidates in `versions` what changes here and in other processes. Streams end when a shutdown
    /// is requested, and each client has a bounded number of them where `is_limited`.
    pub fn new(versions: Versions, shutdown: Shutdown, is_limited: bool) -> Live {
        Live(Arc::new(Inner {
            origin: uuid::Uuid::new_v4().simple().to_string(),
            versions,
            outbox: Mutex::default(),
            outbox_filled: Notify::new(),
            touched: Mutex::default(),
            pages_outdated: Notify::new(),
            streams: Streams::new(is_limited),
            shutdown,
        }))
    }

    /// Publishes a change that is committed, here and in the other processes.
    pub fn publish(&self, change: Change) {
        if change == Change::Nothing {
            return;
        }
        self.apply(change);
        lock(&self.0.outbox).insert(change);
        self.0.outbox_filled.notify_one();
    }

    /// Applies a change in this process, wherever it was made.
    fn apply(&self, change: Change) {
        let Inner { versions, touched, pages_outdated, streams, .. } = &*self.0;
        match change {
            Change::Nothing => {}
            Change::All => {
                versions.invalidate_all();
                versions.withdraw();
            }
            Change::Lists => versions.invalidate_lists(),
            Change::Post(id) => {
                versions.invalidate_post(id.0);
                lock(touched).insert(id);
                pages_outdated.notify_one();
            }
            Change::Removed(id) => {
                versions.withdraw();
                self.apply(Change::Post(id));
            }
            Change::New(id) => {
                versions.invalidate_lists();
                streams.add_new(id);
                pages_outdated.notify_one();
            }
        }
    }
}

/// Publishes what a request has changed, after it succeeded. The handler says it: a [`Change`] in the
/// response's extensions.
///
/// # Panics
///
/// In a debug build, where a handler of an unsafe method succeeded and did not say what it changed.
/// A release build then invalidates everything.
pub async fn publish_changes(State(live): State<Live>, request: Request, next: Next) -> Response {
    let is_safe = request.method().is_safe();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let status = response.status();
    if is_safe || !(status.is_success() || status.is_redirection()) {
        return response;
    }
    let change = response.extensions().get::<Change>().copied().unwrap_or_else(|| {
        let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
        debug_assert!(
            false,
            "the handler of {route} does not say what it changed: add a live::Change"
        );
        tracing::error!(route, "the handler does not say what it changed");
        Change::All
    });
    live.publish(change);
    response
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
