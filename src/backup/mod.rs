//! The whole site in one file: a dump in `pg_dump`'s own format, followed by a checksum.
//!
//! [`client`] runs `pg_dump` and `pg_restore`, [`checksum`] protects the file, and [`db`] is what both
//! ways need of the database. [`crate::transfer::tables`] says which tables are left out.

pub mod checksum;
pub mod client;
pub mod db;

use std::{io, path::PathBuf};

pub use client::Client;

use crate::database::local::LocalError;

/// Why a backup or a restore failed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} is not a backup of Social Post", .0.display())]
    Foreign(PathBuf),
    #[error(
        "{} was cut off, or made by pg_dump alone: take another backup, or restore what is left of \
         it with pg_restore", .0.display()
    )]
    NoChecksum(PathBuf),
    #[error("{} is damaged, its checksum is wrong: take another backup", .0.display())]
    Damaged(PathBuf),
    #[error(
        "{} is from a newer Social Post (schema {theirs:04}, this program knows up to {ours:04}): \
         restore it with that one", .file.display()
    )]
    Newer { file: PathBuf, theirs: i64, ours: i64 },
    #[error("the database has tables already: restore into an empty one")]
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
