//! `export`: the whole site as lines of JSON.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use sqlx::PgPool;

use crate::{
    cli::Failure,
    text::counted,
    transfer::export::{
        Counts,
        db::{self, Problem},
    },
};

#[derive(Debug, clap::Args)]
#[command(after_help = "The file holds e-mail addresses and password hashes: protect it like the \
    database. `social-post import export FILE` imports it into an empty site.")]
pub struct Export {
    /// Where to write; without it, standard output
    file: Option<PathBuf>,
}

pub async fn run(db: &PgPool, Export { file }: Export) -> Result<(), Failure> {
    let written = match &file {
        Some(file) => Some(to_file(db, file).await?),
        None => to_stdout(db).await?,
    };
    if let Some(Counts { people, posts, votes, .. }) = written {
        let (people, posts) =
            (counted(people, "person", "people"), counted(posts, "post", "posts"));
        eprintln!("{people}, {posts} and {} exported", counted(votes, "vote", "votes"));
    }
    Ok(())
}

/// `None` if the reader stopped before the end.
async fn to_stdout(db: &PgPool) -> Result<Option<Counts>, Failure> {
    match db::write(db, &mut BufWriter::new(io::stdout())).await {
        Ok(counts) => Ok(Some(counts)),
        Err(Problem::Write(err)) if err.kind() == ErrorKind::BrokenPipe => Ok(None),
        Err(Problem::Write(err)) => Err(anyhow!("cannot write to standard output: {err}").into()),
        Err(problem) => Err(anyhow!("{problem}").into()),
    }
}

/// Writes to a temporary file beside `file` that only its owner may read, and renames it once it is
/// complete.
async fn to_file(db: &PgPool, file: &Path) -> Result<Counts, Failure> {
    let mut name = file
        .file_name()
        .with_context(|| format!("{} is not the name of a file", file.display()))?
        .to_owned();
    if file.is_dir() {
        return Err(anyhow!("{} is a directory", file.display()).into());
    }
    name.push(format!(".{}.partial", std::process::id()));
    let partial = Partial(file.with_file_name(name));
    let cannot = |err: io::Error| anyhow!("cannot write {}: {err}", file.display());
    let mut new = OpenOptions::new();
    let mut out = new.write(true).create_new(true).mode(0o600).open(&partial.0).map_err(cannot)?;
    let counts = match db::write(db, &mut BufWriter::new(&mut out)).await {
        Ok(counts) => counts,
        Err(Problem::Write(err)) => return Err(cannot(err).into()),
        Err(problem) => return Err(anyhow!("{problem}").into()),
    };
    out.flush().and_then(|()| out.sync_all()).map_err(cannot)?;
    fs::rename(&partial.0, file).map_err(cannot)?;
    // The directory too: a power cut right after must not lose the name.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let _ = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
    Ok(counts)
}

/// A file that is removed unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
