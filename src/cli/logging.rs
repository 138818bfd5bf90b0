//! The log: lines on stderr, as text or as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, filter::Directive};

use super::Failure;
use crate::config::{LogFormat, Settings};

/// What these libraries have to say holds cookies, session ids, bound values or the words of a post,
/// or is said once for each bad cookie that somebody sends. It is not for a log, whatever `RUST_LOG` asks for.
const SILENT: [&str; 6] = [
    "html5ever=off",
    "tower_sessions=off",
    "tower_sessions_core=off",
    "tower_cookies=off",
    "hyper=info",
    "sqlx::query=warn",
];

pub fn start(settings: &Settings) -> Result<(), Failure> {
    let mut filter = EnvFilter::try_new(&settings.log_filter).map_err(|_| {
        Failure::Configuration(
            "RUST_LOG is not a filter such as info or social_post=debug".to_owned(),
        )
    })?;
    for silent in SILENT {
        filter = filter.add_directive(silent.parse::<Directive>().map_err(anyhow::Error::from)?);
    }
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!is_plain && std::io::stderr().is_terminal())
        .with_target(false);
    match settings.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
