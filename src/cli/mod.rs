//! The command line: one file for each command.

mod backup;
mod demo;
mod doctor;
mod export;
mod failure;
mod import;
mod logging;
mod migrate;
mod schema;
mod serve;
mod service_manager;
mod user;

use std::{
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use sqlx::{PgPool, postgres::PgConnectOptions};

use crate::{
    config::{Database, Settings},
    database::{local::LocalPostgres, pool},
};

use failure::Failure;
use logging::Stderr;

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
    /// Check the settings, the database and the data
    #[command(
        after_help = "Each finding is one line that says how to fix it. The exit code is 3 if one is a \
        problem, 0 if there are none, or only notes."
    )]
    Doctor {
        /// Rebuild ranks and search entries that are wrong; safe while the site serves
        #[arg(long)]
        repair: bool,
    },
    /// Write the whole site to one file while it serves; - is standard output
    #[command(
        after_help = "The file has pg_dump's custom format. An existing file is never replaced. \
        Sessions are left out."
    )]
    Backup { file: PathBuf },
    /// Restore a backup into an empty database, all of it or nothing
    #[command(
        after_help = "A damaged or foreign file is refused before anything is changed. Pending \
        migrations are applied, and everyone has to log in again."
    )]
    Restore { file: PathBuf },
    /// Move the schema forward or back
    #[command(subcommand)]
    Migrate(migrate::Migrate),
    /// Import posts from elsewhere
    #[command(subcommand)]
    Import(import::Import),
    /// Write the whole site as lines of JSON
    Export(export::Export),
    /// Manage people
    #[command(subcommand)]
    User(user::User),
    /// Add a small set of sample posts, people and votes
    Demo,
    /// Print the description of the API (OpenAPI 3.1)
    Openapi,
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let listen = match &cli.command {
        Some(Command::Serve(args)) => args.listen,
        _ => cli.serve.listen,
    };
    let stderr = Stderr::open();
    match run(cli.command, listen, &stderr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            stderr.say(format_args!("social-post: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Names the threads for lists of them (`ps -L`, and `tests/it/cost.rs`): the runtime starts its own first,
/// one for each core, and those for blocking work (`cpu`) when there is some.
fn thread_name() -> impl Fn() -> String {
    let started = AtomicUsize::new(0);
    move || {
        let is_worker = started.fetch_add(1, Ordering::Relaxed) < workers();
        if is_worker { "runtime" } else { "blocking" }.to_owned()
    }
}

/// How many threads the runtime has of its own.
fn workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Prints a line to stdout. A reader that stops early, as `head` does, is not an error.
fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(err) if err.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.context("cannot write to standard output")?),
    }
}

fn run(
    command: Option<Command>,
    listen: Option<SocketAddr>,
    stderr: &Stderr,
) -> Result<(), Failure> {
    // It does not depend on the settings.
    if let Some(Command::Openapi) = command {
        return say(crate::openapi::json().context("cannot write the description")?);
    }
    let settings = Settings::load(listen)?;
    let socket = match command {
        None | Some(Command::Serve(_)) => service_manager::passed_socket()?,
        Some(_) => None,
    };
    logging::start(&settings, stderr)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .thread_name_fn(thread_name())
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

/// The commands beside `serve`: they work on the database, while the site runs or not.
async fn with_database(settings: &Settings, command: Command) -> Result<(), Failure> {
    let (db, _, local) = open(settings).await?;
    let is_local = local.is_some();
    let done = async {
        let command = match command {
            Command::Migrate(command) => return migrate::run(&db, command).await,
            command => command,
        };
        schema::ensure_current(&db, is_local || settings.run_migrations).await?;
        match command {
            Command::Import(command) => import::run(&db, command).await,
            Command::Export(command) => export::run(&db, command).await,
            Command::User(command) => user::run(&db, settings, command).await,
            Command::Demo => demo::run(&db).await,
            // Handled in `run` and above.
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

/// The database for a command that may take long, and the local cluster where that is used.
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
