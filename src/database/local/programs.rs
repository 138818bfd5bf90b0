//! Where Postgres' programs are, and which of several versions to use.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::database::local::LocalError;

const OLDEST: u32 = 15;

/// Directories that hold one Postgres for each `*`.
const USUAL_DIRS: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", ""),          // Debian, Ubuntu
    ("/usr", "pgsql-"),                   // Postgres' own packages for Fedora and the like
    ("/usr/libexec", "postgresql"),       // Alpine
    ("/opt/homebrew/opt", "postgresql@"), // macOS
    ("/usr/local/opt", "postgresql@"),    // macOS on Intel
];

#[derive(Clone, Debug, PartialEq)]
pub struct Programs {
    pub bin: PathBuf,
    pub major: u32,
}

impl Programs {
    /// The newest installed ones, or for an existing cluster those of the version that created it.
    pub fn find(made_by: Option<u32>) -> Result<Programs, LocalError> {
        if let Some(bin) = env::var_os("PG_BIN").filter(|bin| !bin.is_empty()) {
            let here = all_in([PathBuf::from(&bin)]);
            let none = LocalError::NotInPgBin(bin.to_string_lossy().into_owned());
            return choose(here, made_by, none);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let places = reported_by_pg_config().into_iter().chain(usual_dirs());
        choose(all_in(places.chain(env::split_paths(&path))), made_by, LocalError::NoPrograms)
    }

    pub fn path(&self, program: &str) -> PathBuf {
        self.bin.join(program)
    }
}

/// The directory of the `pg_dump` and `pg_restore` that fit a server of this version best: of the same
/// version, or of the next newer one. An older `pg_dump` refuses.
pub fn clients(server: u32) -> Result<PathBuf, LocalError> {
    let set = env::var_os("PG_BIN").filter(|bin| !bin.is_empty()).map(PathBuf::from);
    let places: Vec<PathBuf> = if let Some(bin) = set {
        vec![bin]
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        let usual = reported_by_pg_config().into_iter().chain(usual_dirs());
        usual.chain(env::split_paths(&path)).collect()
    };
    let mut here = BTreeSet::new();
    let mut best: Option<(u32, PathBuf)> = None;
    for place in places {
        let Some(bin) = real_bin(&place, &["pg_dump", "pg_restore"]) else { continue };
        let Some(major) = major_of(&bin.join("pg_dump")) else { continue };
        here.insert(major.to_string());
        if major >= server && best.as_ref().is_none_or(|(found, _)| major < *found) {
            best = Some((major, bin));
        }
    }
    let here = here.into_iter().collect::<Vec<_>>().join(", ");
    best.map(|(_, bin)| bin).ok_or(LocalError::NoClients { server, here })
}

/// `none` is the error when not even a usable one of another version is installed.
fn choose(
    here: Vec<Programs>,
    made_by: Option<u32>,
    none: LocalError,
) -> Result<Programs, LocalError> {
    let mut usable: Vec<_> = here.into_iter().filter(|found| found.major >= OLDEST).collect();
    // Stable: of two with the same version the one found first.
    usable.sort_by_key(|found| std::cmp::Reverse(found.major));
    let majors: BTreeSet<_> = usable.iter().map(|found| found.major).collect();
    if usable.is_empty() {
        return Err(none);
    }
    let mut fitting =
        usable.into_iter().filter(|found| made_by.is_none_or(|major| major == found.major));
    fitting.next().ok_or_else(|| LocalError::OtherMajor {
        made_by: made_by.unwrap_or_default(),
        here: majors.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    })
}

fn all_in(places: impl IntoIterator<Item = PathBuf>) -> Vec<Programs> {
    let mut here: Vec<Programs> = Vec::new();
    for place in places {
        // Links are resolved to the real directory, where the other programs are.
        let Some(bin) = real_bin(&place, &["postgres", "initdb", "pg_ctl"]) else { continue };
        if here.iter().any(|found| found.bin == bin) {
            continue;
        }
        if let Some(major) = major_of(&bin.join("postgres")) {
            here.push(Programs { bin, major });
        }
    }
    here
}

/// The directory with links resolved, if it has all of these programs.
fn real_bin(place: &Path, programs: &[&str]) -> Option<PathBuf> {
    let first = place.join(programs.first()?).canonicalize().ok()?;
    let bin = first.parent()?;
    let is_complete = programs.iter().all(|program| bin.join(program).is_file());
    is_complete.then(|| bin.to_owned())
}

fn major_of(program: &Path) -> Option<u32> {
    parse_major(&first_line(program, "--version")?)
}

/// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `18beta1` and the like.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split(") ").nth(1)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn reported_by_pg_config() -> Option<PathBuf> {
    first_line(Path::new("pg_config"), "--bindir").map(PathBuf::from)
}

fn first_line(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned())
}

fn usual_dirs() -> impl Iterator<Item = PathBuf> {
    USUAL_DIRS.iter().flat_map(|(parent, prefix)| {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        entries
            .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .flat_map(|entry| [entry.path().join("bin"), entry.path()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(majors: &[u32]) -> Vec<Programs> {
        majors.iter().map(|&major| Programs { bin: format!("/pg{major}").into(), major }).collect()
    }

    fn chosen(majors: &[u32], made_by: Option<u32>) -> Result<u32, String> {
        choose(installed(majors), made_by, LocalError::NoPrograms)
            .map(|found| found.major)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_new_cluster_gets_the_newest_programs() {
        assert_eq!(chosen(&[15, 17, 16], None), Ok(17));
    }

    #[test]
    fn a_cluster_keeps_the_version_that_made_it() {
        assert_eq!(chosen(&[15, 17], Some(15)), Ok(15));
        assert_eq!(
            chosen(&[15, 17], Some(16)).unwrap_err(),
            "the local cluster was made by Postgres 16, and only 15, 17 is installed here: \
             install Postgres 16 beside it, or move the data with pg_upgrade or pg_dump"
        );
    }

    #[test]
    fn programs_that_are_too_old_do_not_count() {
        assert!(chosen(&[13, 14], None).unwrap_err().starts_with("no Postgres 15 or newer"));
    }

    #[test]
    fn a_directory_without_the_programs_has_none() {
        assert_eq!(all_in([PathBuf::from("/"), PathBuf::from("/nowhere")]), []);
    }

    #[test]
    fn the_version_is_read_from_what_postgres_says() {
        for (said, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("mysqld 8", None),
        ] {
            assert_eq!(parse_major(said), major, "{said}");
        }
    }
}
