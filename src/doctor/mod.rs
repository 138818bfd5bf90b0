//! What is wrong with a site, or soon will be, and the line that mends it.
//!
//! [`settings`] looks at what the operator chose, [`server`] at Postgres, [`data`] at what the tables
//! say twice. [`repair`] makes the copies agree with what they are copies of.

pub mod data;
pub mod db;
pub mod repair;
pub mod server;
pub mod settings;

use std::fmt;

/// Whether somebody has to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something is wrong, lost after the next accident, or open to strangers.
    Problem,
    /// Good to know.
    Note,
}

/// One line: what was looked at, what was found, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// What was looked at, in one word, for scripts.
    pub check: &'static str,
    pub what: String,
    pub mend: String,
}

impl Finding {
    pub fn problem(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { severity: Severity::Problem, check, what: what.into(), mend: mend.into() }
    }

    pub fn note(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { severity: Severity::Note, ..Finding::problem(check, what, mend) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Problem => "problem",
            Severity::Note => "note",
        };
        write!(f, "{severity}: {}: {}; mend it: {}", self.check, self.what, self.mend)
    }
}

/// `1 post`, `3 posts`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
