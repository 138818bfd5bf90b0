//! Public profiles: the list of users, and one user with their posts.

pub mod api;
pub mod pages;
