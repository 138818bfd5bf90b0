//! What those who run the site ask of a process: is it alive, can it serve, what does it count?

pub mod health;
pub mod metrics;
