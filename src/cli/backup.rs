//! `backup` and `restore`: the whole site to one file, and back.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::IsTerminal as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use sqlx::{PgPool, postgres::PgConnectOptions};

use crate::{
    backup::{BackupError, Client, checksum, db},
    cli::{Failure, close, migrate, open, say},
    config::Settings,
    doctor::data,
    text::counted,
    transfer::import,
};

/// Writes the site to `file`, which appears only once it is complete; `-` is standard output.
pub async fn backup(settings: &Settings, file: &Path) -> Result<(), Failure> {
    let is_stream = file == Path::new("-");
    if !is_stream && file.symlink_metadata().is_ok() {
        return Err(Failure::Configuration(format!(
            "{} exists already: name another file, or remove that one",
            file.display()
        )));
    }
    let (pool, options, local) = open(settings).await?;
    let done = if is_stream {
        to_stream(&pool, &options).await
    } else {
        to_file(&pool, &options, file).await
    };
    close(pool, local).await;
    done
}

async fn to_stream(pool: &PgPool, options: &PgConnectOptions) -> Result<(), Failure> {
    client(pool, options).await?.dump(&mut std::io::stdout(), |_| {}).await?;
    Ok(())
}

async fn to_file(pool: &PgPool, options: &PgConnectOptions, path: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    let client = client(pool, options).await?;
    let part = PathBuf::from([path.as_os_str(), ".part".as_ref()].join(&OsString::new()));
    let mut file = open_locked(&part)?;
    let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
    let dumped = client.dump(&mut file, |bytes| {
        if let Some(bar) = &bar {
            bar.set_message(size(bytes));
            bar.tick();
        }
    });
    let dumped = dumped.await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let bytes = match dumped {
        Ok(bytes) => bytes,
        Err(err) => {
            // An incomplete backup is useless.
            let _ = fs::remove_file(&part);
            return Err(err.into());
        }
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    file.sync_all()
        .and_then(|()| fs::rename(&part, path))
        .and_then(|()| File::open(parent.unwrap_or(Path::new(".")))?.sync_all())
        .with_context(|| format!("cannot keep {}", path.display()))?;
    eprintln!("{}: {} in {} s", path.display(), size(bytes), started.elapsed().as_secs());
    Ok(())
}

/// Opens and locks the temporary file, for its owner only. What a killed backup left is overwritten.
fn open_locked(part: &Path) -> Result<File, Failure> {
    let failed = || format!("cannot write {}", part.display());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(part).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(anyhow!("another backup is writing {}", part.display()).into());
        }
        Err(TryLockError::Error(err)) => return Err(anyhow!(err).context(failed()).into()),
    }
    file.set_len(0).with_context(failed)?;
    Ok(file)
}

async fn client(pool: &PgPool, options: &PgConnectOptions) -> Result<Client, Failure> {
    if !db::is_ours(pool).await? {
        return Err(BackupError::NothingThere.into());
    }
    Ok(Client::new(options, db::server(pool).await?)?)
}

fn size(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// Restores a backup into an empty database, applies pending migrations, ends all sessions and checks
/// the data.
pub async fn restore(settings: &Settings, file: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    // First, so that a bad file changes nothing and creates no cluster.
    checksum::verify(file)?;
    let (pool, options, local) = open(settings).await?;
    let done = restore_into(&pool, &options, file, started).await;
    close(pool, local).await;
    done
}

async fn restore_into(
    pool: &PgPool,
    options: &PgConnectOptions,
    file: &Path,
    started: Instant,
) -> Result<(), Failure> {
    if !db::is_empty(pool).await? {
        return Err(BackupError::NotEmpty.into());
    }
    let client = Client::new(options, db::server(pool).await?)?;
    let schema = client.schema_of(file).await?;
    let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
    if let Some(bar) = &bar {
        bar.set_message(format!("restoring schema {schema:04}"));
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    let loaded = client.load(file).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    loaded?;
    migrate::up(pool).await?;
    db::end_sessions(pool).await.context(
        "restored, but sessions and tokens are not ended: restore into another empty database",
    )?;
    import::db::vacuum(pool).await?;
    let counts = db::counts(pool).await?.into_iter();
    let counts: Vec<_> = counts.map(|(count, one, many)| counted(count, one, many)).collect();
    eprintln!(
        "restored {} in {} s; everyone has to log in again",
        counts.join(", "),
        started.elapsed().as_secs()
    );
    let found = data::check(pool).await?;
    for finding in &found {
        say(finding)?;
    }
    match found.len() {
        0 => Ok(()),
        problems => Err(Failure::Problems(counted(problems, "problem", "problems"))),
    }
}
