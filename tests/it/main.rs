//! The whole site, driven from outside: through its router, a real port and its command line,
//! against real Postgres. One binary on purpose: one thing to link, one place for helpers.

#![allow(clippy::too_many_lines, reason = "a story is best told in one go")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up should stop right there"
)]

mod access;
mod account;
mod account_log;
mod answers;
mod api;
mod backup;
mod cache_policy;
mod changes;
mod chaos;
mod cli;
mod cors;
mod cost;
mod deploy;
mod described;
mod doctor;
mod export;
mod fastapi;
mod feed;
mod feeds;
mod foreign_pages;
mod guessing;
mod hostile;
mod hostile_api;
mod import;
mod ledger;
mod letters;
mod live;
mod local_postgres;
mod mail;
mod markup;
mod migrations;
mod outage;
mod owners;
mod ownership;
mod paging;
mod passwords;
mod people;
mod posts;
mod program;
mod proxy;
mod queries;
mod replica;
mod rolling;
mod search;
mod secrets;
mod server;
mod sessions;
mod standby;
mod statements;
mod support;
mod throttle;
mod tidy;
mod tokens;
mod votes;
mod watching;
mod web;

/// The project's directory.
const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
