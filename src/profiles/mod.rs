//! People as everyone sees them: who is here, and what one of them wrote.

pub mod api;
pub mod pages;
