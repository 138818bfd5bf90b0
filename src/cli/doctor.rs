//! `doctor`: what is wrong, and the line that mends it.

use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, PgPool, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::{
    cli::{Failure, say},
    config::{self, Database, Settings},
    database::{
        local::LocalPostgres,
        migrations::{self, Mismatch},
        pool, replica,
    },
    doctor::{Finding, Severity, counted, data, repair, server, settings as chosen},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Says every finding as soon as it is there. Problems end it with exit code 3.
pub async fn run(settings: &Settings, is_repair: bool) -> Result<(), Failure> {
    let mut report = Report::default();
    report.add(chosen::check(settings))?;
    report.add(chosen::files(settings))?;
    report.add(chosen::disk(settings))?;
    match &settings.database {
        Database::Url(options) => database(&mut report, settings, options, is_repair).await?,
        Database::Local => local(&mut report, settings, is_repair).await?,
    }
    report.end()
}

async fn local(report: &mut Report, settings: &Settings, is_repair: bool) -> Result<(), Failure> {
    // To look must not make anything.
    if settings.data_dir.join("postgres").symlink_metadata().is_err() {
        let what = format!("there is no database in {} yet", settings.data_dir.display());
        let mend = "`social-post serve` makes one, or set DATABASE_URL to use another";
        return report.add(vec![Finding::note("database", what, mend)]);
    }
    match LocalPostgres::join(&settings.data_dir).await {
        Ok(local) => {
            let done = database(report, settings, &local.connect_options(), is_repair).await;
            local.stop().await;
            done
        }
        Err(err) => {
            let mend = "see its logs in DATA_DIR/postgres/log";
            report.add(vec![Finding::problem("database", err.to_string(), mend)])
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
    let err = match timeout(PATIENCE, visit).await {
        Ok(Ok(())) => return None,
        Ok(Err(err)) => err,
        Err(_) => {
            let what = format!("the database does not answer within {} s", PATIENCE.as_secs());
            let mend = "see whether it runs, hangs or is behind a firewall";
            return Some(Finding::problem("database", what, mend));
        }
    };
    let code = err.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let name = options.get_database().unwrap_or(options.get_username());
    let mend = match code.as_deref() {
        Some("28P01" | "28000") => "correct the name and the password in DATABASE_URL".to_owned(),
        Some("3D000") => format!("createdb {name}"),
        Some(code) if code.starts_with("53") => "close other connections to it".to_owned(),
        Some(_) => "see the log of that server".to_owned(),
        None => "start Postgres, or correct the host and the port in DATABASE_URL".to_owned(),
    };
    Some(Finding::problem("database", format!("the database does not let us in: {err}"), mend))
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
        let mend = match mismatch {
            Mismatch::Behind | Mismatch::Unfinished => "social-post migrate up",
            Mismatch::Ahead => "run the newer social-post, or its `social-post migrate down`",
            Mismatch::Foreign => "social-post migrate status, and the program that migrated it",
        };
        return report.add(vec![Finding::problem("schema", mismatch.to_string(), mend)]);
    }
    report.add(data::sweeping(db, &settings.site).await?)?;
    let found = data::check(db).await?;
    if !is_repair {
        return report.add(found);
    }
    let mended = repair::all(db).await?;
    for line in mended.lines() {
        say(line)?;
    }
    // Looked at again: whatever is said now is still so.
    report.add(data::check(db).await?)
}

/// The site does without a replica, and the primary has all the work then.
async fn replica(db: &PgPool, settings: &Settings) -> sqlx::Result<Vec<Finding>> {
    let Some(config::Replica(options)) = &settings.replica else { return Ok(Vec::new()) };
    let fault = replica::fault(options, db).await?;
    let mend = "see its log and pg_stat_replication of the primary, or remove DATABASE_REPLICA_URL";
    let finding =
        |fault| Finding::problem("replica", format!("the replica is left out: {fault}"), mend);
    Ok(fault.map(finding).into_iter().collect())
}

/// What was found so far.
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
