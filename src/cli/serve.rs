//! `serve`: the site.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    cli::{Failure, current_schema, service_manager},
    config::{self, Api, Database, JwtSecret, Settings, Site},
    database::{Replica, local::LocalPostgres, pool},
    lists::member_cache::MemberLists,
    live::{self, Live},
    mail::Mailer,
    posts,
    routes::{self, App},
    server::{self, Listener, Shutdown, Timeouts},
    tasks,
    users::{self, Passwords, secret::Secret, tokens::Tokens},
    web::{
        cache::{self, Versions},
        middleware::{page_cache::PageCache, timeout::Limits},
        throttle::Throttle,
    },
};

/// How long the start waits for the database before it serves without.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves on `socket` where one is handed over, else on `LISTEN_ADDR`.
pub async fn run(settings: Settings, socket: Option<std::net::TcpListener>) -> Result<(), Failure> {
    allow_open_files();
    let shutdown = Shutdown::default();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            if let Err(err) = shutdown.request_on_signals().await {
                tracing::error!(%err, "cannot listen for signals; only kill -9 stops this");
            }
        }
    });
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shutdown.requested().await;
            service_manager::stopping();
        }
    });
    // First, so that a taken port is said before anything else is done.
    let listener = match socket {
        Some(socket) => Listener::shared(socket).context("the socket of LISTEN_FDS")?,
        None => Listener::own(TcpListener::bind(settings.listen).await.map_err(|err| {
            let listen = settings.listen;
            anyhow::anyhow!("cannot listen on {listen}: {err}; choose another with --listen")
        })?),
    };

    let metrics = match settings.metrics_listen {
        None => None,
        Some(address) => Some(TcpListener::bind(address).await.map_err(|err| {
            anyhow::anyhow!("cannot listen on METRICS_LISTEN_ADDR={address}: {err}")
        })?),
    };
    let doors = Doors { site: listener, metrics };

    match &settings.database {
        Database::Url(options) => {
            let may_migrate = settings.run_migrations;
            let secret = settings.api.secret.clone();
            let options = PgConnectOptions::clone(options);
            serve(&settings, options, secret, doors, shutdown, may_migrate).await
        }
        Database::Local => {
            let local = LocalPostgres::start(&settings.data_dir).await?;
            let secret = match &settings.api.secret {
                None if !settings.api.is_off => kept_secret(&settings.data_dir).map(Some),
                given => Ok(given.clone()),
            };
            let served = match secret {
                Ok(secret) => {
                    let options = local.connect_options();
                    serve(&settings, options, secret, doors, shutdown, true).await
                }
                Err(err) => Err(err.into()),
            };
            local.stop().await;
            served
        }
    }
}

/// Where the site and its metrics are reached.
struct Doors {
    site: Listener,
    metrics: Option<TcpListener>,
}

async fn serve(
    settings: &Settings,
    options: PgConnectOptions,
    secret: Option<JwtSecret>,
    Doors { site: listener, metrics }: Doors,
    shutdown: Shutdown,
    may_migrate: bool,
) -> Result<(), Failure> {
    let db = pool::open(options.clone(), settings.max_connections);
    let changes = Versions::new(cache::LIFETIME);
    let replica = settings
        .replica
        .as_ref()
        .map(|config::Replica(options)| Replica::new(options, settings.max_connections));
    if let Some(replica) = replica.clone() {
        tokio::spawn(replica.watch(db.clone()));
    }
    let app = App {
        db: db.clone(),
        replica,
        site: settings.site.clone(),
        passwords: Passwords::new()?,
        tokens: secret.filter(|_| !settings.api.is_off).map(|secret| {
            let Api { previous, minutes, .. } = &settings.api;
            Tokens::new(&secret, previous.as_ref(), *minutes, &settings.site)
        }),
        origins: settings.api.origins.clone().into(),
        mailer: Mailer::new(settings.mail.as_ref())?,
        limits: Limits::default(),
        throttle: Throttle::new(settings.rate_limits),
        live: Live::new(changes.clone(), shutdown.clone(), settings.rate_limits),
        pages: PageCache::new(&changes),
        lists: MemberLists::new(&changes),
        shutdown: shutdown.clone(),
    };
    if !settings.rate_limits {
        tracing::warn!("RATE_LIMITS is off: nothing keeps anybody from guessing passwords");
    }
    let schema = pool::open_without_timeouts(options.clone());
    match timeout(STARTUP_TIMEOUT, current_schema(&schema, false)).await {
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
    tokio::spawn(live::run(app.live.clone(), db.clone(), pool::open_without_timeouts(options)));
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
    if let Some(listener) = metrics {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "serving /metrics");
        }
        let monitoring = routes::monitoring_router(app.clone());
        // To the very end: a shutdown is worth monitoring too.
        let (end, never) = (TaskTracker::new(), Shutdown::default());
        let listener = Listener::own(listener);
        tokio::spawn(server::serve(listener, monitoring, end, Timeouts::default(), never));
    }
    service_manager::ready();
    let running = app.limits.running.clone();
    let (router, timeouts) = (routes::router(app), Timeouts::default());
    server::serve(listener, router, running, timeouts, shutdown.clone()).await;
    if !shutdown.is_immediate() {
        db.close().await;
    }
    Ok(())
}

/// Every open page is a connection, and the customary thousand is soon used up; what the system permits
/// is not.
fn allow_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(err) = raised {
        tracing::warn!(%err, "cannot raise the limit of open files");
    }
}

/// What tokens are signed with where nobody has said: made once, and kept beside the local cluster.
fn kept_secret(data_dir: &Path) -> anyhow::Result<JwtSecret> {
    let path = data_dir.join("jwt-secret");
    let wrong = || format!("{}: remove it, and a new one is made", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|problem: &str| anyhow::anyhow!("{problem}"))
            .with_context(wrong),
        Err(err) if err.kind() == ErrorKind::NotFound => {
            let text = format!("{}{}", Secret::new().reveal(), Secret::new().reveal());
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| writeln!(file, "{text}"))
                .with_context(|| path.display().to_string())?;
            text.parse().map_err(|problem: &str| anyhow::anyhow!("{problem}"))
        }
        Err(err) => Err(err).with_context(|| path.display().to_string()),
    }
}

/// Until the database is back and its schema fits, `/readyz` says 503; here the log says why.
async fn await_schema(db: PgPool, may_migrate: bool) {
    tasks::supervise("schema", || {
        let db = db.clone();
        async move {
            while let Err(failure) = current_schema(&db, may_migrate).await {
                tracing::warn!(%failure, "not ready");
                sleep(Duration::from_secs(1)).await;
            }
            tracing::info!("the database is there");
            Ok(None)
        }
    })
    .await;
    db.close().await;
}

/// Clears away what has ended, a batch at a time. The library's own sweeper would shutdown for good at
/// the first error.
async fn sweep(db: PgPool, site: std::sync::Arc<Site>) {
    tasks::supervise("sweep", || {
        let (db, site) = (db.clone(), site.clone());
        async move {
            let swept = sweep_once(&db, &site).await.context("cannot clear what has ended")?;
            if swept == 0 {
                return Ok(Some(Duration::from_mins(10)));
            }
            tracing::debug!(swept, "cleared what has ended");
            Ok(Some(Duration::from_secs(1)))
        }
    })
    .await;
}

/// How many rows it cleared away; none once there is nothing left to do.
async fn sweep_once(db: &PgPool, site: &Site) -> sqlx::Result<u64> {
    let sessions = users::sessions::db::sweep(db, site).await?;
    let tries = users::credentials::db::sweep_attempts(db).await?;
    let keys = posts::db::sweep_keys(db).await?;
    Ok(sessions + tries + keys)
}
