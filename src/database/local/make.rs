//! Creating a cluster, under a temporary name first: a kill leaves no incomplete cluster.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::database::local::{
    LocalError,
    cluster::{Cluster, fingerprint},
    db::SUPERUSER,
    os_user::{self, OsUser, run},
    programs::Programs,
};

/// The prefix of clusters that are not complete.
const INCOMPLETE: &str = "postgres.new-";
const INIT_TIMEOUT: Duration = Duration::from_mins(10);

/// Where root keeps clusters whose user cannot reach `DATA_DIR`.
const ELSEWHERE: &str = "/var/lib/social-post";

/// Creates `DATA_DIR/postgres`. Call it under the directory's lock.
pub async fn make(data_dir: &Path) -> Result<Cluster, LocalError> {
    let place = data_dir.join("postgres");
    // A new name each time: an `initdb` that outlived its program may still write to the last one.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let new = data_dir.join(format!("{INCOMPLETE}{now}"));
    let failed = |cause| LocalError::files(&new, cause);
    let user = os_user::for_cluster(data_dir)?;
    let programs = Programs::find(None)?;

    remove_incomplete(data_dir);
    user.make_dir(&new).map_err(failed)?;
    if !user.can_enter(&new).await {
        fs::remove_dir(&new).map_err(failed)?;
        make_elsewhere(&new, &user)?;
    }
    let dir = new.canonicalize().map_err(failed)?;
    tracing::info!("creating a Postgres {} cluster in {}", programs.major, place.display());
    if dir != new {
        let (dir, user) = (dir.display(), &user.name);
        tracing::info!("that is a link to {dir}, because {user} cannot reach it itself");
    }

    init(&dir, &user, &programs).await?;
    OpenOptions::new()
        .append(true)
        .open(dir.join("postgresql.conf"))
        .and_then(|mut conf| conf.write_all(b"\ninclude 'social-post.conf'\n"))
        .and_then(|()| fs::rename(&new, &place))
        .map_err(failed)?;
    let dir = place.canonicalize().map_err(failed)?;
    Cluster::new(dir, user, programs)
}

async fn init(dir: &Path, user: &OsUser, programs: &Programs) -> Result<(), LocalError> {
    // Not every system has C.UTF-8; the second is the equivalent of ICU.
    let locales: [&[&str]; 2] =
        [&["--locale=C.UTF-8"], &["--locale=C", "--locale-provider=icu", "--icu-locale=und"]];
    let mut said = String::new();
    for locale in locales {
        let mut initdb = user.command(&programs.path("initdb"), dir);
        initdb.arg("-D").arg(dir).args(["--encoding=UTF8", "--data-checksums", "--auth=peer"]);
        initdb.args(["--username", SUPERUSER]).args(locale);
        match run(&mut initdb, INIT_TIMEOUT).await? {
            Ok(()) => return Ok(()),
            Err(reason) => said = reason,
        }
        if !said.contains("invalid locale") {
            break;
        }
    }
    Err(LocalError::failed(dir, said, |dir, said| LocalError::Init { dir, said }))
}

/// Creates a directory that the cluster's user can reach, and `link` to it. The link comes first: with
/// it the next start finds what a kill left there.
fn make_elsewhere(link: &Path, user: &OsUser) -> Result<(), LocalError> {
    let parent = Path::new(ELSEWHERE);
    let failed = |cause| LocalError::files(parent, cause);
    fs::create_dir_all(parent).map_err(failed)?;
    fs::set_permissions(parent, Permissions::from_mode(0o755)).map_err(failed)?;
    // Never the directory of an earlier cluster, even after `DATA_DIR` was deleted to start over.
    let dir = parent.join(fingerprint(link));
    symlink(&dir, link).map_err(failed)?;
    user.make_dir(&dir).map_err(failed)
}

/// What cannot be removed does no harm, and is tried again the next time.
fn remove_incomplete(data_dir: &Path) {
    for entry in fs::read_dir(data_dir).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(INCOMPLETE) {
            continue;
        }
        let path = entry.path();
        match path.read_link() {
            Ok(dir) if dir.starts_with(ELSEWHERE) => {
                let _ = fs::remove_dir_all(dir);
                let _ = fs::remove_file(path);
            }
            _ => drop(fs::remove_dir_all(path)),
        }
    }
}
