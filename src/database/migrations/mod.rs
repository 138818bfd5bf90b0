//! The schema's history, forward and back, on a database that people use meanwhile.
//!
//! Migrations are compiled in, so a program knows exactly which schema it was built for. [`status`]
//! compares a database with it, [`apply`] moves the schema, [`forecast`] tells what that would do to a
//! site that serves, and [`statements`] picks out the indexes that are built concurrently.

mod apply;
mod forecast;
mod statements;
mod status;

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, Migrator};

pub use apply::migrate;
pub use forecast::{Forecast, Lock, forecast};
pub use status::{Mismatch, State, Step, mismatch, mismatch_in, status};

pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a migration waits for one lock before it lets others go first and tries again. Pages
/// wait a second for theirs.
const LOCK_TIMEOUT: Duration = Duration::from_millis(250);
/// How long it goes on trying.
const RETRY_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest that a migration may hold a lock that others wait for.
pub const MAX_HOLD: Duration = Duration::from_secs(2);

/// Where to take the schema.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Everything pending is applied.
    Up,
    /// The last so many are reverted.
    Down(usize),
    /// To one version, forward or back; 0 is the empty database.
    To(i64),
}

/// Why the schema did not reach its target: one line that says where it is, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    History(#[from] MigrateError),
    #[error("there is no migration {0}: `social-post migrate status` lists them")]
    NoSuchVersion(i64),
    #[error("{0}")]
    Mismatch(Mismatch),
    #[error("migration {version:04} ({name}) failed and left nothing behind: {cause}")]
    Failed { version: i64, name: String, cause: sqlx::Error },
    #[error(
        "migration {version:04} ({name}) did not get its locks within {} seconds and left nothing \
         behind: {holders}; then run this again", RETRY_TIMEOUT.as_secs()
    )]
    Locked { version: i64, name: String, holders: String },
    #[error(
        "migration {version:04} ({name}) is not finished, its index {index} is not built: {cause}; \
         run `social-post migrate up` to finish it"
    )]
    NoIndex { version: i64, name: String, index: String, cause: sqlx::Error },
}

fn ups() -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(|migration| migration.migration_type.is_up_migration())
}
