//! `import csv`: posts from a file.

use std::{fs, path::Path, time::Instant};

use anyhow::anyhow;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    cli::import::{Failure, Progress, added, print_bad_rows, unreadable},
    text::counted,
    transfer::import::{
        Tally,
        csv::{self, OnBadRow, Reading, db},
    },
};

pub async fn run(db: &PgPool, file: &Path, strict: bool) -> Result<(), Failure> {
    let (started, now) = (Instant::now(), OffsetDateTime::now_utc());
    let on_bad = if strict { OnBadRow::Stop } else { OnBadRow::LeaveOut };
    let bytes = fs::read(file).map_err(|err| unreadable(file, &err))?;
    let reading = csv::read(&bytes, now, on_bad)
        .map_err(|bad| anyhow!("{}: {bad}; nothing was imported", file.display()))?;
    print_bad_rows(&reading.bad, reading.bad_count);
    let mut progress = Progress::default();
    let tally = db::bring_in(db, &reading.batch, now, |step| progress.show(step)).await;
    progress.clear();
    let tally = tally.map_err(|err| anyhow!("nothing was imported: {err}"))?;
    eprintln!("{}", summary(&reading, tally, started.elapsed().as_secs()));
    Ok(())
}

fn summary(reading: &Reading, tally: Tally, seconds: u64) -> String {
    let (all, skipped) = (reading.batch.rows.len(), counted(reading.bad_count, "row", "rows"));
    let seen = all as u64 - tally.posts;
    if tally.posts > 0 {
        let seen = if seen > 0 { format!("{seen} existed already, ") } else { String::new() };
        return format!("{} imported, {seen}{skipped} skipped, in {seconds} s", added(tally));
    }
    let what = match all {
        0 => "nothing to import: the file has no posts".to_owned(),
        1 => "nothing new: the one post exists already".to_owned(),
        _ => format!("nothing new: all {all} posts exist already"),
    };
    if reading.bad_count > 0 { format!("{what}, {skipped} skipped") } else { what }
}
