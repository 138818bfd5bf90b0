//! The log: lines on stderr, as text or as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{LevelFilter, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{
    cli::Failure,
    config::{LogFormat, Settings},
};

/// The most these libraries may say, whatever `RUST_LOG` asks for: the rest holds cookies, session
/// ids, bound values or the words of a post, or is said once for each bad cookie that somebody sends.
const QUIET: [(&str, LevelFilter); 6] = [
    ("html5ever", LevelFilter::OFF),
    ("tower_sessions", LevelFilter::OFF),
    ("tower_cookies", LevelFilter::OFF),
    ("cookie", LevelFilter::OFF),
    ("hyper", LevelFilter::INFO),
    ("sqlx", LevelFilter::WARN),
];

pub fn start(settings: &Settings) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&settings.log_filter).map_err(|_| {
        Failure::Configuration(
            "RUST_LOG is not a filter such as info or social_post=debug".to_owned(),
        )
    })?;
    let is_fit = filter_fn(|line| {
        let quiet = QUIET.iter().find(|(library, _)| line.target().starts_with(library));
        quiet.is_none_or(|(_, most)| line.level() <= most)
    });
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!is_plain && std::io::stderr().is_terminal())
        .with_target(false);
    let lines = match settings.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(is_fit).with(lines).init();
    // A line of the log like any other: the library's own hook writes several, in no format.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, cause = panic.payload_as_str().unwrap_or_default(), "panicked");
    }));
    Ok(())
}
