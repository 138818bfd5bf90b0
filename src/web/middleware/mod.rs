//! The middleware that `routes::layers` puts around the handlers, a file for each concern.

pub mod admission;
pub mod body;
pub mod compression;
pub mod cookies;
pub mod csrf;
pub mod failed_form;
pub mod headers;
pub mod known_routes;
pub mod page_cache;
pub mod replica;
pub mod request_log;
pub mod timeout;
pub mod trailing_slash;
pub mod unread;
