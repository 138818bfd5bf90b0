//! Makes stored copies agree with what they are made from, while the site serves.
//!
//! It works in small batches, each committed before the next starts: nothing waits longer than one
//! batch takes.

mod db;

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};

use crate::{
    doctor::data::db::{Misranked, compared_after, misindexed, misranked},
    transfer::tables::{Check, TABLES},
};

/// Posts in one batch.
const BATCH: usize = 500;
/// A rank may be wrong once more when votes come in while it is created.
const ROUNDS: usize = 3;
/// How often to check whether another repair has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How many of each kind were repaired.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Repaired {
    pub ranks_added: u64,
    pub ranks: u64,
    pub entries_added: u64,
    pub entries: u64,
    pub orphans: u64,
}

impl Repaired {
    /// A line for each kind of repair that was done.
    pub fn lines(self) -> Vec<String> {
        let Repaired { ranks_added, ranks, entries_added, entries, orphans } = self;
        let kinds = [
            (ranks_added, "ranks that were missing"),
            (ranks, "ranks that did not agree with the votes or the post"),
            (entries_added, "search entries that were missing"),
            (entries, "search entries that did not agree with the post"),
            (orphans, "ranks and search entries of posts that are not there"),
        ];
        let done = kinds.into_iter().filter(|(count, _)| *count > 0);
        done.map(|(count, what)| format!("mended: {count} {what}")).collect()
    }
}

/// Repairs every table that can be rebuilt. Repeating it changes nothing, and no vote that is cast
/// meanwhile is lost.
pub async fn all(db: &PgPool) -> sqlx::Result<Repaired> {
    let mut lock = lock(db).await?;
    let mut repaired = add_missing(db, &mut lock).await?;
    for table in TABLES {
        match table.check {
            Check::Ranks => repaired.ranks += rerank(db).await?,
            Check::SearchEntries => repaired.entries += reindex(db, &mut lock).await?,
            Check::References | Check::Nothing(_) => {}
        }
    }
    repaired.orphans = db::delete_orphans(db).await?;
    lock.close().await?;
    Ok(repaired)
}

/// Gives every post its rank and its search entry, where the schema has them, and makes the ranks
/// agree with the votes: what was lost by taking the schema back and forth, as far as it can be
/// rebuilt. Quick where nothing is missing.
pub async fn missing(db: &PgPool) -> sqlx::Result<Repaired> {
    let mut lock = lock(db).await?;
    let repaired = add_missing(db, &mut lock).await?;
    lock.close().await?;
    Ok(repaired)
}

/// A connection that holds the lock of repairs while it is open, once other repairs have ended.
async fn lock(db: &PgPool) -> sqlx::Result<PgConnection> {
    let mut connection = db.acquire().await?.detach();
    // Polled: a statement that waits would block a `create index concurrently`.
    while !db::try_lock(&mut connection).await? {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(connection)
}

async fn add_missing(db: &PgPool, lock: &mut PgConnection) -> sqlx::Result<Repaired> {
    let mut repaired = Repaired::default();
    for table in TABLES {
        match table.check {
            Check::Ranks if db::exist(db, &[table.name, "votes"]).await? => {
                (repaired.ranks_added, repaired.ranks) = add_ranks(db, lock).await?;
            }
            Check::SearchEntries if db::exist(db, &[table.name]).await? => {
                repaired.entries_added = add_entries(db, lock).await?;
            }
            Check::Ranks | Check::SearchEntries | Check::References | Check::Nothing(_) => {}
        }
    }
    Ok(repaired)
}

/// How many ranks were added, and how many existing ones were corrected.
async fn add_ranks(db: &PgPool, lock: &mut PgConnection) -> sqlx::Result<(u64, u64)> {
    let (ranked, unranked): (Vec<_>, Vec<_>) =
        misranked(db).await?.into_iter().partition(|one| one.has_rank);
    let posts = |all: Vec<Misranked>| -> Vec<i64> { all.into_iter().map(|one| one.post).collect() };
    let (mut added, mut corrected) = (0, 0);
    for batch in posts(unranked).chunks(BATCH) {
        added += db::rank(lock, batch).await?;
    }
    for batch in posts(ranked).chunks(BATCH) {
        corrected += db::rerank(db, batch).await?;
    }
    Ok((added, corrected))
}

async fn add_entries(db: &PgPool, lock: &mut PgConnection) -> sqlx::Result<u64> {
    let mut added = 0;
    let missing = misindexed(db).await?.into_iter().filter(|one| !one.has_entry);
    for batch in missing.map(|one| one.post).collect::<Vec<_>>().chunks(BATCH) {
        added += db::reindex(lock, batch).await?;
    }
    Ok(added)
}

async fn rerank(db: &PgPool) -> sqlx::Result<u64> {
    let mut corrected = 0;
    for _ in 0..ROUNDS {
        let wrong: Vec<i64> = misranked(db).await?.iter().map(|one| one.post).collect();
        if wrong.is_empty() {
            break;
        }
        for batch in wrong.chunks(BATCH) {
            corrected += db::rerank(db, batch).await?;
        }
    }
    Ok(corrected)
}

async fn reindex(db: &PgPool, lock: &mut PgConnection) -> sqlx::Result<u64> {
    let mut rebuilt = 0;
    let misdated: Vec<i64> = misindexed(db).await?.iter().map(|one| one.post).collect();
    for batch in misdated.chunks(BATCH) {
        rebuilt += db::reindex(lock, batch).await?;
    }
    let mut last = 0;
    loop {
        let compared = compared_after(db, last, BATCH as i64).await?;
        let Some((end, _)) = compared.last() else { return Ok(rebuilt) };
        last = *end;
        let wrong: Vec<i64> =
            compared.iter().filter(|(_, is_wrong)| *is_wrong).map(|(post, _)| *post).collect();
        if !wrong.is_empty() {
            rebuilt += db::reindex(lock, &wrong).await?;
        }
    }
}
