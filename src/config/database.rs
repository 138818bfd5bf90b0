//! Where the database is.

use std::fmt;

use sqlx::postgres::PgConnectOptions;

use crate::config::{
    BadSetting,
    source::{Source, bad},
};

/// Where the data is.
#[derive(Clone)]
pub enum Database {
    /// A Postgres that is run by others.
    Url(Box<PgConnectOptions>),
    /// A cluster of our own in `DATA_DIR/postgres`.
    Local,
}

/// A standby of the database, for reads that tolerate a delay.
#[derive(Clone)]
pub struct Replica(pub Box<PgConnectOptions>);

/// The database and its replica.
pub(super) fn databases(source: &Source) -> Result<(Database, Option<Replica>), BadSetting> {
    let database = match source.secret("DATABASE_URL")? {
        None => Database::Local,
        Some(url) => Database::Url(parse_database_url("DATABASE_URL", &url)?),
    };
    let replica = match source.secret("DATABASE_REPLICA_URL")? {
        None => None,
        Some(url) => Some(Replica(parse_database_url("DATABASE_REPLICA_URL", &url)?)),
    };
    if matches!(database, Database::Local) && replica.is_some() {
        return Err(bad("DATABASE_URL", "is needed beside DATABASE_REPLICA_URL"));
    }
    Ok((database, replica))
}

fn parse_database_url(name: &str, url: &str) -> Result<Box<PgConnectOptions>, BadSetting> {
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if !is_postgres {
        return Err(bad(name, "must begin with postgres://"));
    }
    // Not the library's message: it may quote the URL, which may hold a password.
    url.parse()
        .map(Box::new)
        .map_err(|_| bad(name, "is not a URL such as postgres://user@host/database"))
}

/// The options hold a password.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Database::Url(_) => "Url(..)",
            Database::Local => "Local",
        })
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replica(..)")
    }
}
