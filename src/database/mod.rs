//! The way to Postgres: the pools, their guards, and the schema's migrations.

pub mod local;
pub mod migrations;
pub mod pool;
pub mod replica;
pub mod snapshot;
pub mod tables;
pub mod views;

pub use migrations::MIGRATIONS;
pub use replica::Replica;
