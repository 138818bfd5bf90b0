//! What the features share. Knows HTTP, and of the site only who is looking at it.

pub mod byte_budget;
pub mod cache;
pub mod client;
pub mod cookies;
pub mod cursor;
pub mod error;
pub mod error_page;
pub mod etag;
pub mod extract;
pub mod filters;
pub mod flash;
pub mod form;
pub mod htmx;
pub mod json;
pub mod list;
pub mod middleware;
pub mod page;
pub mod personal;
pub mod problem;
pub mod request_id;
pub mod site;
pub mod throttle;
pub mod xml;

pub use error::{Error, Result};
pub use page::{Page, PageContext};
pub use xml::Xml;
