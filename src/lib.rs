//! A place to share links and short texts, to vote, and to find things again.
//!
//! Every feature is a folder with the same files:
//!
//! | file       | holds                                                     |
//! |------------|-----------------------------------------------------------|
//! | `mod.rs`   | the nouns: types that cannot be built wrong, and rules    |
//! | `db.rs`    | the verbs: every SQL statement of the feature             |
//! | `pages.rs` | the face people see: HTML handlers and their view structs |
//! | `api.rs`   | the face programs see: JSON handlers and wire structs     |
//!
//! A verb that is more than SQL has a
//! file named after it. [`routes`] lists every URL, `web` holds what the features share and knows
//! none of them, and [`cli`] is what an operator types.

pub mod backup;
pub mod cli;
pub mod config;
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
