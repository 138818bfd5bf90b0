//! Writing the lines of an export, with their checksum and their counts.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use crate::transfer::export::{Counts, End, Line};

pub struct Writer<'w> {
    out: &'w mut (dyn Write + Send),
    line: Vec<u8>,
    checksum: Sha256,
    counts: Counts,
}

impl<'w> Writer<'w> {
    pub fn new(out: &'w mut (dyn Write + Send)) -> Writer<'w> {
        Writer { out, line: Vec::new(), checksum: Sha256::new(), counts: Counts::default() }
    }

    pub fn write(&mut self, line: &Line) -> io::Result<()> {
        match line {
            Line::Person(_) => self.counts.people += 1,
            Line::Post(_) => self.counts.posts += 1,
            Line::Vote(_) => self.counts.votes += 1,
            Line::Import(_) => self.counts.imports += 1,
            Line::Header(_) | Line::End(_) => {}
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.checksum.update(&self.line);
        self.out.write_all(&self.line)
    }

    /// Writes the last line and flushes.
    pub fn finish(mut self) -> io::Result<Counts> {
        let Counts { people, posts, votes, imports } = self.counts;
        let sha256 = hexadecimal(self.checksum.clone());
        self.write(&Line::End(End { people, posts, votes, imports, sha256 }))?;
        self.out.flush()?;
        Ok(self.counts)
    }
}

/// A checksum as files and programs write it.
pub fn hexadecimal(checksum: Sha256) -> String {
    format!("{:x}", checksum.finalize())
}
