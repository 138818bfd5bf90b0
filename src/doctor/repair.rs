//! Makes what is stored twice agree again, while the site serves.
//!
//! In small batches, each of which ends before the next begins: nobody waits longer than a batch
//! takes.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};

use crate::doctor::db;

/// Posts in one batch.
const BATCH: usize = 500;
/// A post that somebody votes on while its rank is being made may be off once more.
const ROUNDS: usize = 3;
/// How often we look whether another repair is done.
const GLANCE: Duration = Duration::from_millis(250);

/// How many of each were mended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Mended {
    pub ranks_made: u64,
    pub ranks: u64,
    pub entries_made: u64,
    pub entries: u64,
    pub orphans: u64,
}

impl Mended {
    /// A line for each kind of thing that was mended.
    pub fn lines(self) -> Vec<String> {
        let Mended { ranks_made, ranks, entries_made, entries, orphans } = self;
        let kinds = [
            (ranks_made, "ranks that were missing"),
            (ranks, "ranks that did not agree with the votes or the post"),
            (entries_made, "search entries that were missing"),
            (entries, "search entries that did not agree with the post"),
            (orphans, "ranks and search entries of posts that are not there"),
        ];
        let done = kinds.into_iter().filter(|(count, _)| *count > 0);
        done.map(|(count, what)| format!("mended: {count} {what}")).collect()
    }
}

/// Mends every copy. Repeating it changes nothing, and no vote that comes meanwhile is lost.
pub async fn all(db: &PgPool) -> sqlx::Result<Mended> {
    let mut alone = alone(db).await?;
    let mut mended = make_missing(db, &mut alone).await?;
    for _ in 0..ROUNDS {
        let off: Vec<i64> = db::misranked(db).await?.iter().map(|one| one.post).collect();
        if off.is_empty() {
            break;
        }
        for batch in off.chunks(BATCH) {
            mended.ranks += db::rerank(db, batch).await?;
        }
    }
    let misdated: Vec<i64> = db::misindexed(db).await?.iter().map(|one| one.post).collect();
    for batch in misdated.chunks(BATCH) {
        mended.entries += db::reindex(&mut alone, batch).await?;
    }
    let mut last = 0;
    loop {
        let compared = db::compared_after(db, last, BATCH as i64).await?;
        let Some((end, _)) = compared.last() else { break };
        last = *end;
        let off: Vec<i64> =
            compared.iter().filter(|(_, is_off)| *is_off).map(|(post, _)| *post).collect();
        if !off.is_empty() {
            mended.entries += db::reindex(&mut alone, &off).await?;
        }
    }
    mended.orphans = db::forget_orphans(db).await?;
    alone.close().await?;
    Ok(mended)
}

/// Gives every post its rank and its search entry, where the schema has them, and makes the ranks
/// agree with the votes: what a schema that was taken back and forth has lost, as far as it can be
/// made anew. Quick where nothing is missing.
pub async fn missing(db: &PgPool) -> sqlx::Result<Mended> {
    let mut alone = alone(db).await?;
    let mended = make_missing(db, &mut alone).await?;
    alone.close().await?;
    Ok(mended)
}

/// A connection that holds the right to repair for as long as it is open, once others are done.
async fn alone(db: &PgPool) -> sqlx::Result<PgConnection> {
    let mut alone = db.acquire().await?.detach();
    // Asked again and again: a statement that waits holds up a `create index concurrently`.
    while !db::alone(&mut alone).await? {
        tokio::time::sleep(GLANCE).await;
    }
    Ok(alone)
}

async fn make_missing(db: &PgPool, alone: &mut PgConnection) -> sqlx::Result<Mended> {
    let (has_ranks, has_search) = db::tables(db).await?;
    let mut mended = Mended::default();
    if has_ranks {
        let (ranked, unranked): (Vec<_>, Vec<_>) =
            db::misranked(db).await?.into_iter().partition(|one| one.has_rank);
        let posts =
            |all: Vec<db::Misranked>| -> Vec<i64> { all.into_iter().map(|one| one.post).collect() };
        for batch in posts(unranked).chunks(BATCH) {
            mended.ranks_made += db::rank(alone, batch).await?;
        }
        for batch in posts(ranked).chunks(BATCH) {
            mended.ranks += db::rerank(db, batch).await?;
        }
    }
    if has_search {
        let unindexed: Vec<i64> = (db::misindexed(db).await?.into_iter())
            .filter_map(|one| (!one.has_entry).then_some(one.post))
            .collect();
        for batch in unindexed.chunks(BATCH) {
            mended.entries_made += db::reindex(alone, batch).await?;
        }
    }
    Ok(mended)
}
