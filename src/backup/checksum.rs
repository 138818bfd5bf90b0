//! The checksum of a backup file, since `pg_dump`'s format has none.
//!
//! It is the SHA-256 of everything before it, as the last line of the file, where `pg_restore` never
//! looks: a truncated file has no such line, and in a changed one it is wrong.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::backup::BackupError;

/// The first bytes of every dump in this format.
const MAGIC: &[u8] = b"PGDMP";
const PREFIX: &str = "\nsocial-post backup, sha256 ";
/// With the digest in hexadecimal, and the line feed.
const LINE_LEN: u64 = PREFIX.len() as u64 + 64 + 1;

/// The last line of a backup.
pub(super) fn line(digest: &[u8]) -> String {
    format!("{PREFIX}{}\n", hex(digest))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads a whole file, and refuses it unless it is a complete and undamaged backup.
pub fn verify(path: &Path) -> Result<(), BackupError> {
    let failed = |cause| BackupError::File { file: path.to_owned(), cause };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::new(ErrorKind::InvalidInput, "it is not a file")));
    }
    let mut magic = Vec::new();
    (&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed)?;
    if magic != MAGIC {
        return Err(BackupError::Foreign(path.to_owned()));
    }
    let Some(length) = metadata.len().checked_sub(LINE_LEN) else {
        return Err(BackupError::NoChecksum(path.to_owned()));
    };
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut rest = (&mut file).take(length);
    loop {
        let count = rest.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    let mut found = Vec::new();
    file.read_to_end(&mut found).map_err(failed)?;
    if !found.starts_with(PREFIX.as_bytes()) {
        return Err(BackupError::NoChecksum(path.to_owned()));
    }
    if found == line(&digest.finalize()).as_bytes() {
        Ok(())
    } else {
        Err(BackupError::Damaged(path.to_owned()))
    }
}
