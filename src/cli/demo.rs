//! `demo`
use sqlx::PgPool;

use super::Failure;

pub async fn run(_: &PgPool) -> Result<(), Failure> {
    Ok(())
}
