//! `doctor`: what is wrong, and how to fix it.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, PgPool, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::{
    cli::{Failure, say},
    config::{self, Database, Settings},
    database::{
        local::{self, LocalPostgres},
        migrations::{self, Mismatch},
        pool, replica,
    },
    doctor::{Finding, Severity, data, repair, server, settings as configuration},
    text::counted,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints each finding as soon as it is known. Problems end it with exit code 3.
pub async fn run(settings: &Settings, is_repair: bool) -> Result<(), Failure> {
    let mut report = Report::default();
    report.add(configuration::check(settings))?;
    report.add(configuration::files(settings))?;
    report.add(configuration::disk(settings))?;
    match &settings.database {
        Database::Url(options) => database(&mut report, settings, options, is_repair).await?,
        Database::Local => local(&mut report, settings, is_repair).await?,
    }
    report.end()
}

async fn local(report: &mut Report, settings: &Settings, is_repair: bool) -> Result<(), Failure> {
    // A check must not create anything.
    if settings.data_dir.join("postgres").symlink_metadata().is_err() {
        let what = format!("there is no database in {} yet", settings.data_dir.display());
        let fix = "`social-post serve` creates one, or set DATABASE_URL to use another";
        return report.add(vec![Finding::note("database", what, fix)]);
    }
    // An error would be found again below.
    if let Ok(Some(local::Outage { owner, cause })) = local::outage(&settings.data_dir) {
        let what = format!("the program's own Postgres is down: {cause}");
        let fix = format!(
            "wait for the running social-post (process {owner}), which starts it again; if it does \
             not come back, remove the cause, and see its logs in DATA_DIR/postgres/log"
        );
        return report.add(vec![Finding::problem("database", what, fix)]);
    }
    match LocalPostgres::join(&settings.data_dir).await {
        Ok(local) => {
            let done = database(report, settings, &local.connect_options(), is_repair).await;
            local.stop().await;
            done
        }
        Err(err) => {
            let fix = "see its logs in DATA_DIR/postgres/log";
            report.add(vec![Finding::problem("database", err.to_string(), fix)])
        }
    }
}

async fn database(
    report: &mut Report,
    settings: &Settings,
    options: &PgConnectOptions,
    is_repair: bool,
) -> Result<(), Failure> {
    if let Some(finding) = unreachable(options).await {
        return report.add(vec![finding]);
    }
    let db = pool::open_without_timeouts(options.clone());
    let done = look(report, settings, &db, is_repair).await;
    db.close().await;
    done
}

async fn unreachable(options: &PgConnectOptions) -> Option<Finding> {
    let visit = async { options.connect().await?.close().await };
    let err = match timeout(CONNECT_TIMEOUT, visit).await {
        Ok(Ok(())) => return None,
        Ok(Err(err)) => err,
        Err(_) => {
            let what =
                format!("the database does not answer within {} s", CONNECT_TIMEOUT.as_secs());
            let fix = "check whether it runs, hangs or is behind a firewall";
            return Some(Finding::problem("database", what, fix));
        }
    };
    let code = err.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let name = options.get_database().unwrap_or(options.get_username());
    let fix = match code.as_deref() {
        Some("28P01" | "28000") => "correct the name and the password in DATABASE_URL".to_owned(),
        Some("3D000") => format!("createdb {name}"),
        Some(code) if code.starts_with("53") => "close other connections to it".to_owned(),
        Some(_) => "see the log of that server".to_owned(),
        None => "start Postgres, or correct the host and the port in DATABASE_URL".to_owned(),
    };
    Some(Finding::problem("database", format!("the database refuses the connection: {err}"), fix))
}

async fn look(
    report: &mut Report,
    settings: &Settings,
    db: &PgPool,
    is_repair: bool,
) -> Result<(), Failure> {
    report.add(server::check(db, settings).await?)?;
    report.add(replica(db, settings).await?)?;
    if let Some(mismatch) = migrations::mismatch(db).await? {
        let fix = match mismatch {
            Mismatch::Behind | Mismatch::Unfinished => "social-post migrate up",
            Mismatch::Ahead => "run the newer social-post, or its `social-post migrate down`",
            Mismatch::Foreign => "social-post migrate status, and the program that migrated it",
        };
        return report.add(vec![Finding::problem("schema", mismatch.to_string(), fix)]);
    }
    report.add(data::leftovers(db, &settings.site).await?)?;
    let found = data::check(db).await?;
    if !is_repair {
        return report.add(found);
    }
    for line in repair::all(db).await?.lines() {
        say(line)?;
    }
    // Checked again: what is reported now was not repaired.
    report.add(data::check(db).await?)
}

/// The site works without its replica, but the primary has all the load then.
async fn replica(db: &PgPool, settings: &Settings) -> sqlx::Result<Vec<Finding>> {
    let Some(config::Replica(options)) = &settings.replica else { return Ok(Vec::new()) };
    let fault = replica::fault(options, db).await?;
    let fix = "see its log and pg_stat_replication of the primary, or remove DATABASE_REPLICA_URL";
    let finding =
        |fault| Finding::problem("replica", format!("the replica is left out: {fault}"), fix);
    Ok(fault.map(finding).into_iter().collect())
}

/// How much was found so far.
#[derive(Default)]
struct Report {
    problems: usize,
    notes: usize,
}

impl Report {
    fn add(&mut self, found: Vec<Finding>) -> Result<(), Failure> {
        for finding in found {
            match finding.severity {
                Severity::Problem => self.problems += 1,
                Severity::Note => self.notes += 1,
            }
            say(finding)?;
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        if self.problems > 0 {
            return Err(Failure::Problems(counted(self.problems, "problem", "problems")));
        }
        match self.notes {
            0 => say("all is well"),
            notes => say(format_args!("all is well, with {}", counted(notes, "note", "notes"))),
        }
    }
}
