//! Lines on their way out, summed and counted.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use crate::transfer::export::{Counts, End, Line};

pub struct Writer<W> {
    out: W,
    line: Vec<u8>,
    sum: Sha256,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Writer<W> {
        Writer { out, line: Vec::new(), sum: Sha256::new(), counts: Counts::default() }
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
        self.sum.update(&self.line);
        self.out.write_all(&self.line)
    }

    /// Writes the last line and hands on all that waits.
    pub fn finish(mut self) -> io::Result<Counts> {
        let Counts { people, posts, votes, imports } = self.counts;
        let sha256 = hexadecimal(self.sum.clone());
        self.write(&Line::End(End { people, posts, votes, imports, sha256 }))?;
        self.out.flush()?;
        Ok(self.counts)
    }
}

/// A sum as files and programs write it.
pub fn hexadecimal(sum: Sha256) -> String {
    format!("{:x}", sum.finalize())
}
