//! `import`: posts from elsewhere.

mod csv;
mod export;
mod fastapi;
mod progress;

use std::{
    fmt::Display,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::anyhow;
use clap::Subcommand;
use sqlx::PgPool;

use crate::{
    cli::{Failure, import::progress::Progress},
    text::counted,
    transfer::import::Tally,
};

#[derive(Debug, Subcommand)]
pub enum Import {
    /// Import the posts of a CSV file, with their authors and votes
    #[command(
        after_help = "The header names the columns id, title, url, points, comments, author \
        and created_at, in any order; others are ignored. A post that was imported before, by its \
        id, is not imported again."
    )]
    Csv {
        file: PathBuf,
        /// Stop at the first bad row and import nothing, instead of skipping bad rows
        #[arg(long)]
        strict: bool,
    },
    /// Import the people, posts and votes of a FastAPI app into an empty site
    #[command(
        after_help = "It reads the tables users, posts and votes; ids, dates and votes are kept, and \
        people log in with their old passwords. Their names are made from their e-mail addresses. \
        Unpublished posts are left out. The app may keep running, and is not changed."
    )]
    Fastapi {
        /// The app's database, such as `postgresql://user:password@host/database`; `-` reads it from
        /// standard input, so that the password is in no list of processes
        url: String,
        /// Stop at the first bad row and import nothing, instead of skipping bad rows
        #[arg(long)]
        strict: bool,
    },
    /// Import what `export` has written into an empty site
    Export {
        /// The file; `-` reads standard input
        file: PathBuf,
    },
}

pub async fn run(db: &PgPool, command: Import) -> Result<(), Failure> {
    match command {
        Import::Csv { file, strict } => csv::run(db, &file, strict).await,
        Import::Fastapi { url, strict } => fastapi::run(db, &url, strict).await,
        Import::Export { file } => export::run(db, &file).await,
    }
}

/// `3 posts, 1 person and 20 votes`.
pub(super) fn added(tally: Tally) -> String {
    format!(
        "{}, {} and {}",
        counted(tally.posts, "post", "posts"),
        counted(tally.people, "person", "people"),
        counted(tally.votes, "vote", "votes"),
    )
}

/// Prints the first bad rows, of so many in all.
fn print_bad_rows(bad: &[impl Display], count: usize) {
    for bad in bad {
        eprintln!("{bad}");
    }
    if let more @ 1.. = count - bad.len() {
        eprintln!("and {} more like these", counted(more, "row", "rows"));
    }
}

/// Why a file cannot be read.
fn unreadable(file: &Path, err: &io::Error) -> anyhow::Error {
    match err.kind() {
        // The absolute path: a relative one depends on the directory in which the program runs.
        ErrorKind::NotFound => {
            let full = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            anyhow!("there is no file {}", full.display())
        }
        ErrorKind::IsADirectory => anyhow!("{} is a directory", file.display()),
        _ => anyhow!("cannot read {}: {err}", file.display()),
    }
}
