//! The background task that deletes rows that have ended, such as sessions.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use sqlx::PgPool;

use crate::{config::Site, tasks, transfer::tables};

const INTERVAL: Duration = Duration::from_mins(10);
/// Between two batches, while there is more to delete.
const PAUSE: Duration = Duration::from_secs(1);

/// Deletes what has ended, a batch at a time, for as long as the process runs. The session library's
/// own sweeper would stop for good at the first error.
pub async fn run(db: PgPool, site: Arc<Site>) {
    tasks::supervise("sweep", || {
        let (db, site) = (db.clone(), site.clone());
        async move {
            let deleted = sweep(&db, &site).await.context("cannot delete rows that have ended")?;
            if deleted == 0 {
                return Ok(Some(INTERVAL));
            }
            tracing::debug!(deleted, "deleted rows that have ended");
            Ok(Some(PAUSE))
        }
    })
    .await;
}

/// Deletes a batch from each table; returns how many rows.
async fn sweep(db: &PgPool, site: &Site) -> sqlx::Result<u64> {
    let mut deleted = 0;
    for ended in tables::swept() {
        deleted += (ended.delete)(db, site).await?;
    }
    Ok(deleted)
}
