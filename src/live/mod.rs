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
    future::Future,
    mem,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{Method, header},
    middleware::Next,
    response::Response,
};
use sqlx::PgPool;
use tokio::{sync::Notify, time::sleep};

use crate::{posts::PostId, server::Stop, web::cache::PageCache};
use streams::Streams;

/// How long changes are gathered before the others are told: a rush of votes is one word.
const GATHER: Duration = Duration::from_millis(50);
/// How often open pages are told, at most.
const TICK: Duration = Duration::from_millis(250);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// More than can be named, such as all that somebody voted for.
    All,
    /// Something that no post shows but a list, such as who is here.
    Lists,
    /// A post's text or votes, or that it is gone.
    Post(PostId),
    /// A post that was not there before.
    New(PostId),
}

/// The hub. A clone is the same one.
#[derive(Clone)]
pub struct Live(Arc<Inner>);

struct Inner {
    /// Names this process among those at the database.
    origin: String,
    kept: PageCache,
    /// What the other processes have not been told yet.
    outbox: Mutex<BTreeSet<Change>>,
    posted: Notify,
    /// What open pages have not been told yet.
    touched: Mutex<BTreeSet<PostId>>,
    changed: Notify,
    streams: Streams,
    /// Ends all streams; whoever reads goes on at another process.
    stop: Stop,
}

impl Live {
    /// Over the pages that `kept` holds. Streams end when `stop` is asked for, and each client has
    /// a bounded number of them where `is_limited`.
    pub fn new(kept: PageCache, stop: Stop, is_limited: bool) -> Live {
        Live(Arc::new(Inner {
            origin: uuid::Uuid::now_v7().simple().to_string(),
            kept,
            outbox: Mutex::default(),
            posted: Notify::new(),
            touched: Mutex::default(),
            changed: Notify::new(),
            streams: Streams::new(is_limited),
            stop,
        }))
    }

    /// Something has changed, and is committed.
    pub fn tell(&self, change: Change) {
        self.hear(change);
        lock(&self.0.outbox).insert(change);
        self.0.posted.notify_one();
    }

    /// What a change means in this process.
    fn hear(&self, change: Change) {
        let Inner { kept, touched, changed, streams, .. } = &*self.0;
        match change {
            Change::All => kept.forget_all(),
            Change::Lists => kept.forget_lists(),
            Change::Post(id) => {
                kept.forget_post(id.0);
                lock(touched).insert(id);
                changed.notify_one();
            }
            Change::New(id) => {
                kept.forget_lists();
                streams.add_new(id);
                changed.notify_one();
            }
        }
    }
}

/// Notes what a request has changed. There is one place for it, so that no handler, whichever face
/// it belongs to, can forget: what was asked for, and that it was done, say what it may have been.
pub async fn note(State(live): State<Live>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let path = request.uri().path().trim_start_matches("/api/v1").to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        let place = response.headers().get(header::LOCATION).and_then(|place| place.to_str().ok());
        if let Some(change) = change(&path, place) {
            live.tell(change);
        }
    }
    response
}

/// What a request to `path` has changed, whose answer leads to `place`.
fn change(path: &str, place: Option<&str>) -> Option<Change> {
    let mut parts = path.trim_start_matches('/').split('/');
    match (parts.next()?, parts.next(), parts.next()) {
        ("posts", None, _) => Some(match place.and_then(new_post) {
            Some(id) => Change::New(id),
            None => Change::Lists,
        }),
        ("posts", Some("preview"), _) => None,
        ("posts", Some(id), _) => Some(Change::Post(PostId(id.parse().ok()?))),
        ("settings", Some("delete-account"), _) | ("users", Some("me"), Some("deletion")) => {
            Some(Change::All)
        }
        ("signup", ..) | ("users", None, _) => Some(Change::Lists),
        _ => None,
    }
}

fn new_post(place: &str) -> Option<PostId> {
    let id = place.trim_start_matches("/api/v1").strip_prefix("/posts/")?;
    Some(PostId(id.parse().ok()?))
}

/// Keeps this process and the others of one mind, until this one is to stop. `listening` is
/// connected to for as long as this runs, once.
pub async fn run(live: Live, db: PgPool, listening: PgPool) {
    let stop = live.0.stop.clone();
    let work = async {
        tokio::join!(
            tell_others(&live, &db),
            hear_others(&live, &listening),
            tell_pages(&live, &db)
        )
    };
    tokio::select! {
        _ = work => {}
        () = stop.asked() => {}
    }
}

async fn tell_others(live: &Live, db: &PgPool) {
    loop {
        live.0.posted.notified().await;
        sleep(GATHER).await;
        let changes = mem::take(&mut *lock(&live.0.outbox));
        for words in words(&live.0.origin, &changes) {
            // What is lost is seen a second later all the same.
            if let Err(err) = db::tell(db, &words).await {
                tracing::warn!(%err, "cannot tell the other processes of a change");
            }
        }
    }
}

async fn hear_others(live: &Live, db: &PgPool) {
    loop {
        let heard = db::listen(db, |words| match words {
            Some(words) => heard(&live.0.origin, words).for_each(|change| live.hear(change)),
            // Words may have gone by while nobody listened.
            None => live.hear(Change::All),
        });
        if let Err(err) = heard.await {
            tracing::warn!(%err, "cannot hear of changes elsewhere");
        }
        sleep(PAUSE).await;
    }
}

async fn tell_pages(live: &Live, db: &PgPool) {
    retrying(|| async {
        let (newest, front) = (db::newest(db).await?, db::front(db).await?);
        live.0.streams.begin(newest, &front);
        Ok(())
    })
    .await;
    loop {
        live.0.changed.notified().await;
        sleep(TICK).await;
        let touched = mem::take(&mut *lock(&live.0.touched));
        let ids: Vec<PostId> = touched.into_iter().collect();
        for ids in ids.chunks(200) {
            retrying(|| async {
                live.0.streams.publish(&db::states(db, ids).await?);
                Ok(())
            })
            .await;
        }
        live.0.streams.announce_new();
    }
}

async fn retrying<F: Future<Output = sqlx::Result<()>>>(mut attempt: impl FnMut() -> F) {
    while let Err(err) = attempt().await {
        tracing::warn!(%err, "cannot tell open pages of a change yet");
        sleep(PAUSE).await;
    }
}

/// Changes as they travel: who tells, then one word for each. Postgres takes up to 8,000 bytes.
fn words(origin: &str, changes: &BTreeSet<Change>) -> Vec<String> {
    let changes: Vec<&Change> = changes.iter().collect();
    let chunk = |changes: &[&Change]| {
        let words = changes.iter().map(|change| match change {
            Change::All => "all".to_owned(),
            Change::Lists => "lists".to_owned(),
            Change::Post(id) => id.to_string(),
            Change::New(id) => format!("+{id}"),
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
    fn what_was_asked_for_says_what_may_have_changed() {
        let (seven, post) = (PostId(7), Change::Post(PostId(7)));
        for (path, place, expected) in [
            ("/posts/7/vote", None, Some(post)),
            ("/posts/7/edit", Some("/posts/7"), Some(post)),
            ("/posts/7/delete", Some("/"), Some(post)),
            ("/posts/7", None, Some(post)),
            ("/posts", Some("/posts/7"), Some(Change::New(seven))),
            ("/posts", Some("/api/v1/posts/7"), Some(Change::New(seven))),
            ("/posts/preview", None, None),
            ("/signup", Some("/"), Some(Change::Lists)),
            ("/users", None, Some(Change::Lists)),
            ("/settings/delete-account", Some("/"), Some(Change::All)),
            ("/users/me/deletion", None, Some(Change::All)),
            ("/login", Some("/"), None),
            ("/posts/x/vote", None, None),
            ("/", None, None),
        ] {
            assert_eq!(change(path, place), expected, "{path}");
        }
    }

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
