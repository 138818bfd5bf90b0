//! The operating system's user that runs Postgres: never root.

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;
use tokio::time::timeout;

use crate::database::local::LocalError;

pub struct OsUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The user of the cluster in the directory: its owner if it exists, else the current user, or for root
/// the user `postgres`, or `nobody` where there is none.
pub fn for_cluster(data_dir: &Path) -> Result<OsUser, LocalError> {
    let me = geteuid();
    let dir = data_dir.join("postgres");
    // An ordinary user cannot look into another's cluster; root may have created an empty directory.
    let witness = if me.is_root() { dir.join("PG_VERSION") } else { dir.clone() };
    match fs::metadata(&witness).map(|metadata| Uid::from_raw(metadata.uid())) {
        Ok(owner) if owner.is_root() && me.is_root() => {
            Err(LocalError::RootOwned { dir, user: service_user()?.name })
        }
        Ok(owner) if owner != me && !me.is_root() => {
            let owner = OsUser::find(owner).map_or(owner.to_string(), |user| user.name);
            Err(LocalError::OtherOwner { dir, owner })
        }
        Ok(owner) => OsUser::find(owner),
        Err(_) if me.is_root() => service_user(),
        Err(_) => OsUser::find(me),
    }
}

fn service_user() -> Result<OsUser, LocalError> {
    let find = |name| User::from_name(name).ok().flatten().map(OsUser::from);
    find("postgres").or_else(|| find("nobody")).ok_or(LocalError::Nameless(65534))
}

impl OsUser {
    fn find(uid: Uid) -> Result<OsUser, LocalError> {
        let user = User::from_uid(uid).ok().flatten();
        user.map(OsUser::from).ok_or(LocalError::Nameless(uid.as_raw()))
    }

    /// A command that runs as this user in `dir`, with English messages, and without the `PG…`
    /// variables of our own environment.
    pub fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG"))
        {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        if geteuid().is_root() {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Whether the user can enter the directory, which depends on every directory above. Found by trying.
    pub async fn can_enter(&self, dir: &Path) -> bool {
        self.command(Path::new("true"), dir).status().await.is_ok_and(|status| status.success())
    }

    /// Creates a directory that only the user may enter.
    pub fn make_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(dir)?;
        self.give(dir)
    }

    /// Writes a file that only the user may read, completely or not at all.
    pub fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let new = path.with_added_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // `create_new` does not follow a link that the user may have left there for root.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        self.give(&new)?;
        fs::rename(new, path)
    }

    /// Gives the user a file or directory that we just created as root; otherwise it is theirs already.
    fn give(&self, path: &Path) -> io::Result<()> {
        // Never through a link: another user may be able to put one there meanwhile.
        if geteuid().is_root() { lchown(path, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }
}

/// Runs the program to its end. The inner error is the program's own error message.
pub async fn run(command: &mut Command, limit: Duration) -> Result<Result<(), String>, LocalError> {
    let program = PathBuf::from(command.as_std().get_program());
    let output = match timeout(limit, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(cause)) => return Err(LocalError::Run { program, cause }),
        Err(_) => return Ok(Err(format!("no end after {} seconds", limit.as_secs()))),
    };
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let reason = lines().find_map(complaint).or_else(|| lines().next_back());
    Ok(Err(reason.map_or_else(|| output.status.to_string(), str::to_owned)))
}

/// The error in a line of Postgres' programs or logs, if it has one.
pub fn complaint(line: &str) -> Option<&str> {
    let said = ["error: ", "FATAL: ", "PANIC: "].iter().find_map(|tag| line.split_once(tag))?.1;
    Some(said.trim())
}

impl From<User> for OsUser {
    fn from(user: User) -> OsUser {
        OsUser { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }
}
