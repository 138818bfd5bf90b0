//! Files of the site itself: style, script and icons, and what conventions ask every site for.

pub mod assets;
pub mod well_known;
