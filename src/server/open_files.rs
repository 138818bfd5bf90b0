//! The limit of open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files to what the system permits: every open page is a connection, and the
/// usual limit of a thousand is soon reached.
pub fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(err) = raised {
        tracing::warn!(%err, "cannot raise the limit of open files");
    }
}

/// How many files and connections the process may have open.
pub fn limit() -> usize {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    usize::try_from(limit).unwrap_or(usize::MAX)
}
