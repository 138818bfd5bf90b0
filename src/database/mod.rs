//! The way to Postgres: the pool, its guards, and the schema's migrations.

pub mod local;
pub mod migrations;
pub mod pool;
pub mod tables;

pub use migrations::MIGRATIONS;
