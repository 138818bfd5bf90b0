//! Preparing the local cluster for the site.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::time::timeout;

/// The application's role, and the name of its database.
pub const APPLICATION: &str = "social_post";
pub const SUPERUSER: &str = "postgres";

/// Creates the application's role and database where they are missing. Safe to repeat and to
/// interrupt: what is missing is created the next time.
pub async fn prepare(admin: &PgConnectOptions) -> sqlx::Result<()> {
    let mut db = admin.connect().await?;

    let has_role: bool =
        sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(APPLICATION)
            .fetch_one(&mut db)
            .await?;
    if !has_role {
        sqlx::query("create role social_post login").execute(&mut db).await?;
    }

    let has_database: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(APPLICATION)
            .fetch_one(&mut db)
            .await?;
    if !has_database {
        sqlx::query("create database social_post owner social_post").execute(&mut db).await?;
    }

    db.close().await
}

/// Whether a log-in succeeds. A server that hangs counts as not answering.
pub async fn answers(options: &PgConnectOptions) -> bool {
    let visit = async { options.connect().await?.close().await };
    timeout(Duration::from_secs(5), visit).await.is_ok_and(|visited| visited.is_ok())
}

/// A session that counts as present for `keeper.sh`, which has to take the same lock alone.
pub async fn announce_presence(admin: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    let mut db = admin.connect().await?;
    sqlx::query("select pg_advisory_lock_shared(1)").execute(&mut db).await?;
    Ok(db)
}
