//! The schema, before a command uses the database.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::time::{sleep, timeout};

use crate::{
    cli::{Failure, migrate},
    database::{
        migrations::{self, Mismatch},
        pool,
    },
    tasks,
};

/// How long the start waits for the database before it serves without.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Makes sure that the schema is the one this program was built for: applies pending migrations where
/// it may, and otherwise fails with the command that does.
pub async fn ensure_current(db: &PgPool, may_migrate: bool) -> Result<(), Failure> {
    match migrations::mismatch(db).await? {
        None => Ok(()),
        Some(Mismatch::Behind | Mismatch::Unfinished) if may_migrate => migrate::up(db).await,
        Some(mismatch) => Err(Failure::Configuration(mismatch.to_string())),
    }
}

/// As [`ensure_current`], for `serve`: where the database does not answer yet, the rest happens in the
/// background, and the site becomes ready once the database is back.
pub async fn ensure_current_or_wait(
    options: PgConnectOptions,
    may_migrate: bool,
) -> Result<(), Failure> {
    let db = pool::open_without_timeouts(options);
    match timeout(STARTUP_TIMEOUT, ensure_current(&db, false)).await {
        Ok(Ok(())) => {}
        Ok(Err(Failure::Configuration(problem))) if !may_migrate => {
            return Err(Failure::Configuration(problem));
        }
        // It migrates before it serves, without a limit on how long that takes.
        Ok(Err(Failure::Configuration(_))) => ensure_current(&db, true).await?,
        Ok(Err(failure)) => {
            tracing::warn!(%failure, "the database does not answer yet");
            tokio::spawn(wait(db, may_migrate));
            return Ok(());
        }
        Err(_) => {
            tracing::warn!("the database does not answer yet");
            tokio::spawn(wait(db, may_migrate));
            return Ok(());
        }
    }
    db.close().await;
    Ok(())
}

/// Until the database is back and its schema is current, `/readyz` answers 503; the log says why.
async fn wait(db: PgPool, may_migrate: bool) {
    tasks::supervise("schema", || {
        let db = db.clone();
        async move {
            while let Err(failure) = ensure_current(&db, may_migrate).await {
                tracing::warn!(%failure, "not ready");
                sleep(RETRY_INTERVAL).await;
            }
            tracing::info!("the database is there");
            Ok(None)
        }
    })
    .await;
    db.close().await;
}
