//! A site to share links and short texts, vote for them, and find them again.
//!
//! Every feature is a folder with these files:
//!
//! | file       | holds                                                     |
//! |------------|-----------------------------------------------------------|
//! | `mod.rs`   | the types, which cannot be built wrong, and their rules   |
//! | `db.rs`    | every SQL statement of the feature                        |
//! | `pages.rs` | the handlers for people: HTML, with their view structs    |
//! | `api.rs`   | the handlers for programs: JSON, with their wire structs  |
//!
//! An operation that is more than SQL has a file named after it. [`routes`] lists every URL, [`web`] has
//! what the features share and knows none of them, and [`cli`] has the commands of an operator.

pub mod backup;
pub mod cli;
pub mod config;
pub mod cpu;
pub mod database;
pub mod doctor;
pub mod identity;
pub mod lists;
pub mod live;
pub mod mail;
pub mod markdown;
pub mod metrics;
pub mod openapi;
pub mod ops;
pub mod posts;
pub mod profiles;
pub mod routes;
pub mod score;
pub mod search;
pub mod server;
pub mod tasks;
pub mod text;
pub mod transfer;
pub mod users;
pub mod votes;
pub mod web;
