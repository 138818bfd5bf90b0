//! A whole site on its way in or out: from files, from a FastAPI app, and between sites.

pub mod export;
pub mod import;
pub mod tables;
