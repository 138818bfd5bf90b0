//! The settings: contradictions, dangers, and files that others may read.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use nix::sys::statvfs::statvfs;
use sqlx::postgres::PgSslMode;

use crate::{
    config::{Database, JwtSecret, Settings},
    doctor::Finding,
};

/// Where Docker and others put secrets, readable by every user of a container, which has only one.
const CONTAINER_SECRETS: &str = "/run/secrets";

/// A secret counts as strong if guessing it takes a billion tries a second for 300 years (2^63).
const STRONG_LOG10: f64 = 19.0;

/// What can be told from the settings alone.
pub fn check(settings: &Settings) -> Vec<Finding> {
    let mut found = address(settings);
    found.extend(proxies(settings));
    found.extend(api(settings));
    if !settings.rate_limits {
        found.push(Finding::problem(
            "rate-limits",
            "RATE_LIMITS is off, so passwords can be guessed without limit",
            "remove RATE_LIMITS, or set it to on",
        ));
    }
    if settings.mail.is_none() {
        found.push(Finding::note(
            "mail",
            "there is no outgoing mail, so people who forget their password have to ask you",
            "set SMTP_URL and MAIL_FROM, or hand out links from `social-post user reset-password NAME`",
        ));
    }
    if let Database::Url(options) = &settings.database {
        let host = options.get_host();
        let is_here = options.get_socket().is_some()
            || host.starts_with('/')
            || host == "localhost"
            || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let may_be_plain = matches!(
            options.get_ssl_mode(),
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer
        );
        if !is_here && may_be_plain {
            found.push(Finding::note(
                "database-tls",
                format!("the connection to the database on {host} may be unencrypted"),
                "add ?sslmode=verify-full to DATABASE_URL, unless that network is yours alone",
            ));
        }
    }
    found
}

fn address(settings: &Settings) -> Vec<Finding> {
    let (listen, base_url) = (settings.listen, &settings.site.base_url);
    let origin = base_url.origin();
    let is_public = !listen.ip().is_loopback();
    let is_local_name = ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        let host = origin.split("://").nth(1).unwrap_or_default();
        host == *name || host.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
    });
    let mut found = Vec::new();
    if !base_url.is_secure() && (is_public || !is_local_name) {
        found.push(Finding::problem(
            "base-url",
            format!(
                "the site is {origin}, listens on {listen}, and passwords are sent unencrypted"
            ),
            "put a proxy with TLS in front of it (nginx.conf) and set BASE_URL=https://your.name",
        ));
    }
    if is_public && !settings.is_base_url_given {
        found.push(Finding::problem(
            "base-url",
            format!(
                "BASE_URL is unset, so forms work at {origin} only, which nobody else can open"
            ),
            "set BASE_URL to the address that people open",
        ));
    }
    if is_public && base_url.is_secure() {
        found.push(Finding::note(
            "listen",
            format!("{listen} accepts plain HTTP beside the proxy"),
            "listen on 127.0.0.1, or make sure that only the proxy reaches that port",
        ));
    }
    if let Some(metrics) = settings.metrics_listen.filter(|metrics| !metrics.ip().is_loopback()) {
        found.push(Finding::note(
            "metrics",
            format!("anybody who reaches {metrics} can read /metrics"),
            "set METRICS_LISTEN_ADDR to an address of 127.0.0.1, or make sure that only your monitoring reaches it",
        ));
    }
    if settings.site.session_idle_days > 365 {
        found.push(Finding::note(
            "sessions",
            format!(
                "a session lasts {} days without a visit, also on a lost device",
                settings.site.session_idle_days
            ),
            "set SESSION_LIFETIME_DAYS to a year or less",
        ));
    }
    found
}

fn proxies(settings: &Settings) -> Vec<Finding> {
    let proxies = &settings.site.trusted_proxies;
    let mut found = Vec::new();
    let is_everybody = |network: &&IpNet| match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 16,
    };
    if let Some(network) = proxies.iter().find(is_everybody) {
        found.push(Finding::problem(
            "trusted-proxies",
            format!(
                "TRUSTED_PROXIES has {network}: almost anybody can forge their address, and limits \
                 by network do not work"
            ),
            "name the proxies themselves, such as TRUSTED_PROXIES=127.0.0.1",
        ));
    }
    let is_behind = settings.site.base_url.is_secure() && settings.listen.ip().is_loopback();
    if is_behind && !proxies.iter().any(|network| network.contains(&settings.listen.ip())) {
        found.push(Finding::problem(
            "trusted-proxies",
            "the proxy on this machine is not in TRUSTED_PROXIES, so all visitors count as the \
             same client",
            "add 127.0.0.0/8 to TRUSTED_PROXIES, or remove the setting",
        ));
    }
    found
}

fn api(settings: &Settings) -> Vec<Finding> {
    let api = &settings.api;
    let mut found = Vec::new();
    let makes_one = matches!(settings.database, Database::Local);
    if !api.is_off && api.secret.is_none() && !makes_one {
        found.push(Finding::note(
            "jwt-secret",
            "there is no JWT_SECRET, so the API is off",
            "set JWT_SECRET to the output of `openssl rand -hex 32`, or API_ENABLED=false",
        ));
    }
    let secrets = [("JWT_SECRET", &api.secret), ("JWT_SECRET_PREVIOUS", &api.previous)];
    for (name, secret) in secrets {
        let text = secret.as_ref().map(|secret| String::from_utf8_lossy(secret.as_bytes()));
        if text.is_some_and(|text| zxcvbn::zxcvbn(&text, &[]).guesses_log10() < STRONG_LOG10) {
            found.push(Finding::problem(
                "jwt-secret",
                format!("{name} can be guessed, and with it anybody can log in as anybody"),
                format!("set {name} to the output of `openssl rand -hex 32`"),
            ));
        }
    }
    if let (Some(current), Some(previous)) = (&api.secret, &api.previous) {
        let what = if current.as_bytes() == previous.as_bytes() {
            "JWT_SECRET_PREVIOUS is the same as JWT_SECRET".to_owned()
        } else {
            format!("JWT_SECRET_PREVIOUS is still accepted; tokens last {} minutes", api.minutes)
        };
        found.push(Finding::note("jwt-secret", what, "remove JWT_SECRET_PREVIOUS"));
    }
    found
}

/// Files and directories that others may read or write.
pub fn files(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    let data_dir = &settings.data_dir;
    if mode(data_dir).is_some_and(|mode| mode & 0o022 != 0) {
        found.push(Finding::problem(
            "data-dir",
            format!("other users may write into {}", data_dir.display()),
            format!("chmod go-w {}", data_dir.display()),
        ));
    }
    let generated = ("the generated JWT secret".to_owned(), JwtSecret::file(data_dir));
    for (name, path) in settings.secret_files.iter().chain([&generated]) {
        let is_contained = path.starts_with(CONTAINER_SECRETS);
        if !is_contained && mode(path).is_some_and(|mode| mode & 0o007 != 0) {
            found.push(Finding::problem(
                "secret-files",
                format!("every user of this machine may read {} ({name})", path.display()),
                format!("chmod o= {}", path.display()),
            ));
        }
    }
    found
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.mode())
}

/// The free space for the data.
pub fn disk(settings: &Settings) -> Vec<Finding> {
    let dirs: [PathBuf; 2] = [settings.data_dir.clone(), settings.data_dir.join("postgres")];
    let mut found: Vec<Finding> = Vec::new();
    for dir in dirs.iter().filter_map(|dir| dir.canonicalize().ok()) {
        let Ok(disk) = statvfs(&dir) else { continue };
        let unit = u128::from(disk.fragment_size());
        let (free, all) =
            (u128::from(disk.blocks_available()) * unit, u128::from(disk.blocks()) * unit);
        let percent = free * 100 / all.max(1);
        let what =
            format!("{percent} % of the disk of {} is free, {} MB", dir.display(), free >> 20);
        let mend = "free some space: without any, Postgres refuses writes";
        let one = match (percent, free >> 20) {
            (0..5, _) | (_, 0..512) => Finding::problem("disk", what, mend),
            (5..10, _) => Finding::note("disk", what, mend),
            _ => continue,
        };
        if !found.iter().any(|other| other.what == one.what) {
            found.push(one);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::doctor::Severity;

    fn problems(settings: &[(&str, &str)]) -> Vec<&'static str> {
        let file: HashMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let settings = Settings::from_source(None, &|_| None, &file).unwrap();
        let is_problem = |finding: &&Finding| finding.severity == Severity::Problem;
        check(&settings).iter().filter(is_problem).map(|finding| finding.check).collect()
    }

    #[test]
    fn a_dangerous_choice_is_named_and_a_sound_one_is_not() {
        let secure = ("BASE_URL", "https://example.org");
        for (settings, named) in [
            (&[][..], &[][..]),
            (&[("LISTEN_ADDR", "127.0.0.1:9000")], &[]),
            (&[("BASE_URL", "http://localhost:9000")], &[]),
            (&[secure], &[]),
            (&[secure, ("LISTEN_ADDR", "0.0.0.0:8000")], &[]),
            (&[("LISTEN_ADDR", "0.0.0.0:8000")], &["base-url", "base-url"]),
            (&[("LISTEN_ADDR", "[::]:80"), ("BASE_URL", "http://a.org")], &["base-url"]),
            (&[("BASE_URL", "http://localhost.example.org")], &["base-url"]),
            (&[("RATE_LIMITS", "off")], &["rate-limits"]),
            (&[("TRUSTED_PROXIES", "10.0.0.0/8")], &[]),
            (&[("TRUSTED_PROXIES", "127.0.0.1,0.0.0.0/0")], &["trusted-proxies"]),
            (&[("TRUSTED_PROXIES", "::/0")], &["trusted-proxies"]),
            (&[secure, ("TRUSTED_PROXIES", "10.1.2.3")], &["trusted-proxies"]),
            (&[("JWT_SECRET", "social-post-social-post-social-post-1")], &["jwt-secret"]),
            (&[("JWT_SECRET", "abcdefghijklmnopqrstuvwxyz0123456789")], &["jwt-secret"]),
            (&[("JWT_SECRET", "5b1c0d9f7e3a48266f1e8c7b0a9d3e52")], &[]),
        ] {
            assert_eq!(problems(settings), named, "{settings:?}");
        }
    }
}
