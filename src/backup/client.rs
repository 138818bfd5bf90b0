//! Running `pg_dump` and `pg_restore`.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use tokio::{io::AsyncReadExt as _, process::Command};

use crate::{
    backup::{BackupError, checksum},
    database::{
        MIGRATIONS,
        local::{complaint, programs},
    },
    transfer::tables::{Backup, TABLES},
};

/// Postgres' dump programs, and how they connect to one database.
pub struct Client {
    bin: PathBuf,
    environment: Vec<(&'static str, String)>,
    database: String,
}

impl Client {
    /// For a server of that version. The password is passed in the environment, which other users
    /// cannot see, unlike arguments.
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
        // The library exposes these in no other way.
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

    /// Writes the dump and its checksum to `sink`, and returns the number of bytes. Incomplete unless
    /// this succeeds. The dump is one snapshot of the database, and blocks nobody.
    pub async fn dump(
        &self,
        sink: &mut (impl Write + Send),
        mut progress: impl FnMut(u64),
    ) -> Result<u64, BackupError> {
        let mut command = self.command("pg_dump");
        command.args(["--format=custom", "--encoding=UTF8", "--lock-wait-timeout=60s"]);
        command.args(left_out().map(|table| format!("--exclude-table-data={table}")));
        let failed = |cause: io::Error| program_failed("pg_dump", cause.to_string());
        let mut child = command.spawn().map_err(failed)?;
        let stderr = tokio::spawn(read_all(child.stderr.take()));
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
        let stderr = stderr.await.unwrap_or_default();
        succeeded("pg_dump", status, &stderr)?;
        let checksum = checksum::line(&digest.finalize());
        sink.write_all(checksum.as_bytes()).and_then(|()| sink.flush()).map_err(written)?;
        Ok(length + checksum.len() as u64)
    }

    /// The schema version of a backup. Refuses other files, and backups that are too new for this
    /// program.
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
            versions.any(|one| checksum::hex(&one.checksum) == *checksum)
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

    /// Restores a dump into an empty database, all of it or nothing.
    pub async fn load(&self, file: &Path) -> Result<(), BackupError> {
        let mut command = self.command("pg_restore");
        let name = self.database.replace('\\', "\\\\").replace('\'', "\\'");
        command.args(["--single-transaction", "--exit-on-error"]);
        // The restoring role becomes the owner, and only an extension's owner may comment on it.
        command.args(["--no-owner", "--no-privileges", "--no-comments"]);
        let output = command.arg(format!("--dbname=dbname='{name}'")).arg(file).output().await;
        let output = output.map_err(|cause| BackupError::Restore(cause.to_string()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        succeeded("pg_restore", output.status, &stderr).map_err(|err| match err {
            BackupError::Program { said, .. } => BackupError::Restore(said),
            err => err,
        })
    }
}

/// The tables whose rows stay out, with their schemas.
fn left_out() -> impl Iterator<Item = String> {
    let left_out = TABLES.iter().filter(|table| matches!(table.backup, Backup::LeftOut(_)));
    left_out.map(|table| {
        let has_schema = table.name.contains('.');
        if has_schema { table.name.to_owned() } else { format!("public.{}", table.name) }
    })
}

fn program_failed(program: &'static str, said: String) -> BackupError {
    BackupError::Program { program, said }
}

fn written(cause: io::Error) -> BackupError {
    BackupError::File { file: "the backup".into(), cause }
}

async fn read_all(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn succeeded(program: &'static str, status: ExitStatus, stderr: &str) -> Result<(), BackupError> {
    if status.success() {
        return Ok(());
    }
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
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
    let position = |name| columns.iter().position(|column| *column == name);
    let (Some(version), Some(checksum)) = (position("version"), position("checksum")) else {
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
