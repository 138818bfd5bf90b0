//! `migrate`: the schema, forward and back.

use clap::Subcommand;
use sqlx::PgPool;

use crate::{
    cli::{Failure, say},
    database::migrations::{self, Forecast, State, Target},
    doctor::repair,
    text::counted,
};

#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// Apply every pending migration
    Up {
        #[command(flatten)]
        how: How,
    },
    /// Revert the last migrations
    Down {
        /// How many
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        steps: u16,
        #[command(flatten)]
        how: How,
    },
    /// Move to one version, forward or back; 0 is the empty database
    To {
        #[arg(value_parser = clap::value_parser!(i64).range(0..))]
        version: i64,
        #[command(flatten)]
        how: How,
    },
    /// List the versions and their state
    Status,
}

#[derive(Debug, clap::Args)]
pub struct How {
    /// Only say what would run, which locks it would take and for how long, found out in a transaction
    /// that is rolled back. Each lock is listed with the first migration that takes it. The exit code
    /// is 3 if it would fail or keep people waiting
    #[arg(long)]
    check: bool,
}

pub async fn run(db: &PgPool, command: Migrate) -> Result<(), Failure> {
    let (target, how) = match command {
        Migrate::Up { how } => (Target::Up, how),
        Migrate::Down { steps, how } => (Target::Down(steps.into()), how),
        Migrate::To { version, how } => (Target::To(version), how),
        Migrate::Status => return status(db).await,
    };
    if how.check {
        return check(db, target).await;
    }
    migrations::migrate(db, target).await?;
    add_missing(db).await?;
    status(db).await
}

/// Applies everything pending, and rebuilds what an earlier `migrate down` has dropped.
pub async fn up(db: &PgPool) -> Result<(), Failure> {
    migrations::migrate(db, Target::Up).await?;
    add_missing(db).await
}

async fn add_missing(db: &PgPool) -> Result<(), Failure> {
    for line in repair::missing(db).await?.lines() {
        tracing::info!("{line}");
    }
    Ok(())
}

async fn status(db: &PgPool) -> Result<(), Failure> {
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

async fn check(db: &PgPool, target: Target) -> Result<(), Failure> {
    let forecasts = migrations::forecast(db, target).await?;
    if forecasts.is_empty() {
        return say("nothing to do");
    }
    for forecast in &forecasts {
        describe(forecast)?;
    }
    match forecasts.iter().filter(|forecast| forecast.problem.is_some()).count() {
        0 => Ok(()),
        problems => Err(Failure::Problems(counted(problems, "problem", "problems"))),
    }
}

fn describe(forecast: &Forecast) -> Result<(), Failure> {
    let Forecast { version, name, is_down, took, locks, indexes, drops, problem } = forecast;
    let direction = if *is_down { "down" } else { "up" };
    let what = format!("{version:04} {name} {direction}");
    say(format_args!("{what}: its statements take {} ms", took.as_millis()))?;
    for lock in locks {
        let waiting = if lock.blocks_readers() { "readers and writers" } else { "writers" };
        say(format_args!(
            "{what}: {} on {}: {waiting} wait, {} ms at most",
            lock.mode,
            lock.table,
            took.as_millis()
        ))?;
    }
    for (index, table) in indexes {
        say(format_args!("{what}: builds {index} on {table} beside readers and writers"))?;
    }
    for (table, rows) in drops {
        say(format_args!(
            "{what}: loses the table {table} with {rows} rows; pages that need it answer 503 until it is back"
        ))?;
    }
    if let Some(problem) = problem {
        say(format_args!("{what}: problem: {problem}"))?;
    }
    Ok(())
}
