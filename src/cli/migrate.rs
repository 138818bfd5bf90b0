//! `migrate`: the schema, forward and back.

use clap::Subcommand;
use sqlx::{PgPool, migrate::MigrateError};

use super::{Failure, say};
use crate::database::migrations::{self, State};

#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// Apply every pending migration
    Up,
    /// Take back the last migrations
    Down {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        steps: u16,
    },
    /// Move to one version, forward or back; 0 is the empty database
    To {
        #[arg(value_parser = clap::value_parser!(i64).range(0..))]
        version: i64,
    },
    /// List the versions and their state
    Status,
}

pub async fn run(db: &PgPool, command: Migrate) -> Result<(), Failure> {
    match command {
        Migrate::Up => migrations::up(db).await?,
        Migrate::Down { steps } => migrations::down(db, steps.into()).await?,
        Migrate::To { version } => migrations::to(db, version).await.map_err(|err| match err {
            MigrateError::VersionNotPresent(version) => Failure::Configuration(format!(
                "there is no migration {version}: `social-post migrate status` lists them"
            )),
            err => err.into(),
        })?,
        Migrate::Status => {}
    }
    for step in migrations::status(db).await? {
        let state = match step.state {
            State::Applied => "applied",
            State::Pending => "pending",
            State::Unknown => "unknown to this program",
            State::Changed => "applied from another text",
            State::Broken => "begun and not finished",
        };
        say(format_args!("{:04}  {:<12}  {state}", step.version, step.name))?;
    }
    Ok(())
}
