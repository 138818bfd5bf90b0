//! For the operators of a site: health checks, metrics, and the background task that deletes old rows.

pub mod health;
pub mod metrics;
pub mod sweep;
