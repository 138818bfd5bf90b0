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

/// The most verbose level of these libraries, even where `RUST_LOG` asks for more: the rest holds
/// cookies, session ids, bound values or the text of posts, or is logged once for each bad cookie.
const LIMITED: [(&str, LevelFilter); 6] = [
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
    let within_limits = filter_fn(|line| {
        let limited = LIMITED.iter().find(|(library, _)| line.target().starts_with(library));
        limited.is_none_or(|(_, most)| line.level() <= most)
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
    tracing_subscriber::registry().with(filter).with(within_limits).with(lines).init();
    // One line in the log's format: the standard hook writes several lines of plain text.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, cause = panic.payload_as_str().unwrap_or_default(), "panicked");
    }));
    Ok(())
}
