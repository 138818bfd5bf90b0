//! `/metrics`, on the address of `METRICS_LISTEN_ADDR` only.

use std::time::{Duration, Instant};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::{
    database,
    metrics::metrics,
    transfer::tables::{Metrics, TABLES},
    users::Passwords,
    web::{Error, Result},
};

/// The statistics of the tables are read no more often than this, however often they are scraped.
const TABLES_EVERY: Duration = Duration::from_secs(30);

/// The metrics of this process and the statistics of the tables, as `OpenMetrics` text.
pub async fn show(
    State(db): State<PgPool>,
    State(passwords): State<Passwords>,
) -> Result<Response> {
    let idle = i64::try_from(db.num_idle()).unwrap_or_default();
    let busy = (i64::from(db.size()) - idle).max(0);
    metrics().set_connections(idle, busy, db.options().get_max_connections().into());
    let (running, waiting) = passwords.at_work();
    metrics().set_password_hashes(running, waiting);
    read_tables(&db).await;
    let text = metrics().encode().map_err(Error::internal)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, text).into_response())
}

/// Reads the statistics of the tables. The last values stay while the database does not answer.
async fn read_tables(db: &PgPool) {
    static READ_AT: Mutex<Option<Instant>> = Mutex::const_new(None);
    let mut read_at = READ_AT.lock().await;
    if read_at.is_some_and(|at| at.elapsed() < TABLES_EVERY) {
        return;
    }
    *read_at = Some(Instant::now());
    let reported = TABLES.iter().filter(|table| table.metrics == Metrics::Reported);
    let names: Vec<String> = reported.map(|table| table.name.to_owned()).collect();
    match database::tables::activity(db, &names).await {
        Ok(tables) => {
            for table in tables {
                metrics().set_table(table.name, table.rows, table.inserted, table.deleted);
            }
        }
        Err(err) => tracing::debug!(%err, "cannot read the statistics of the tables"),
    }
}
