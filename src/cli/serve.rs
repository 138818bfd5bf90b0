//! `serve`: the site.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Failure, current_schema};
use crate::{
    config::{Database, Settings, Site},
    database::{local::LocalPostgres, pool},
    mail::Mailer,
    posts,
    routes::{self, App},
    server::{self, Patience},
    users::{self, Passwords},
    web::{limits::Limits, throttle::Throttle},
};

/// How long the start waits for the database before it serves without.
const GLANCE: Duration = Duration::from_secs(1);

pub async fn run(settings: Settings) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            if let Err(err) = server::signalled().await {
                tracing::error!(%err, "cannot listen for signals; only kill -9 stops this");
                return;
            }
            stop.cancel();
        }
    });
    // First, so that a taken port is said before anything else is done.
    let listener = TcpListener::bind(settings.listen).await.map_err(|err| {
        anyhow::anyhow!("cannot listen on {}: {err}; choose another with --listen", settings.listen)
    })?;

    match &settings.database {
        Database::Url(options) => {
            let may_migrate = settings.run_migrations;
            serve(&settings, PgConnectOptions::clone(options), listener, stop, may_migrate).await
        }
        Database::Local => {
            let local = LocalPostgres::start(&settings.data_dir).await?;
            let served = serve(&settings, local.connect_options(), listener, stop, true).await;
            local.stop().await;
            served
        }
    }
}

async fn serve(
    settings: &Settings,
    options: PgConnectOptions,
    listener: TcpListener,
    stop: CancellationToken,
    may_migrate: bool,
) -> Result<(), Failure> {
    let db = pool::open(options.clone(), settings.max_connections);
    let app = App {
        db: db.clone(),
        site: settings.site.clone(),
        passwords: Passwords::new()?,
        mailer: Mailer::new(settings.mail.as_ref())?,
        limits: Limits::default(),
        throttle: Throttle::new(settings.rate_limits),
    };
    if !settings.rate_limits {
        tracing::warn!("RATE_LIMITS is off: nothing keeps anybody from guessing passwords");
    }
    let schema = pool::open_unhurried(options);
    match timeout(GLANCE, current_schema(&schema, false)).await {
        Ok(Ok(())) => schema.close().await,
        Ok(Err(Failure::Configuration(problem))) if !may_migrate => {
            return Err(Failure::Configuration(problem));
        }
        // Where it may, it migrates before it serves; nobody knows how long that takes.
        Ok(Err(Failure::Configuration(_))) => {
            current_schema(&schema, true).await?;
            schema.close().await;
        }
        // The site starts while its database is away, and is ready once that is back.
        Ok(Err(failure)) => {
            tracing::warn!(%failure, "the database does not answer yet");
            tokio::spawn(await_schema(schema, may_migrate));
        }
        Err(_) => {
            tracing::warn!("the database does not answer yet");
            tokio::spawn(await_schema(schema, may_migrate));
        }
    }
    tokio::spawn(sweep(db.clone(), settings.site.clone()));

    let address = listener.local_addr().map_err(anyhow::Error::from)?;
    let origin = settings.site.base_url.origin();
    tracing::info!(%address, "serving {origin}");
    if !settings.is_base_url_given && !address.ip().is_loopback() {
        tracing::warn!(
            "BASE_URL is unset, so forms work at {origin} only: set it to the address that people open"
        );
    }
    if posts::db::is_empty(&db).await.unwrap_or(false) {
        tracing::info!(
            "the site is empty: `bin/run demo` (or `social-post demo`) in another terminal adds sample posts"
        );
    }
    let running = app.limits.running.clone();
    let (router, patience) = (routes::router(app), Patience::default());
    server::serve(listener, router, running, patience, stop.cancelled_owned()).await;
    db.close().await;
    Ok(())
}

/// Until the database is back and its schema fits, `/readyz` says 503; here the log says why.
async fn await_schema(db: PgPool, may_migrate: bool) {
    while let Err(failure) = current_schema(&db, may_migrate).await {
        tracing::warn!(%failure, "not ready");
        sleep(Duration::from_secs(1)).await;
    }
    tracing::info!("the database is there");
    db.close().await;
}

/// Clears away what has ended, a batch at a time. An error only postpones it: the library's own sweeper
/// would stop for good.
async fn sweep(db: PgPool, site: std::sync::Arc<Site>) {
    loop {
        let pause = match sweep_once(&db, &site).await {
            Ok(swept) if swept > 0 => {
                tracing::debug!(swept, "cleared what has ended");
                Duration::from_secs(1)
            }
            Ok(_) => Duration::from_mins(10),
            Err(err) => {
                tracing::warn!(%err, "cannot clear what has ended");
                Duration::from_secs(30)
            }
        };
        sleep(pause).await;
    }
}

/// How many rows it cleared away; none once there is nothing left to do.
async fn sweep_once(db: &PgPool, site: &Site) -> sqlx::Result<u64> {
    let sessions = users::sessions::db::sweep(db, site).await?;
    let tries = users::proof::db::sweep_tries(db).await?;
    let keys = posts::db::sweep_keys(db).await?;
    Ok(sessions + tries + keys)
}
