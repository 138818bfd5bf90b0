//! Settings, read and checked once, at the start.
//!
//! The environment wins over a `.env` file in the working directory. A `.env` file holds nothing but
//! settings, so an unknown name in it is a mistake and stops the start.

mod api;
mod database;
mod mail;
mod site;
mod source;

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use api::{Api, JwtSecret};
pub use database::{Database, Replica};
pub use mail::Outgoing;
pub use site::{BaseUrl, Site};
pub use source::BadSetting;

use source::{Source, bad, into_text, read_dotenv};

/// Every setting. Those that hold a secret may be given as a file: `DATABASE_URL_FILE`.
const KNOWN: [&str; 22] = [
    "DATABASE_URL",
    "DATABASE_REPLICA_URL",
    "DATABASE_MAX_CONNECTIONS",
    "DATA_DIR",
    "RUN_MIGRATIONS",
    "LISTEN_ADDR",
    "BASE_URL",
    "SITE_NAME",
    "TRUSTED_PROXIES",
    "SESSION_LIFETIME_DAYS",
    "JWT_SECRET",
    "JWT_SECRET_PREVIOUS",
    "API_ENABLED",
    "ACCESS_TOKEN_EXPIRE_MINUTES",
    "CORS_ALLOWED_ORIGINS",
    "SMTP_URL",
    "MAIL_FROM",
    "RATE_LIMITS",
    "METRICS_LISTEN_ADDR",
    "RUST_LOG",
    "LOG_FORMAT",
    "ACCESS_LOG",
];
const SECRETS: [&str; 5] =
    ["DATABASE_URL", "DATABASE_REPLICA_URL", "JWT_SECRET", "JWT_SECRET_PREVIOUS", "SMTP_URL"];

#[derive(Debug, Clone)]
pub struct Settings {
    pub database: Database,
    pub replica: Option<Replica>,
    pub max_connections: u32,
    pub data_dir: PathBuf,
    pub run_migrations: bool,
    pub listen: SocketAddr,
    /// A second address, for monitoring.
    pub metrics_listen: Option<SocketAddr>,
    pub site: Arc<Site>,
    pub api: Api,
    /// Whether `BASE_URL` is set; otherwise the site is taken to be on this machine.
    pub is_base_url_given: bool,
    pub mail: Option<Outgoing>,
    pub rate_limits: bool,
    pub log_filter: String,
    pub log_format: LogFormat,
    pub access_log: AccessLog,
    /// Files that hold a secret, each with the setting that names it.
    pub secret_files: Vec<(String, PathBuf)>,
}

/// Which requests have a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// Those that fail, with a status of 400 or more.
    Errors,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Settings {
    /// Reads the process's environment and `.env`; `listen` is the command line's.
    pub fn load(listen: Option<SocketAddr>) -> Result<Settings, BadSetting> {
        let file = read_dotenv(Path::new(".env"))?;
        Settings::from_source(listen, &|name| std::env::var_os(name).map(into_text(name)), &file)
    }

    /// As [`Settings::load`], from any source of variables.
    pub fn from_source(
        listen: Option<SocketAddr>,
        environment: &dyn Fn(&str) -> Option<Result<String, BadSetting>>,
        file: &HashMap<String, String>,
    ) -> Result<Settings, BadSetting> {
        let source = Source { environment, file };
        let (database, replica) = database::databases(&source)?;
        let is_local = matches!(database, Database::Local);
        let (listen, metrics_listen) = addresses(&source, listen)?;
        let (site, is_base_url_given) = site::site(&source, listen)?;
        Ok(Settings {
            database,
            replica,
            secret_files: secret_files(&source)?,
            max_connections: source.number("DATABASE_MAX_CONNECTIONS", 10, 2, 1000)?.unsigned_abs(),
            data_dir: source.text("DATA_DIR")?.unwrap_or_else(|| "./data".to_owned()).into(),
            run_migrations: source
                .parse("RUN_MIGRATIONS", "must be true or false")?
                .unwrap_or(false),
            listen,
            metrics_listen,
            site: Arc::new(site),
            api: api::api(&source, is_local)?,
            is_base_url_given,
            mail: mail::outgoing(source.secret("SMTP_URL")?, source.text("MAIL_FROM")?)?,
            rate_limits: match source.text("RATE_LIMITS")?.as_deref() {
                None | Some("on") => true,
                Some("off") => false,
                Some(_) => return Err(bad("RATE_LIMITS", "must be on or off")),
            },
            log_filter: source.text("RUST_LOG")?.unwrap_or_else(|| "info".to_owned()),
            log_format: match source.text("LOG_FORMAT")?.as_deref() {
                None | Some("text") => LogFormat::Text,
                Some("json") => LogFormat::Json,
                Some(_) => return Err(bad("LOG_FORMAT", "must be text or json")),
            },
            access_log: match source.text("ACCESS_LOG")?.as_deref() {
                None | Some("errors") => AccessLog::Errors,
                Some("all") => AccessLog::All,
                Some(_) => return Err(bad("ACCESS_LOG", "must be errors or all")),
            },
        })
    }
}

/// Where the site listens, and where its metrics do.
fn addresses(
    source: &Source,
    listen: Option<SocketAddr>,
) -> Result<(SocketAddr, Option<SocketAddr>), BadSetting> {
    let listen = match listen {
        Some(listen) => listen,
        None => source
            .parse("LISTEN_ADDR", "must be an address and a port, such as 127.0.0.1:8000")?
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8000))),
    };
    let metrics_listen = source
        .parse("METRICS_LISTEN_ADDR", "must be an address and a port, such as 127.0.0.1:9000")?;
    if metrics_listen.is_some_and(|metrics| overlap(metrics, listen)) {
        return Err(bad(
            "METRICS_LISTEN_ADDR",
            "is where the site listens (LISTEN_ADDR); /metrics needs an address of its own",
        ));
    }
    Ok((listen, metrics_listen))
}

/// Whether the two addresses cannot both be listened on.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let is_any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || is_any)
}

/// Files that hold a secret, each with the setting that names it.
fn secret_files(source: &Source) -> Result<Vec<(String, PathBuf)>, BadSetting> {
    let mut files = Vec::new();
    for name in SECRETS.map(|name| format!("{name}_FILE")) {
        files.extend(source.text(&name)?.map(|path| (name, path.into())));
    }
    if SECRETS.iter().any(|name| source.file.contains_key(*name)) {
        files.push((".env".to_owned(), ".env".into()));
    }
    Ok(files)
}
