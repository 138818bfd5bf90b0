//! The connection to Postgres: pools and their timeouts, the read replica, the migrations, and the
//! program's own cluster.

pub mod local;
pub mod migrations;
pub mod pool;
pub mod replica;
pub mod snapshot;
pub mod tables;
pub mod views;

pub use migrations::MIGRATIONS;
pub use replica::Replica;
