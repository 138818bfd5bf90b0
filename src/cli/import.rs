//! `import`: posts from elsewhere.

use clap::Subcommand;
use sqlx::PgPool;

use super::Failure;

#[derive(Debug, Subcommand)]
pub enum Import {}

pub async fn run(_: &PgPool, command: Import) -> Result<(), Failure> {
    match command {}
}
