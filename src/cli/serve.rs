//! `serve`: the site.

use std::pin::pin;

use anyhow::Context as _;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{
    cli::{Failure, schema, service_manager},
    config::{Database, JwtSecret, Settings},
    database::{
        local::{self, GIVE_UP_AFTER, LocalPostgres},
        pool,
    },
    live, ops, posts,
    routes::{self, App},
    server::{self, Listener, Shutdown, Timeouts, open_files},
};

/// Serves on `socket` where a service manager passed one, else on `LISTEN_ADDR`.
pub async fn run(settings: Settings, socket: Option<std::net::TcpListener>) -> Result<(), Failure> {
    open_files::raise_limit();
    let shutdown = Shutdown::default();
    tokio::spawn(listen_for_signals(shutdown.clone()));
    tokio::spawn(announce_shutdown(shutdown.clone()));
    // First, so that a taken port is reported before anything else is done.
    let listeners = Listeners::bind(&settings, socket).await?;
    match &settings.database {
        Database::Url(options) => {
            let secret = settings.api.secret.clone();
            let options = PgConnectOptions::clone(options);
            let may_migrate = settings.run_migrations;
            let postgres = local::Status::default();
            serve(&settings, options, secret, listeners, shutdown, may_migrate, postgres).await
        }
        Database::Local => serve_with_local(&settings, listeners, shutdown).await,
    }
}

async fn listen_for_signals(shutdown: Shutdown) {
    if let Err(err) = shutdown.request_on_signals().await {
        tracing::error!(%err, "cannot listen for signals; only kill -9 stops this");
    }
}

async fn announce_shutdown(shutdown: Shutdown) {
    shutdown.requested().await;
    service_manager::stopping();
}

/// Where the site and its metrics are reached.
struct Listeners {
    site: Listener,
    metrics: Option<TcpListener>,
}

impl Listeners {
    async fn bind(
        settings: &Settings,
        socket: Option<std::net::TcpListener>,
    ) -> Result<Listeners, Failure> {
        let site = match socket {
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
        Ok(Listeners { site, metrics })
    }
}

/// Serves with the program's own Postgres, which is stopped afterwards.
async fn serve_with_local(
    settings: &Settings,
    listeners: Listeners,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let local = LocalPostgres::start(&settings.data_dir).await?;
    let secret = match &settings.api.secret {
        None if !settings.api.is_off => JwtSecret::load_or_create(&settings.data_dir).map(Some),
        given => Ok(given.clone()),
    };
    let served = match secret {
        Ok(secret) => {
            let (options, postgres) = (local.connect_options(), local::Status::default());
            let serving = serve(
                settings,
                options,
                secret,
                listeners,
                shutdown.clone(),
                true,
                postgres.clone(),
            );
            let mut serving = pin!(serving);
            tokio::select! {
                served = &mut serving => served,
                // From here on the server ends because the program does.
                () = shutdown.requested() => serving.await,
                lost = local.supervise(&postgres, GIVE_UP_AFTER) => {
                    shutdown.request();
                    serving.await.and(Err(lost.into()))
                }
            }
        }
        Err(err) => Err(err.into()),
    };
    local.stop().await;
    served
}

async fn serve(
    settings: &Settings,
    options: PgConnectOptions,
    secret: Option<JwtSecret>,
    listeners: Listeners,
    shutdown: Shutdown,
    may_migrate: bool,
    postgres: local::Status,
) -> Result<(), Failure> {
    let db = pool::open(options.clone(), settings.max_connections);
    let app = App::new(settings, db.clone(), secret.as_ref(), shutdown.clone())?;
    let app = App { postgres, ..app };
    if let Some(replica) = app.replica.clone() {
        tokio::spawn(replica.watch(db.clone()));
    }
    schema::ensure_current_or_wait(options.clone(), may_migrate).await?;
    let changes = pool::open_without_timeouts(options);
    tokio::spawn(live::run(app.live.clone(), db.clone(), changes));
    tokio::spawn(ops::sweep::run(db.clone(), settings.site.clone()));

    log_start(settings, &listeners.site, &db).await?;
    if let Some(listener) = listeners.metrics {
        serve_metrics(listener, app.clone());
    }
    service_manager::ready();
    let running = app.limits.running.clone();
    let (router, timeouts) = (routes::router(app), Timeouts::default());
    server::serve(listeners.site, router, running, timeouts, shutdown.clone()).await;
    if !shutdown.is_immediate() {
        db.close().await;
    }
    Ok(())
}

/// Logs where the site is, and what the operator should know.
async fn log_start(settings: &Settings, listener: &Listener, db: &PgPool) -> Result<(), Failure> {
    if !settings.rate_limits {
        tracing::warn!("RATE_LIMITS is off: passwords can be guessed without limit");
    }
    let address = listener.local_addr().map_err(anyhow::Error::from)?;
    let origin = settings.site.base_url.origin();
    tracing::info!(%address, "serving {origin}");
    if !settings.is_base_url_given && !address.ip().is_loopback() {
        tracing::warn!(
            "BASE_URL is unset, so forms work at {origin} only: set it to the address that people open"
        );
    }
    if posts::db::is_empty(db).await.unwrap_or(false) {
        tracing::info!(
            "the site is empty: `bin/run demo` (or `social-post demo`) in another terminal adds sample posts"
        );
    }
    Ok(())
}

/// Serves `/metrics` until the process ends, so that a shutdown is monitored too.
fn serve_metrics(listener: TcpListener, app: App) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /metrics");
    }
    let router = routes::monitoring_router(app);
    let (running, never) = (TaskTracker::new(), Shutdown::default());
    let listener = Listener::own(listener);
    tokio::spawn(server::serve(listener, router, running, Timeouts::default(), never));
}
