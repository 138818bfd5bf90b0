//! What lies in `deploy/` is what it says, as far as that can be seen from here.

use std::{fs, path::Path, process::Command};

use crate::support::empty_directory;

/// Of ten; systemd calls anything below two "OK", its best but one.
const MOST_EXPOSED: &str = "--threshold=15";

#[test]
fn the_units_of_systemd_are_sound_and_give_the_program_no_right_it_does_not_need() {
    if let Err(err) = Command::new("systemd-analyze").arg("--version").output() {
        eprintln!("left out: systemd-analyze does not run here ({err}); it comes with systemd");
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let directory = empty_directory("units");
    for unit in fs::read_dir(&here).unwrap() {
        let unit = unit.unwrap();
        // It looks whether the program is there.
        let text = fs::read_to_string(unit.path()).unwrap();
        let text = text.replace("/usr/local/bin/social-post", env!("CARGO_BIN_EXE_social-post"));
        let name = unit.file_name().into_string().unwrap().replace('@', "@8001");
        fs::write(directory.join(name), text).unwrap();
    }

    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let done = command.current_dir(&directory).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(done.status.success(), "{arguments:?}: {said}");
        said
    };
    let services = ["./social-post.service", "./social-post@8001.service"];
    for unit in services.iter().chain(&["./social-post.socket"]) {
        let said = analyze(&["verify", "--man=no", unit]);
        assert!(!said.contains(unit.trim_start_matches("./")), "{said}");
    }
    for unit in services {
        analyze(&["security", "--no-pager", "--offline=true", MOST_EXPOSED, unit]);
    }
}
