//! The background tasks of [`Live`]: changes to and from the other processes over Postgres' `NOTIFY`,
//! and new states to open pages.

use std::{collections::BTreeSet, mem, time::Duration};

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::time::sleep;

use super::{Change, Inner, Live, db, lock};
use crate::{identity::PostId, tasks::supervise};

/// How long changes are collected before they are sent: a burst of votes is one notification.
const BATCH_WINDOW: Duration = Duration::from_millis(50);
/// The shortest time between two messages to open pages.
const TICK: Duration = Duration::from_millis(250);
/// Posts in one message to open pages.
const POSTS_PER_MESSAGE: usize = 200;
/// Changes in one notification. Postgres takes up to 8,000 bytes.
const CHANGES_PER_NOTIFICATION: usize = 180;

/// What a background task returns: how long to pause before its next round.
type Round = anyhow::Result<Option<Duration>>;
/// The next round begins at once, and waits for its work.
const AGAIN: Round = Ok(Some(Duration::ZERO));

/// Exchanges changes with the other processes and sends them to open pages, until a shutdown is
/// requested. `listening` has the one connection that listens for as long as this runs.
pub async fn run(live: Live, db: PgPool, listening: PgPool) {
    let work = async {
        tokio::join!(
            supervise("live-notify", || notify(live.clone(), db.clone())),
            supervise("live-listen", || listen(live.clone(), listening.clone())),
            supervise("live-pages", || update_pages(live.clone(), db.clone())),
        )
    };
    tokio::select! {
        _ = work => {}
        () = live.0.shutdown.requested() => {}
    }
}

/// Sends a batch of changes to the other processes. What a failed round loses they see a second
/// later, when their cached pages expire.
async fn notify(live: Live, db: PgPool) -> Round {
    live.0.outbox_filled.notified().await;
    sleep(BATCH_WINDOW).await;
    let changes = mem::take(&mut *lock(&live.0.outbox));
    for payload in encode(&live.0.origin, &changes) {
        db::notify(&db, &payload).await.context("cannot notify the other processes of a change")?;
    }
    AGAIN
}

/// Applies the changes of the other processes until the connection ends.
async fn listen(live: Live, db: PgPool) -> Round {
    let apply = |payload: Option<&str>| match payload {
        Some(payload) => decode(&live.0.origin, payload).for_each(|change| live.apply(change)),
        // The connection is new: notifications may have been missed.
        None => live.0.versions.invalidate_all(),
    };
    db::listen(&db, apply).await.context("cannot listen for changes of other processes")?;
    AGAIN
}

/// Sends the new state of changed posts to open pages. A failed round is repeated with the same posts.
async fn update_pages(live: Live, db: PgPool) -> Round {
    let Inner { streams, touched, pages_outdated, .. } = &*live.0;
    if !streams.has_started() {
        streams.start(db::newest(&db).await?, &db::front(&db).await?);
    }
    pages_outdated.notified().await;
    sleep(TICK).await;
    streams.announce_new();
    let ids: Vec<PostId> = lock(touched).iter().copied().collect();
    for ids in ids.chunks(POSTS_PER_MESSAGE) {
        // Before the read, so that a change during it is read again.
        lock(touched).retain(|id| !ids.contains(id));
        match db::states(&db, ids).await {
            Ok(states) => streams.publish(&states),
            Err(err) => {
                lock(touched).extend(ids);
                pages_outdated.notify_one();
                return Err(err).context("cannot send a change to open pages yet");
            }
        }
    }
    AGAIN
}

/// The payloads of notifications: the origin, then one word for each change.
fn encode(origin: &str, changes: &BTreeSet<Change>) -> Vec<String> {
    let words: Vec<String> = changes.iter().filter_map(word).collect();
    let payload = |words: &[String]| format!("{origin} {}", words.join(" "));
    words.chunks(CHANGES_PER_NOTIFICATION).map(payload).collect()
}

fn word(change: &Change) -> Option<String> {
    match change {
        Change::Nothing => None,
        Change::All => Some("all".to_owned()),
        Change::Lists => Some("lists".to_owned()),
        Change::Post(id) => Some(id.to_string()),
        Change::New(id) => Some(format!("+{id}")),
        // Words that an older process knows too, which ignores the second.
        Change::Removed(id) => Some(format!("{id} -{id}")),
    }
}

/// The changes in another process' payload; none in one of our own. An unknown word is ignored.
fn decode(origin: &str, payload: &str) -> impl Iterator<Item = Change> {
    let mut words = payload.split(' ');
    let is_other = words.next() != Some(origin);
    words.filter(move |_| is_other).filter_map(|word| match word {
        "all" => Some(Change::All),
        "lists" => Some(Change::Lists),
        word => {
            let (kind, id): (fn(PostId) -> Change, _) = match word.as_bytes().first()? {
                b'+' => (Change::New, &word[1..]),
                b'-' => (Change::Removed, &word[1..]),
                _ => (Change::Post, word),
            };
            Some(kind(PostId(id.parse().ok()?)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_decoded_as_they_were_encoded_however_many() {
        let mut changes: BTreeSet<Change> = (1..=1000).map(|id| Change::Post(PostId(id))).collect();
        changes.extend([Change::All, Change::Lists, Change::New(PostId(i64::MAX))]);
        changes.extend((1..=1000).map(|id| Change::Removed(PostId(id))));
        let payloads = encode("here", &changes);
        assert!(payloads.iter().all(|payload| payload.len() < 8000));
        let decoded: BTreeSet<Change> =
            payloads.iter().flat_map(|payload| decode("there", payload)).collect();
        assert_eq!(decoded, changes);
        assert_eq!(payloads.iter().flat_map(|payload| decode("here", payload)).count(), 0);
        assert_eq!(decode("there", "").count() + decode("there", "x +y all7").count(), 0);
    }
}
