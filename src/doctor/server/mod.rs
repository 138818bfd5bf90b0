//! Postgres itself: does it store texts and commits safely, and has it free connections?

mod db;

use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use crate::{config::Settings, doctor::Finding, text::counted};

const OLDEST: i32 = 150_000;
/// Tokens tolerate five seconds, and a request takes some of them.
const MAX_CLOCK_SKEW: Duration = Duration::seconds(2);

pub async fn check(db: &PgPool, settings: &Settings) -> sqlx::Result<Vec<Finding>> {
    let version = db::version(db).await?;
    if version < OLDEST {
        return Ok(vec![Finding::problem(
            "version",
            format!("the server is Postgres {}", version / 10_000),
            "move the data to Postgres 15 or newer, with pg_dump and pg_restore",
        )]);
    }
    let server = db::server(db).await?;
    let mut found = texts(&server);
    found.extend(safety(&server));
    found.extend(clock(db).await?);
    found.extend(connections(&server, settings.max_connections));
    for one in db::lingering(db).await? {
        let db::Lingering { pid, application, is_idle, seconds } = one;
        let what = format!(
            "process {pid} ({application}) {} for {seconds} s",
            if is_idle { "sits idle in a transaction" } else { "is in one transaction" }
        );
        let mend = format!("wait for it, or select pg_terminate_backend({pid})");
        // A backup may take long.
        let is_dump = ["pg_dump", "social-post backup"].contains(&application.as_str());
        let kind = if is_dump { Finding::note } else { Finding::problem };
        found.push(kind("transactions", what, mend));
    }
    match db::trigrams(db).await? {
        Some((installed, Some(newest))) if installed != newest => found.push(Finding::note(
            "extensions",
            format!("pg_trgm is {installed}, and {newest} is available"),
            "alter extension pg_trgm update",
        )),
        _ => {}
    }
    found.extend(db::invalid_indexes(db).await?.into_iter().map(|index| {
        Finding::problem(
            "indexes",
            format!("the index {index} is not valid: building it was interrupted"),
            format!("reindex index concurrently {index}"),
        )
    }));
    Ok(found)
}

fn texts(server: &db::Server) -> Vec<Finding> {
    let mut found = Vec::new();
    if server.encoding != "UTF8" {
        found.push(Finding::problem(
            "encoding",
            format!("the database is in {}, which cannot hold every text", server.encoding),
            "backup, create database NEW encoding 'UTF8' template template0, restore",
        ));
    }
    if server.is_by_libc && ["C", "POSIX"].contains(&server.ctype.as_str()) {
        found.push(Finding::note(
            "collation",
            format!(
                "with the locale {} the search for similar titles ignores letters beyond A to Z",
                server.ctype
            ),
            "backup, create database NEW locale 'C.UTF-8' template template0, restore",
        ));
    }
    if server.has_other_collation {
        found.push(Finding::problem(
            "collation",
            "the system sorts texts differently than when the indexes were built",
            format!(
                "reindex database {0}; alter database {0} refresh collation version",
                server.name
            ),
        ));
    }
    found
}

fn safety(server: &db::Server) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, value, lost) in [
        ("fsync", &server.fsync, "a power cut may destroy the database"),
        ("full_page_writes", &server.full_page_writes, "a power cut may destroy the database"),
        ("synchronous_commit", &server.synchronous_commit, "a crash loses acknowledged writes"),
    ] {
        if value == "off" {
            found.push(Finding::problem(
                "durability",
                format!("{name} is off: {lost}"),
                format!("alter system set {name} = on; select pg_reload_conf(), and see that no database or role has its own"),
            ));
        }
    }
    if server.data_checksums == "off" {
        found.push(Finding::note(
            "checksums",
            "data checksums are off, so disk corruption goes unnoticed",
            "stop Postgres and run pg_checksums --enable -D ITS_DIRECTORY",
        ));
    }
    if server.is_standby {
        found.push(Finding::problem(
            "standby",
            "this server is a standby, and nothing can be written",
            "point DATABASE_URL at the primary, or promote this one with select pg_promote()",
        ));
    }
    if server.is_superuser {
        found.push(Finding::note(
            "role",
            "the site is a superuser of its database server",
            "create role social_post login; alter database ... owner to social_post, and use that",
        ));
    }
    if server.logs_values {
        found.push(Finding::problem(
            "server-log",
            "the server's log keeps statements with their values: addresses and hashes",
            "alter system set log_parameter_max_length = 0; select pg_reload_conf()",
        ));
    }
    found
}

async fn clock(db: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let before = OffsetDateTime::now_utc();
    let theirs = db::clock(db).await?;
    let after = OffsetDateTime::now_utc();
    let apart = (before - theirs).max(theirs - after);
    if apart <= MAX_CLOCK_SKEW {
        return Ok(Vec::new());
    }
    Ok(vec![Finding::problem(
        "clock",
        format!("this machine's clock and the database's are {} s apart", apart.whole_seconds()),
        "synchronize both clocks: timedatectl set-ntp true",
    )])
}

fn connections(server: &db::Server, pool: u32) -> Vec<Finding> {
    let most = u32::try_from(server.most_connections).unwrap_or_default();
    let taken = u32::try_from(server.connections).unwrap_or_default();
    let mend = "lower DATABASE_MAX_CONNECTIONS, or raise max_connections and restart Postgres";
    if pool > most {
        let what = format!("DATABASE_MAX_CONNECTIONS is {pool}, and Postgres allows {most} in all");
        return vec![Finding::problem("connections", what, mend)];
    }
    if taken * 10 > most * 9 {
        let taken = counted(taken, "connection", "connections");
        let what = format!("{taken} of {most} are in use");
        return vec![Finding::note("connections", what, mend)];
    }
    Vec::new()
}
