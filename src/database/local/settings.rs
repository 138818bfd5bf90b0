//! The configuration of the cluster, rewritten at every start.

use std::io;
use std::path::Path;

use crate::database::local::{
    db::{APPLICATION, SUPERUSER},
    os_user::OsUser,
};

/// Whether a crash of the machine may lose what was written.
#[derive(Clone, Copy, PartialEq)]
pub enum Durability {
    Full,
    None,
}

/// After a crash one system call writes out the whole file system, instead of one for each file: with the
/// usual `fsync` that is most of a recovery. Only Linux has it.
const SYNC_AT_ONCE: &str = "\nrecovery_init_sync_method = syncfs\n";

/// Connections over the socket only, and only for root and the cluster's own user, which the system
/// authenticates: there are no passwords.
pub fn write(
    dir: &Path,
    socket_dir: &Path,
    user: &OsUser,
    durability: Durability,
) -> io::Result<()> {
    // Relative where it is in the cluster: the path before may hold any character.
    let socket_dir = socket_dir.strip_prefix(dir).unwrap_or(socket_dir).display();
    let mut conf = include_str!("social-post.conf").replace("SOCKET_DIR", &socket_dir.to_string());
    if cfg!(target_os = "linux") {
        conf.push_str(SYNC_AT_ONCE);
    }
    if durability == Durability::None {
        conf.push_str(include_str!("tests.conf"));
    }
    let system_users = ["root", &user.name];
    let ident = system_users.map(|system_user| {
        [SUPERUSER, APPLICATION].map(|role| format!("social_post \"{system_user}\" {role}\n"))
    });

    user.write(&dir.join("social-post.conf"), &conf)?;
    user.write(&dir.join("pg_ident.conf"), &ident.concat().concat())?;
    user.write(&dir.join("pg_hba.conf"), "local all all peer map=social_post\n")
}
