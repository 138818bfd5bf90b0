//! What ends a command early, and its exit code.

use crate::{
    backup::BackupError,
    config::BadSetting,
    database::{local::LocalError, migrations::MigrationError},
};

/// Why a command failed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// The configuration is valid by itself, but does not fit the environment.
    #[error("{0}")]
    Configuration(String),
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A check has found problems, and has printed them.
    #[error("{0}")]
    Problems(String),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Setting(_) | Failure::Configuration(_) => 2,
            Failure::Local(_) | Failure::Other(_) => 1,
            Failure::Problems(_) => 3,
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(err: sqlx::Error) -> Failure {
        Failure::Other(err.into())
    }
}

impl From<sqlx::migrate::MigrateError> for Failure {
    fn from(err: sqlx::migrate::MigrateError) -> Failure {
        Failure::Other(err.into())
    }
}

impl From<MigrationError> for Failure {
    fn from(err: MigrationError) -> Failure {
        match err {
            MigrationError::NoSuchVersion(_) | MigrationError::Mismatch(_) => {
                Failure::Configuration(err.to_string())
            }
            err => Failure::Other(err.into()),
        }
    }
}

impl From<BackupError> for Failure {
    fn from(err: BackupError) -> Failure {
        Failure::Other(err.into())
    }
}
