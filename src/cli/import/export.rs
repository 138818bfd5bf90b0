//! `import export`: a whole site, as `export` wrote it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    time::Instant,
};

use anyhow::anyhow;
use sqlx::PgPool;

use crate::{
    cli::import::{Failure, Progress, added, unreadable},
    transfer::import::export::{
        BadFile, Reader,
        db::{self, Problem},
    },
};

pub async fn run(db: &PgPool, file: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    let mut progress = Progress::default();
    let tally = if file == Path::new("-") {
        // It can be read only once, so it is checked while it is imported.
        match Reader::open(io::stdin().lock()) {
            Ok(reader) => db::bring_in(reader, None, db, &mut |step| progress.show(step)).await,
            Err(bad) => Err(bad.into()),
        }
    } else {
        let expected = check(open(file)?).map_err(|bad| refused(file, &bad.into()))?;
        match Reader::open(open(file)?) {
            Ok(reader) => {
                let expected = Some(expected);
                db::bring_in(reader, expected, db, &mut |step| progress.show(step)).await
            }
            Err(bad) => Err(bad.into()),
        }
    };
    progress.clear();
    let tally = tally.map_err(|problem| refused(file, &problem))?;
    eprintln!("{} imported in {} s", added(tally), started.elapsed().as_secs());
    Ok(())
}

fn open(file: &Path) -> Result<BufReader<File>, Failure> {
    let opened = File::open(file).map_err(|err| unreadable(file, &err))?;
    if opened.metadata().is_ok_and(|facts| facts.is_dir()) {
        return Err(anyhow!("{} is a directory", file.display()).into());
    }
    Ok(BufReader::with_capacity(64 * 1024, opened))
}

/// Checks a whole file before anything is imported, and counts its posts and votes.
fn check(input: impl BufRead) -> Result<(u64, u64), BadFile> {
    let mut reader = Reader::open(input)?;
    while reader.record()?.is_some() {}
    let counts = reader.counts();
    Ok((counts.posts, counts.votes))
}

fn refused(file: &Path, problem: &Problem) -> Failure {
    let place = match problem {
        Problem::File(_) if file == Path::new("-") => "standard input, ".to_owned(),
        Problem::File(_) => format!("{}, ", file.display()),
        Problem::NotEmpty | Problem::Database(_) => String::new(),
    };
    anyhow!("{place}{problem}; nothing was imported").into()
}
