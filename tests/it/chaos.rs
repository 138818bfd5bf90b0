//! The quick form of `bin/chaos`, and the check of its ledger (`tests/ledger/`).

use std::{fs, path::Path, process::Command};

/// Python with the project's own packages in its path, in the project's directory.
fn python(arguments: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("target/python/bin/python"));
    command
        .args(arguments)
        .current_dir(root)
        .env_remove("DATABASE_URL")
        .env("PROGRAM", env!("CARGO_BIN_EXE_social-post"))
        .env("PYTHONPATH", root.join("tests"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("bin/test installs it");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{complained}\n{said}");
    said.into_owned()
}

/// About two minutes: kill -9 of the program, of Postgres and of a backend, a log that nobody reads,
/// clients that hang up, and bodies that never arrive.
#[test]
fn chaos_drills_lose_nothing_acknowledged_and_the_site_recovers_by_itself() {
    let said = succeeds(&mut python(&["-m", "ledger", "quick"]));
    let summary = said.lines().last().unwrap_or_default();
    assert!(summary.ends_with("\"failed\": [], \"left_out\": []}"), "{summary}");
}

#[test]
fn the_ledger_finds_each_loss_duplicate_and_contradiction_that_is_planted() {
    succeeds(&mut python(&["-m", "unittest", "ledger.test_ledger", "ledger.test_rules"]));
}

#[test]
fn chaos_drills_are_listed_in_the_reliability_table() {
    let listed = succeeds(&mut python(&["-m", "ledger", "--list"]));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/RELIABILITY.md")).unwrap();
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        assert!(table.contains(&format!("| `{name}` |")), "docs/RELIABILITY.md lacks {name}");
    }
}
