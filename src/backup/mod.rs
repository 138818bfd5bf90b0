//! The whole site in one file: a dump in `pg_dump`'s own format, and behind it a seal.
//!
//! The format has no checksum of its own. The seal is the SHA-256 of all that comes before it, the
//! last line of the file, where `pg_restore` never looks: a file that was cut off has none, and a
//! changed one another.

pub mod db;

use std::{
    env,
    fmt::Write as _,
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use tokio::{io::AsyncReadExt as _, process::Command};

use crate::database::{
    MIGRATIONS,
    local::{LocalError, complaint, programs},
};

/// What begins every dump in this format.
const MAGIC: &[u8] = b"PGDMP";
const SEAL: &str = "\nsocial-post backup, sha256 ";
/// With the digest in hexadecimal, and the end of the line.
const SEAL_LEN: u64 = SEAL.len() as u64 + 64 + 1;

/// Who is logged in, and what opens a log-in, stays out: a restored site begins without, and a stolen
/// file opens nothing.
const LEFT_OUT: [&str; 5] = [
    "tower_sessions.session",
    "public.user_sessions",
    "public.mailed_links",
    "public.known_devices",
    "public.password_tries",
];

/// Why a backup or a restore did not come about: one line.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} is no backup of Social Post", .0.display())]
    Foreign(PathBuf),
    #[error(
        "{} was cut off, or made by pg_dump alone: take another backup, or restore what is left of \
         it with pg_restore", .0.display()
    )]
    NoSeal(PathBuf),
    #[error("{} is damaged, its bytes are not those that were written: take another backup", .0.display())]
    Damaged(PathBuf),
    #[error(
        "{} is from a newer Social Post (schema {theirs:04}, this program knows up to {ours:04}): \
         restore it with that one", .file.display()
    )]
    Newer { file: PathBuf, theirs: i64, ours: i64 },
    #[error("the database has tables already: restore goes into an empty one")]
    NotEmpty,
    #[error("there is no Social Post in this database to back up")]
    NothingThere,
    #[error("cannot use {}: {cause}", .file.display())]
    File { file: PathBuf, cause: io::Error },
    #[error("{program} failed: {said}")]
    Program { program: &'static str, said: String },
    #[error("nothing was restored, the database is as empty as before: {0}")]
    Restore(String),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Postgres' programs for dumps, and the way to one database.
pub struct Client {
    bin: PathBuf,
    environment: Vec<(&'static str, String)>,
    database: String,
}

impl Client {
    /// For a server of that version. The password goes by the environment, which nobody else sees,
    /// unlike arguments.
    pub fn new(options: &PgConnectOptions, server: u32) -> Result<Client, BackupError> {
        let bin = programs::clients(server)?;
        let database = options.get_database().unwrap_or(options.get_username()).to_owned();
        let host = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => options.get_host().to_owned(),
        };
        let mut environment = vec![
            ("PGHOST", host),
            ("PGPORT", options.get_port().to_string()),
            ("PGUSER", options.get_username().to_owned()),
            ("PGDATABASE", database.clone()),
            ("PGAPPNAME", "social-post backup".to_owned()),
        ];
        // The library tells these in no other way.
        let url = options.to_url_lossy();
        if let Some(password) = url.password() {
            let password = percent_decode_str(password).decode_utf8_lossy().into_owned();
            environment.push(("PGPASSWORD", password));
        }
        for (name, value) in url.query_pairs() {
            let variable = match &*name {
                "sslmode" => "PGSSLMODE",
                "sslrootcert" => "PGSSLROOTCERT",
                "sslcert" => "PGSSLCERT",
                "sslkey" => "PGSSLKEY",
                _ => continue,
            };
            environment.push((variable, value.into_owned()));
        }
        Ok(Client { bin, environment, database })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        let ours = env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"));
        for (name, _) in ours {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("LC_ALL", "C").arg("--no-password");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// Writes the dump and its seal to `sink`, which is whole only if this succeeds, and returns how
    /// many bytes. One moment of the database, however long it takes; nobody waits for it.
    pub async fn dump(
        &self,
        sink: &mut (impl Write + Send),
        mut progress: impl FnMut(u64),
    ) -> Result<u64, BackupError> {
        let mut command = self.command("pg_dump");
        command.args(["--format=custom", "--encoding=UTF8", "--lock-wait-timeout=60s"]);
        command.args(LEFT_OUT.map(|table| format!("--exclude-table-data={table}")));
        let failed = |cause: io::Error| program_failed("pg_dump", cause.to_string());
        let mut child = command.spawn().map_err(failed)?;
        let words = tokio::spawn(all_of(child.stderr.take()));
        let Some(mut stdout) = child.stdout.take() else { return Err(BackupError::NothingThere) };
        let (mut digest, mut length) = (Sha256::new(), 0);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = stdout.read(&mut buffer).await.map_err(failed)?;
            if count == 0 {
                break;
            }
            digest.update(&buffer[..count]);
            sink.write_all(&buffer[..count]).map_err(written)?;
            length += count as u64;
            progress(length);
        }
        let status = child.wait().await.map_err(failed)?;
        let words = words.await.unwrap_or_default();
        succeeded("pg_dump", status, &words)?;
        let seal = seal(&digest.finalize());
        sink.write_all(seal.as_bytes()).and_then(|()| sink.flush()).map_err(written)?;
        Ok(length + SEAL_LEN)
    }

    /// The newest schema in a dump of ours. Refuses what is not one, and what this program is too old
    /// for.
    pub async fn schema_of(&self, file: &Path) -> Result<i64, BackupError> {
        let mut command = self.command("pg_restore");
        command.args(["--data-only", "--schema=public", "--table=_sqlx_migrations", "--file=-"]);
        let output = command.arg(file).output().await;
        let output = output.map_err(|cause| program_failed("pg_restore", cause.to_string()))?;
        succeeded("pg_restore", output.status, &String::from_utf8_lossy(&output.stderr))?;
        let applied = history(&String::from_utf8_lossy(&output.stdout));
        let known = || MIGRATIONS.iter().filter(|one| one.migration_type.is_up_migration());
        let ours = known().map(|one| one.version).max().unwrap_or_default();
        let theirs = applied.iter().map(|(version, _)| *version).max();
        let theirs = theirs.ok_or_else(|| BackupError::Foreign(file.to_owned()))?;
        let is_ours = |(version, checksum): &(i64, String)| {
            let mut versions = known().filter(|one| one.version == *version);
            versions.any(|one| hex(&one.checksum) == *checksum)
        };
        let first_is_ours = applied.iter().any(|(version, sum)| is_ours(&(*version, sum.clone())));
        match applied.iter().all(is_ours) {
            true => Ok(theirs),
            false if theirs > ours && first_is_ours => {
                Err(BackupError::Newer { file: file.to_owned(), theirs, ours })
            }
            false => Err(BackupError::Foreign(file.to_owned())),
        }
    }

    /// Brings a dump into an empty database, all of it or nothing.
    pub async fn load(&self, file: &Path) -> Result<(), BackupError> {
        let mut command = self.command("pg_restore");
        let name = self.database.replace('\\', "\\\\").replace('\'', "\\'");
        command.args(["--single-transaction", "--exit-on-error"]);
        // Whoever restores owns it; and only an extension's owner may comment on it.
        command.args(["--no-owner", "--no-privileges", "--no-comments"]);
        let output = command.arg(format!("--dbname=dbname='{name}'")).arg(file).output().await;
        let output = output.map_err(|cause| BackupError::Restore(cause.to_string()))?;
        let words = String::from_utf8_lossy(&output.stderr);
        succeeded("pg_restore", output.status, &words).map_err(|err| match err {
            BackupError::Program { said, .. } => BackupError::Restore(said),
            err => err,
        })
    }
}

fn program_failed(program: &'static str, said: String) -> BackupError {
    BackupError::Program { program, said }
}

fn written(cause: io::Error) -> BackupError {
    BackupError::File { file: "the backup".into(), cause }
}

async fn all_of(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut words = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut words).await;
    }
    String::from_utf8_lossy(&words).into_owned()
}

fn succeeded(program: &'static str, status: ExitStatus, words: &str) -> Result<(), BackupError> {
    if status.success() {
        return Ok(());
    }
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines().find_map(complaint).or_else(|| lines().next_back());
    Err(program_failed(program, said.map_or_else(|| status.to_string(), str::to_owned)))
}

/// Version and checksum of each migration, from the text form of their table's rows.
fn history(copy: &str) -> Vec<(i64, String)> {
    let mut lines = copy.lines();
    let Some(head) = lines.find(|line| line.starts_with("COPY public._sqlx_migrations (")) else {
        return Vec::new();
    };
    let columns: Vec<&str> = head
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or_else(Vec::new, |(columns, _)| columns.split(", ").collect());
    let place = |name| columns.iter().position(|column| *column == name);
    let (Some(version), Some(checksum)) = (place("version"), place("checksum")) else {
        return Vec::new();
    };
    let rows = lines.take_while(|line| *line != "\\.");
    rows.filter_map(|row| {
        let fields: Vec<&str> = row.split('\t').collect();
        let sum = fields.get(checksum)?.trim_start_matches('\\').strip_prefix('x')?;
        Some((fields.get(version)?.parse().ok()?, sum.to_owned()))
    })
    .collect()
}

fn seal(digest: &[u8]) -> String {
    format!("{SEAL}{}\n", hex(digest))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads a file from end to end and refuses it unless it is a backup of ours, whole, to the last bit.
pub fn verify(path: &Path) -> Result<(), BackupError> {
    let failed = |cause| BackupError::File { file: path.to_owned(), cause };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::new(ErrorKind::InvalidInput, "it is no file")));
    }
    let mut magic = Vec::new();
    (&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
    if magic != MAGIC {
        return Err(BackupError::Foreign(path.to_owned()));
    }
    let Some(length) = metadata.len().checked_sub(SEAL_LEN) else {
        return Err(BackupError::NoSeal(path.to_owned()));
    };
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut rest = (&mut file).take(length);
    loop {
        let count = rest.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    let mut found = Vec::new();
    file.read_to_end(&mut found).map_err(failed)?;
    if !found.starts_with(SEAL.as_bytes()) {
        return Err(BackupError::NoSeal(path.to_owned()));
    }
    if found == seal(&digest.finalize()).as_bytes() {
        Ok(())
    } else {
        Err(BackupError::Damaged(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_read_from_a_dumps_text() {
        let text = "SET x;\nCOPY public._sqlx_migrations (version, description, checksum) FROM stdin;\n\
            1\tusers\t\\\\x0aff\n12\ta\\tb\t\\\\x00\n\\.\nrest\n";
        assert_eq!(history(text), [(1, "0aff".to_owned()), (12, "00".to_owned())]);
        assert_eq!(history("SET x;\n"), []);
    }
}
