//! What changes on the site, told to every process and to every page that is open.
//!
//! A form that has done its work leaves a [`Change`] behind ([`note`]). It drops the kept pages that
//! show it, here at once and in the other processes as soon as Postgres has told them (`NOTIFY`), and a
//! moment later every open page hears what the post looks like now ([`pages`]). Nothing is lost where
//! a word is: pages are kept for a second at most, and the next change tells the newest state.

pub mod db;
pub mod pages;
mod streams;

use std::{
    collections::BTreeSet,
    mem,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponseParts, Response, ResponseParts},
};
use sqlx::PgPool;
use tokio::{sync::Notify, time::sleep};

use crate::{identity::PostId, server::Shutdown, tasks::supervise, web::cache::Versions};
use streams::Streams;

/// How long changes are gathered before the others are told: a rush of votes is one word.
const GATHER: Duration = Duration::from_millis(50);
/// How often open pages are told, at most.
const TICK: Duration = Duration::from_millis(250);
/// Posts in one message.
const AT_ONCE: usize = 200;

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
    /// A post's text or votes, or that it is gone.
    Post(PostId),
    /// A post that was not there before.
    New(PostId),
}

impl Change {
    pub fn on(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponseParts for Change {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// The hub. A clone is the same one.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    /// Names this process among those at the database.
    origin: String,
    versions: Versions,
    /// What the other processes have not been told yet.
    outbox: Mutex<BTreeSet<Change>>,
    posted: Notify,
    /// What open pages have not been told yet.
    touched: Mutex<BTreeSet<PostId>>,
    changed: Notify,
    streams: Streams,
    /// Ends all streams; whoever reads goes on at another process.
    shutdown: Shutdown,
}

impl Live {
    /// Invalidates in `versions` what changes here and in other processes. Streams end when `shutdown` is asked for, and each client has
    /// a bounded number of them where `is_limited`.
    pub fn new(versions: Versions, shutdown: Shutdown, is_limited: bool) -> Live {
        Live(Arc::new(Inner {
            origin: uuid::Uuid::now_v7().simple().to_string(),
            versions,
            outbox: Mutex::default(),
            posted: Notify::new(),
            touched: Mutex::default(),
            changed: Notify::new(),
            streams: Streams::new(is_limited),
            shutdown,
        }))
    }

    /// Something has changed, and is committed.
    pub fn publish(&self, change: Change) {
        if change == Change::Nothing {
            return;
        }
        self.apply(change);
        lock(&self.0.outbox).insert(change);
        self.0.posted.notify_one();
    }

    /// What a change means in this process.
    fn apply(&self, change: Change) {
        let Inner { versions, touched, changed, streams, .. } = &*self.0;
        match change {
            Change::Nothing => {}
            Change::All => versions.invalidate_all(),
            Change::Lists => versions.invalidate_lists(),
            Change::Post(id) => {
                versions.invalidate_post(id.0);
                lock(touched).insert(id);
                changed.notify_one();
            }
            Change::New(id) => {
                versions.invalidate_lists();
                streams.add_new(id);
                changed.notify_one();
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

/// Keeps this process and the others of one mind, until this one is to shutdown. `listening` is connected
/// to once, for as long as this runs.
pub async fn run(live: Live, db: PgPool, listening: PgPool) {
    let work = async {
        tokio::join!(
            supervise("live-tell", || tell_others(live.clone(), db.clone())),
            supervise("live-hear", || hear_others(live.clone(), listening.clone())),
            supervise("live-pages", || tell_pages(live.clone(), db.clone())),
        )
    };
    tokio::select! {
        _ = work => {}
        () = live.0.shutdown.requested() => {}
    }
}

/// A round of telling. What is lost in one that fails is seen a second later all the same.
async fn tell_others(live: Live, db: PgPool) -> Round {
    live.0.posted.notified().await;
    sleep(GATHER).await;
    let changes = mem::take(&mut *lock(&live.0.outbox));
    for words in words(&live.0.origin, &changes) {
        db::tell(&db, &words).await.context("cannot tell the other processes of a change")?;
    }
    AGAIN
}

/// A round of listening, which ends with its connection.
async fn hear_others(live: Live, db: PgPool) -> Round {
    let hear = |words: Option<&str>| match words {
        Some(words) => heard(&live.0.origin, words).for_each(|change| live.apply(change)),
        // Words may have gone by while nobody listened.
        None => live.apply(Change::All),
    };
    db::listen(&db, hear).await.context("cannot hear of changes elsewhere")?;
    AGAIN
}

/// A round of telling open pages, who are told in the next one what they were not told in this.
async fn tell_pages(live: Live, db: PgPool) -> Round {
    let Inner { streams, touched, changed, .. } = &*live.0;
    if !streams.has_begun() {
        streams.begin(db::newest(&db).await?, &db::front(&db).await?);
    }
    changed.notified().await;
    sleep(TICK).await;
    streams.announce_new();
    let ids: Vec<PostId> = lock(touched).iter().copied().collect();
    for ids in ids.chunks(AT_ONCE) {
        // Before it is read, so that what changes meanwhile is read again.
        lock(touched).retain(|id| !ids.contains(id));
        match db::states(&db, ids).await {
            Ok(states) => streams.publish(&states),
            Err(err) => {
                lock(touched).extend(ids);
                changed.notify_one();
                return Err(err).context("cannot tell open pages of a change yet");
            }
        }
    }
    AGAIN
}

type Round = anyhow::Result<Option<Duration>>;
/// The next round begins at once, and waits for what there is to do.
const AGAIN: Round = Ok(Some(Duration::ZERO));

/// Versions as they travel: who tells, then one word for each. Postgres takes up to 8,000 bytes.
fn words(origin: &str, changes: &BTreeSet<Change>) -> Vec<String> {
    let changes: Vec<&Change> = changes.iter().collect();
    let chunk = |changes: &[&Change]| {
        let words = changes.iter().filter_map(|change| match change {
            Change::Nothing => None,
            Change::All => Some("all".to_owned()),
            Change::Lists => Some("lists".to_owned()),
            Change::Post(id) => Some(id.to_string()),
            Change::New(id) => Some(format!("+{id}")),
        });
        std::iter::once(origin.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    };
    changes.chunks(300).map(chunk).collect()
}

/// The changes that somebody else tells of; a word that is none of ours is passed over.
fn heard(origin: &str, words: &str) -> impl Iterator<Item = Change> {
    let mut words = words.split(' ');
    let is_other = words.next() != Some(origin);
    words.filter(move |_| is_other).filter_map(|word| match word {
        "all" => Some(Change::All),
        "lists" => Some(Change::Lists),
        word => match word.strip_prefix('+') {
            Some(id) => Some(Change::New(PostId(i64::from_str(id).ok()?))),
            None => Some(Change::Post(PostId(word.parse().ok()?))),
        },
    })
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_arrive_elsewhere_as_they_were_told_however_many() {
        let mut changes: BTreeSet<Change> = (1..=1000).map(|id| Change::Post(PostId(id))).collect();
        changes.extend([Change::All, Change::Lists, Change::New(PostId(i64::MAX))]);
        let words = words("here", &changes);
        assert!(words.iter().all(|words| words.len() < 8000));
        let arrived: BTreeSet<Change> =
            words.iter().flat_map(|words| heard("there", words)).collect();
        assert_eq!(arrived, changes);
        assert_eq!(words.iter().flat_map(|words| heard("here", words)).count(), 0);
        assert_eq!(heard("there", "").count() + heard("there", "x +y all7").count(), 0);
    }
}
