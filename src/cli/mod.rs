//! What an operator types: one file for each command.

mod backup;
mod demo;
mod doctor;
mod export;
mod import;
mod logging;
mod migrate;
mod serve;
mod service_manager;
mod user;

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use sqlx::{PgPool, postgres::PgConnectOptions};

use crate::{
    backup::BackupError,
    config::{BadSetting, Database, Settings},
    database::{
        local::{LocalError, LocalPostgres},
        migrations::{self, MigrationError, Mismatch},
        pool,
    },
};

/// A place to share links and short texts, to vote, and to find things again.
#[derive(Debug, Parser)]
#[command(name = "social-post", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Address and port to listen on, such as 127.0.0.1:9000 (setting `LISTEN_ADDR`)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the site (this is the default)
    Serve(ServeArgs),
    /// Look for what is wrong with the settings, the database and the data
    #[command(
        after_help = "Each finding is one line with the line that mends it. Exit code 3 where one \
        is a problem, 0 where there are none, or notes alone."
    )]
    Doctor {
        /// Mend what is stored twice, from what it is a copy of; safe while the site serves
        #[arg(long)]
        repair: bool,
    },
    /// Write the whole site to one file while it serves; - is standard output
    #[command(
        after_help = "The file is one of pg_dump's custom format. A file that is there is never \
        replaced. Who is logged in is left out."
    )]
    Backup { file: PathBuf },
    /// Bring a backup into an empty database, all of it or nothing
    #[command(
        after_help = "A damaged or foreign file is refused before anything is touched. The schema \
        is brought up to date, and everybody has to log in anew."
    )]
    Restore { file: PathBuf },
    /// Move the schema forward or back
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Bring posts in from elsewhere
    #[command(subcommand)]
    Import(import::Import),
    /// Write the whole site as lines of JSON
    Export(export::Export),
    /// Add and look after people
    #[command(subcommand)]
    User(user::User),
    /// Add a small set of sample posts, people and votes
    Demo,
    /// Print the description of the API (OpenAPI 3.1)
    Openapi,
}

/// What ends a command early, and with which exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// The configuration is fine by itself, but does not fit what is there.
    #[error("{0}")]
    Configuration(String),
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A check has found problems, and has said which.
    #[error("{0}")]
    Problems(String),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(err: sqlx::Error) -> Failure {
        Failure::Other(err.into())
    }
}

impl From<sqlx::migrate::MigrateError> for Failure {
    fn from(err: sqlx::migrate::MigrateError) -> Failure {
        Failure::Other(err.into())
    }
}

impl From<MigrationError> for Failure {
    fn from(err: MigrationError) -> Failure {
        match err {
            MigrationError::NoSuchVersion(_) | MigrationError::Mismatch(_) => {
                Failure::Configuration(err.to_string())
            }
            err => Failure::Other(err.into()),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(err: BackupError) -> Failure {
        Failure::Other(err.into())
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Setting(_) | Failure::Configuration(_) => 2,
            Failure::Local(_) | Failure::Other(_) => 1,
            Failure::Problems(_) => 3,
        }
    }
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let listen = match &cli.command {
        Some(Command::Serve(args)) => args.listen,
        _ => cli.serve.listen,
    };
    match run(cli.command, listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("social-post: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// A line of the answer, on stdout. Whoever stops reading, as `head` does, has had enough: that is no
/// failure.
fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.context("cannot write to standard output")?),
    }
}

fn run(command: Option<Command>, listen: Option<SocketAddr>) -> Result<(), Failure> {
    // Of the program, whatever its settings.
    if let Some(Command::Openapi) = command {
        return say(crate::openapi::json().context("cannot write the description")?);
    }
    let settings = Settings::load(listen)?;
    let socket = match command {
        None | Some(Command::Serve(_)) => service_manager::passed_socket()?,
        Some(_) => None,
    };
    logging::start(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    runtime.block_on(async {
        match command {
            None | Some(Command::Serve(_)) => serve::run(settings, socket).await,
            Some(Command::Doctor { repair }) => doctor::run(&settings, repair).await,
            Some(Command::Backup { file }) => backup::backup(&settings, &file).await,
            Some(Command::Restore { file }) => backup::restore(&settings, &file).await,
            Some(command) => with_database(&settings, command).await,
        }
    })
}

/// The commands beside `serve`: they work on the database, whether the site runs or not.
async fn with_database(settings: &Settings, command: Command) -> Result<(), Failure> {
    let (db, _, local) = open(settings).await?;
    let is_local = local.is_some();
    let done = async {
        let command = match command {
            Command::Migrate(command) => return migrate::run(&db, command).await,
            command => command,
        };
        current_schema(&db, is_local || settings.run_migrations).await?;
        match command {
            Command::Import(command) => import::run(&db, command).await,
            Command::Export(command) => export::run(&db, command).await,
            Command::User(command) => user::run(&db, settings, command).await,
            Command::Demo => demo::run(&db).await,
            // They have gone their own way, in `run` and above.
            Command::Serve(_)
            | Command::Doctor { .. }
            | Command::Backup { .. }
            | Command::Restore { .. }
            | Command::Migrate(_)
            | Command::Openapi => Ok(()),
        }
    }
    .await;
    close(db, local).await;
    done
}

/// The way to the database for a command that may take its time, and the local cluster if it is that.
async fn open(
    settings: &Settings,
) -> Result<(PgPool, PgConnectOptions, Option<LocalPostgres>), Failure> {
    let (options, local) = match &settings.database {
        Database::Url(options) => (PgConnectOptions::clone(options), None),
        Database::Local => {
            let local = LocalPostgres::join(&settings.data_dir).await?;
            (local.connect_options(), Some(local))
        }
    };
    Ok((pool::open_without_timeouts(options.clone()), options, local))
}

async fn close(db: PgPool, local: Option<LocalPostgres>) {
    db.close().await;
    if let Some(local) = local {
        local.stop().await;
    }
}

/// Sees to it that the schema is the one this program was built for: applies what is pending where
/// it may, and otherwise says which command does.
async fn current_schema(db: &PgPool, may_migrate: bool) -> Result<(), Failure> {
    match migrations::mismatch(db).await? {
        None => Ok(()),
        Some(Mismatch::Behind | Mismatch::Unfinished) if may_migrate => migrate::up(db).await,
        Some(mismatch) => Err(Failure::Configuration(mismatch.to_string())),
    }
}
