//! `import`: posts from elsewhere.

use std::{
    fs,
    io::{ErrorKind, IsTerminal as _},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::anyhow;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::Failure;
use crate::import::{
    Step, Tally,
    csv::{self, OnBadRow, Reading},
    db,
};

#[derive(Debug, Subcommand)]
pub enum Import {
    /// Bring in the posts of a CSV file, with their authors and votes
    #[command(
        after_help = "The header names the columns id, title, url, points, comments, author \
        and created_at, in any order; others are ignored. A post that came in before, by its id, \
        does not come in again."
    )]
    Csv {
        file: PathBuf,
        /// Stop at the first bad row and bring in nothing, instead of leaving bad rows out
        #[arg(long)]
        strict: bool,
    },
}

pub async fn run(db: &PgPool, command: Import) -> Result<(), Failure> {
    match command {
        Import::Csv { file, strict } => csv_file(db, &file, strict).await,
    }
}

async fn csv_file(db: &PgPool, file: &Path, strict: bool) -> Result<(), Failure> {
    let (begun, now) = (Instant::now(), OffsetDateTime::now_utc());
    let on_bad = if strict { OnBadRow::Stop } else { OnBadRow::LeaveOut };
    let reading = csv::read(&read(file)?, now, on_bad)
        .map_err(|bad| anyhow!("{}: {bad}; nothing was brought in", file.display()))?;
    name_bad_rows(&reading);
    let mut progress = Progress::default();
    let tally = db::bring_in(db, &reading.batch, now, |step| progress.show(step)).await;
    progress.clear();
    let tally = tally.map_err(|err| anyhow!("nothing was brought in: {err}"))?;
    eprintln!("{}", summary(&reading, tally, begun.elapsed().as_secs()));
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = fs::read(file).map_err(|err| match err.kind() {
        // In full: a relative one is read from where the program runs, which is not always where
        // somebody typed it.
        ErrorKind::NotFound => {
            let full = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            anyhow!("there is no file {}", full.display())
        }
        ErrorKind::IsADirectory => anyhow!("{} is a directory", file.display()),
        _ => anyhow!("cannot read {}: {err}", file.display()),
    })?;
    Ok(bytes)
}

fn name_bad_rows(reading: &Reading) {
    for bad in &reading.bad {
        eprintln!("{bad}");
    }
    if let more @ 1.. = reading.bad_count - reading.bad.len() {
        eprintln!("and {} more like these", counted(more, "row", "rows"));
    }
}

fn summary(reading: &Reading, tally: Tally, seconds: u64) -> String {
    let (all, skipped) = (reading.batch.rows.len(), counted(reading.bad_count, "row", "rows"));
    let seen = all as u64 - tally.posts;
    if tally.posts > 0 {
        let seen = if seen > 0 { format!("{seen} were here already, ") } else { String::new() };
        return format!("{} brought in, {seen}{skipped} skipped, in {seconds} s", added(tally));
    }
    let what = match all {
        0 => "nothing to bring in: the file has no posts".to_owned(),
        1 => "nothing new: the one post is here already".to_owned(),
        _ => format!("nothing new: all {all} posts are here already"),
    };
    if reading.bad_count > 0 { format!("{what}, {skipped} skipped") } else { what }
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

fn counted(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", if count == 1 { one } else { many })
}

/// How far the import is: a bar on a terminal, lines elsewhere.
#[derive(Default)]
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn show(&mut self, step: Step) {
        match step {
            Step::Waiting => eprintln!("another import is running; waiting for its end"),
            Step::Begun { votes, .. } if std::io::stderr().is_terminal() => {
                self.bar = Some(ProgressBar::new(votes).with_style(style()));
            }
            Step::Begun { posts, votes } => {
                let (posts, votes) =
                    (counted(posts, "post", "posts"), counted(votes, "vote", "votes"));
                eprintln!("bringing in {posts} with {votes}");
            }
            Step::Votes(count) => self.with(|bar| bar.set_position(count)),
            Step::Finishing => self.with(|bar| bar.set_message("ranking and indexing")),
        }
    }

    fn clear(&self) {
        self.with(ProgressBar::finish_and_clear);
    }

    fn with(&self, draw: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &self.bar {
            draw(bar);
        }
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} votes {eta} {msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}
