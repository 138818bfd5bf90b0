//! The whole site as people meet it: in a real browser, with JavaScript and without.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up should stop right there"
)]

mod account;
mod browser;
mod budget;
mod chromedriver;
mod cors;
mod everyone;
mod head;
mod interrupted;
mod keyboard;
mod live;
mod older;
mod script;
mod site;
mod story;
#[allow(dead_code, unused_imports, reason = "shared with the other tests, which use the rest")]
#[path = "../it/support/mod.rs"]
mod support;

/// The project's directory.
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
