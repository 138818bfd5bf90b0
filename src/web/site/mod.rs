//! Static files, and the well-known addresses that standards ask every site for.

pub mod assets;
pub mod well_known;
