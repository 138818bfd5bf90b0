//! What the features share. Knows HTTP, and of the site only who is looking at it.

pub mod assets;
pub mod cache;
pub mod client;
pub mod cookies;
pub mod csrf;
pub mod cursor;
pub mod error;
pub mod etag;
pub mod extract;
pub mod filters;
pub mod flash;
pub mod headers;
pub mod health;
pub mod htmx;
pub mod json;
pub mod kept;
pub mod limits;
pub mod page;
pub mod problem;
pub mod reader;
pub mod request_log;
pub mod throttle;
pub mod well_known;
pub mod xml;

pub use error::{Error, Result};
pub use page::{Page, Shell};
pub use xml::Xml;
