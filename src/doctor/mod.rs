//! What is wrong with a site, or soon will be, and the command that fixes it.
//!
//! [`settings`] looks at the configuration, [`server`] at Postgres, [`data`] at what is stored twice.
//! [`repair`] makes the copies agree with what they are made from.

pub mod data;
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

/// One line: what was checked, what was found, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// What was checked, in one word, for scripts.
    pub check: &'static str,
    pub what: String,
    pub fix: String,
}

impl Finding {
    pub fn problem(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { severity: Severity::Problem, check, what: what.into(), fix: fix.into() }
    }

    pub fn note(check: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { severity: Severity::Note, ..Finding::problem(check, what, fix) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Problem => "problem",
            Severity::Note => "note",
        };
        write!(f, "{severity}: {}: {}; mend it: {}", self.check, self.what, self.fix)
    }
}
