//! Settings, read and checked once, at the start.
//!
//! The environment wins over a `.env` file in the working directory. A `.env` file holds nothing
//! but settings, so a name in it that is none is a slip and stops the start.

use std::{
    collections::HashMap,
    fmt, fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use axum::http::HeaderValue;
use ipnet::IpNet;
use lettre::{AsyncSmtpTransport, Tokio1Executor, message::Mailbox};
use sqlx::postgres::PgConnectOptions;
use url::Url;

/// Every setting. Those that hold a secret may be given as a file: `DATABASE_URL_FILE`.
const KNOWN: [&str; 21] = [
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
    /// A second address, for whoever watches the site.
    pub metrics_listen: Option<SocketAddr>,
    pub site: Arc<Site>,
    pub api: Api,
    /// Whether somebody has said what the site's address is; else it is taken to be this machine's.
    pub is_base_url_given: bool,
    pub mail: Option<Outgoing>,
    pub rate_limits: bool,
    pub log_filter: String,
    pub log_format: LogFormat,
    /// Files that hold a secret, each with the setting that names it.
    pub secret_files: Vec<(String, PathBuf)>,
}

/// Where the data is.
#[derive(Clone)]
pub enum Database {
    /// A Postgres that somebody else runs.
    Url(Box<PgConnectOptions>),
    /// A cluster of our own in `DATA_DIR/postgres`.
    Local,
}

/// A standby of the database that somebody else runs, for reads that may be late.
#[derive(Clone)]
pub struct Replica(pub Box<PgConnectOptions>);

/// The face for programs.
#[derive(Debug, Clone)]
pub struct Api {
    /// Off by the setting; otherwise it is on where there is a secret.
    pub is_off: bool,
    pub secret: Option<JwtSecret>,
    pub previous: Option<JwtSecret>,
    /// The life of a token.
    pub minutes: i32,
    /// Whose pages may call it from a browser.
    pub origins: Vec<HeaderValue>,
}

/// What tokens are signed with: at least 32 bytes that nobody guesses.
#[derive(Clone)]
pub struct JwtSecret(String);

impl JwtSecret {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for JwtSecret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<JwtSecret, &'static str> {
        // Printed in FastAPI's tutorial and at jwt.io, from where people copy them.
        const EXAMPLES: [&str; 2] = [
            "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
            "a-string-secret-at-least-256-bits-long",
        ];
        let mut distinct: Vec<u8> = text.bytes().collect();
        distinct.sort_unstable();
        distinct.dedup();
        match text.len() {
            0..32 => Err("must be 32 bytes or more, such as from `openssl rand -hex 32`"),
            _ if EXAMPLES.contains(&text) || distinct.len() < 8 => {
                Err("is no secret: take one from `openssl rand -hex 32`")
            }
            _ => Ok(JwtSecret(text.to_owned())),
        }
    }
}

impl fmt::Debug for JwtSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtSecret(..)")
    }
}

/// The way out for mail, and who it is from.
#[derive(Clone)]
pub struct Outgoing {
    /// As lettre reads it; may hold a password.
    pub url: String,
    pub from: Mailbox,
}

/// What pages and cookies need to know of the site.
#[derive(Debug, Clone)]
pub struct Site {
    pub name: String,
    pub base_url: BaseUrl,
    /// A session ends after this many days without a visit.
    pub session_idle_days: i32,
    /// Who may say for whom they ask (`X-Forwarded-For`).
    pub trusted_proxies: Vec<IpNet>,
}

impl Site {
    /// A session ends after this many days whatever happens.
    pub fn session_absolute_days(&self) -> i32 {
        self.session_idle_days.max(90)
    }

    /// Over https a cookie carries `__Host-`: no other host and no plain connection can set it.
    pub fn cookie_name(&self, name: &str) -> String {
        if self.base_url.is_secure() { format!("__Host-{name}") } else { name.to_owned() }
    }
}

/// The site's public origin: scheme, host and port, as a browser writes them in `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    origin: String,
    is_secure: bool,
}

impl BaseUrl {
    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The origin's host, without a port.
    pub fn host(&self) -> &str {
        let host = self.origin.split_once("://").map_or("", |(_, host)| host);
        let port = host.rsplit_once(':');
        let port = port.filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        port.map_or(host, |(host, _)| host)
    }
}

impl FromStr for BaseUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<BaseUrl, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL such as https://example.org")?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("must begin with http:// or https://");
        }
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_bare {
            return Err("must be an origin alone, without a path, such as https://example.org");
        }
        Ok(BaseUrl {
            origin: url.origin().ascii_serialization(),
            is_secure: url.scheme() == "https",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// One line: which setting, and what is wrong with it. Never the value of a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct BadSetting {
    name: String,
    problem: String,
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

        let database = match source.secret("DATABASE_URL")? {
            None => Database::Local,
            Some(url) => Database::Url(parse_database_url("DATABASE_URL", &url)?),
        };
        let is_local = matches!(database, Database::Local);
        let replica = match source.secret("DATABASE_REPLICA_URL")? {
            None => None,
            Some(url) => Some(Replica(parse_database_url("DATABASE_REPLICA_URL", &url)?)),
        };
        if is_local && replica.is_some() {
            return Err(bad("DATABASE_URL", "is needed beside DATABASE_REPLICA_URL"));
        }
        let listen = match listen {
            Some(listen) => listen,
            None => source
                .parse("LISTEN_ADDR", "must be an address and a port, such as 127.0.0.1:8000")?
                .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8000))),
        };
        let metrics_listen = source.parse(
            "METRICS_LISTEN_ADDR",
            "must be an address and a port, such as 127.0.0.1:9000",
        )?;
        if metrics_listen.is_some_and(|metrics| is_one_place(metrics, listen)) {
            return Err(bad(
                "METRICS_LISTEN_ADDR",
                "is where the site listens (LISTEN_ADDR); /metrics needs an address of its own",
            ));
        }
        let base_url = source.text("BASE_URL")?;
        let is_base_url_given = base_url.is_some();
        let base_url = match base_url {
            Some(url) => url.parse().map_err(|problem: &str| bad("BASE_URL", problem))?,
            None => BaseUrl { origin: local_origin(listen.port()), is_secure: false },
        };
        let name = source.text("SITE_NAME")?.unwrap_or_else(|| "Social Post".to_owned());
        let name =
            crate::text::line(&name).map_err(|problem| bad("SITE_NAME", &problem.to_string()))?;
        if name.chars().count() > 60 {
            return Err(bad("SITE_NAME", "must be 60 characters or fewer"));
        }
        let trusted_proxies = networks(source.text("TRUSTED_PROXIES")?.as_deref())?;
        let session_idle_days = source.number("SESSION_LIFETIME_DAYS", 30, 1, 3650)?;
        let mut secret_files = Vec::new();
        for name in SECRETS.map(|name| format!("{name}_FILE")) {
            secret_files.extend(source.text(&name)?.map(|path| (name, path.into())));
        }
        if SECRETS.iter().any(|name| file.contains_key(*name)) {
            secret_files.push((".env".to_owned(), ".env".into()));
        }

        Ok(Settings {
            database,
            replica,
            max_connections: source.number("DATABASE_MAX_CONNECTIONS", 10, 2, 1000)?.unsigned_abs(),
            data_dir: source.text("DATA_DIR")?.unwrap_or_else(|| "./data".to_owned()).into(),
            run_migrations: source
                .parse("RUN_MIGRATIONS", "must be true or false")?
                .unwrap_or(false),
            listen,
            metrics_listen,
            site: Arc::new(Site { name, base_url, session_idle_days, trusted_proxies }),
            api: api(&source, is_local)?,
            is_base_url_given,
            mail: outgoing(source.secret("SMTP_URL")?, source.text("MAIL_FROM")?)?,
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
            secret_files,
        })
    }
}

/// Where values come from, the first that has one winning. An empty value is no value.
struct Source<'a> {
    environment: &'a dyn Fn(&str) -> Option<Result<String, BadSetting>>,
    file: &'a HashMap<String, String>,
}

impl Source<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, BadSetting> {
        let value = match (self.environment)(name).transpose()? {
            Some(value) if !value.is_empty() => Some(value),
            _ => self.file.get(name).filter(|value| !value.is_empty()).cloned(),
        };
        match value {
            Some(value) if value.contains('\0') => Err(bad(name, "has a U+0000 in it")),
            value => Ok(value),
        }
    }

    fn secret(&self, name: &str) -> Result<Option<String>, BadSetting> {
        let file_name = format!("{name}_FILE");
        match (self.text(name)?, self.text(&file_name)?) {
            (Some(_), Some(_)) => {
                Err(bad(name, &format!("and {file_name} are both set; keep one")))
            }
            (Some(value), None) => Ok(Some(value)),
            (None, None) => Ok(None),
            (None, Some(path)) => match fs::read_to_string(&path) {
                Ok(value) if !value.trim().is_empty() => Ok(Some(value.trim().to_owned())),
                Ok(_) => Err(bad(&file_name, &format!("names {path}, which is empty"))),
                Err(err) => {
                    Err(bad(&file_name, &format!("names {path}, which cannot be read: {err}")))
                }
            },
        }
    }

    fn parse<T: FromStr>(&self, name: &str, problem: &str) -> Result<Option<T>, BadSetting> {
        let value = self.text(name)?;
        value.map(|value| value.parse().map_err(|_| bad(name, problem))).transpose()
    }

    fn number(&self, name: &str, default: i32, least: i32, most: i32) -> Result<i32, BadSetting> {
        let problem = format!("must be a whole number from {least} to {most}");
        let number = self.parse(name, &problem)?.unwrap_or(default);
        if (least..=most).contains(&number) { Ok(number) } else { Err(bad(name, &problem)) }
    }
}

fn read_dotenv(path: &Path) -> Result<HashMap<String, String>, BadSetting> {
    let entries = match dotenvy::from_path_iter(path) {
        Err(err) if err.not_found() => return Ok(HashMap::new()),
        Err(err) => return Err(bad(".env", &format!("cannot be read: {err}"))),
        Ok(entries) => entries,
    };
    let mut file = HashMap::new();
    for entry in entries {
        // The library's own message quotes the line, and the line may hold a password.
        let (name, value) = entry.map_err(|_| bad(".env", "has a line that is not NAME=value"))?;
        let is_file = name.strip_suffix("_FILE").is_some_and(|name| SECRETS.contains(&name));
        if !is_file && !KNOWN.contains(&name.as_str()) {
            return Err(bad(&name, "in .env is no setting of this program"));
        }
        if file.insert(name.clone(), value).is_some() {
            return Err(bad(&name, "is twice in .env"));
        }
    }
    Ok(file)
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

/// The networks of a comma list, by default this machine's own; a lone address is a network of one.
fn networks(list: Option<&str>) -> Result<Vec<IpNet>, BadSetting> {
    let list = list.unwrap_or("127.0.0.0/8,::1/128").split(',').map(str::trim);
    list.filter(|item| !item.is_empty())
        .map(|item| item.parse().or_else(|_| item.parse().map(|address: IpAddr| address.into())))
        .collect::<Result<_, _>>()
        .map_err(|_| bad("TRUSTED_PROXIES", "must be networks such as 127.0.0.0/8,::1/128"))
}

fn api(source: &Source, is_local: bool) -> Result<Api, BadSetting> {
    let secret = |name| {
        let text = source.secret(name)?;
        text.map(|text| text.parse().map_err(|problem: &str| bad(name, problem))).transpose()
    };
    let current: Option<JwtSecret> = secret("JWT_SECRET")?;
    let previous: Option<JwtSecret> = secret("JWT_SECRET_PREVIOUS")?;
    let enabled: Option<bool> = source.parse("API_ENABLED", "must be true or false")?;
    // With the local Postgres a secret is made where none is given.
    if current.is_none() && !is_local {
        if enabled == Some(true) {
            return Err(bad("JWT_SECRET", "is needed beside API_ENABLED=true"));
        }
        if previous.is_some() {
            return Err(bad("JWT_SECRET", "is needed beside JWT_SECRET_PREVIOUS"));
        }
    }
    let problem = "must be origins such as https://app.example.org, with commas between them";
    let list = source.text("CORS_ALLOWED_ORIGINS")?.unwrap_or_default();
    let origins = list.split(',').map(str::trim).filter(|origin| !origin.is_empty());
    let origins = origins.map(|origin| {
        // A pattern would be taken for a host of that name, and match nothing.
        let origin: BaseUrl = origin.parse().ok().filter(|_| !origin.contains('*'))?;
        HeaderValue::from_str(origin.origin()).ok()
    });
    Ok(Api {
        is_off: enabled == Some(false),
        secret: current,
        previous,
        minutes: source.number("ACCESS_TOKEN_EXPIRE_MINUTES", 30, 1, 43_200)?,
        origins: origins
            .collect::<Option<_>>()
            .ok_or_else(|| bad("CORS_ALLOWED_ORIGINS", problem))?,
    })
}

fn outgoing(url: Option<String>, from: Option<String>) -> Result<Option<Outgoing>, BadSetting> {
    let (url, from) = match (url, from) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(bad("MAIL_FROM", "is needed beside SMTP_URL")),
        (None, Some(_)) => return Err(bad("SMTP_URL", "is needed beside MAIL_FROM")),
        (Some(url), Some(from)) => (url, from),
    };
    // Never with the value: it may hold a password.
    let problem = "is not a URL such as smtps://user:password@host or smtp://host:25";
    let parsed = Url::parse(&url).map_err(|_| bad("SMTP_URL", problem))?;
    let is_smtp = matches!(parsed.scheme(), "smtp" | "smtps") && parsed.has_host();
    if !is_smtp || AsyncSmtpTransport::<Tokio1Executor>::from_url(&url).is_err() {
        return Err(bad("SMTP_URL", problem));
    }
    let is_encrypted = parsed.scheme() == "smtps"
        || parsed.query_pairs().any(|(name, value)| name == "tls" && value == "required");
    let is_here = parsed.host_str().is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    });
    if parsed.password().is_some() && !is_encrypted && !is_here {
        return Err(bad(
            "SMTP_URL",
            "would send its password in the clear: use smtps://, or add ?tls=required",
        ));
    }
    let from = from.parse().map_err(|_| {
        bad("MAIL_FROM", "is not an address such as Social Post <post@example.org>")
    })?;
    Ok(Some(Outgoing { url, from }))
}

/// Whether two programs could not listen on both.
fn is_one_place(a: SocketAddr, b: SocketAddr) -> bool {
    let is_any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || is_any)
}

/// What a browser calls this machine; it leaves out the port that http has anyway.
fn local_origin(port: u16) -> String {
    if port == 80 { "http://localhost".to_owned() } else { format!("http://localhost:{port}") }
}

fn into_text(name: &str) -> impl Fn(std::ffi::OsString) -> Result<String, BadSetting> + '_ {
    move |value| value.into_string().map_err(|_| bad(name, "is not valid UTF-8"))
}

fn bad(name: &str, problem: &str) -> BadSetting {
    BadSetting { name: name.to_owned(), problem: problem.to_owned() }
}

/// The URL holds a password.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("from", &self.from).finish_non_exhaustive()
    }
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
