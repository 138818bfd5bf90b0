//! Reading an export line by line, each checked against every rule.

pub mod db;
mod seen;

use std::io::{self, BufRead, Read as _};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    identity::{PostId, Role, UserId, Username},
    posts::{Body, Draft, Link, Title},
    transfer::{
        export::{self, Counts, End, FORMAT, Header, Line, VERSION, writer::hexadecimal},
        import::{
            SourceId,
            export::seen::Seen,
            whole::{Last, MAX_ID, Person, Post, Vote},
        },
    },
    users::{Email, password},
};

/// The longest line of an export: JSON writes a character of a text in twelve bytes at most.
const MAX_LINE: u64 = 1024 * 1024;

/// The content of a line, checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    Person(Person),
    Post(Post),
    Vote(Vote),
    Source(SourceId, Option<PostId>),
}

/// Why a file is refused, and by which line.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {flaw}")]
pub struct BadFile {
    pub line: u64,
    pub flaw: Flaw,
}

#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("this is not an export of Social Post")]
    Foreign,
    #[error("the export is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    #[error("the export ends before its last line: it was cut off")]
    CutOff,
    #[error("is longer than any line of an export")]
    TooLong,
    #[error("{0}")]
    Json(String),
    #[error(
        "does not belong here: people, posts, votes and imports follow each other in this order"
    )]
    Order,
    #[error("ids do not rise from line to line")]
    Falling,
    #[error("an id is not a number from 1 to {MAX_ID}")]
    Id,
    #[error("the id is larger than the header's last one")]
    AfterLast,
    #[error("the header's last ids are not numbers from 0 to {MAX_ID}")]
    Last,
    #[error("{0} {1}")]
    Field(&'static str, String),
    #[error("{0} is taken already")]
    Taken(&'static str),
    #[error("there is no such {0} before it")]
    Missing(&'static str),
    #[error("there is something after the last line")]
    After,
    #[error("the counts do not fit the lines before: the file is damaged")]
    Counts,
    #[error("the checksum does not fit the lines before: the file is damaged")]
    Checksum,
}

/// An export with a valid first line.
pub struct Reader<R> {
    input: R,
    line: u64,
    buffer: Vec<u8>,
    checksum: Sha256,
    counts: Counts,
    last: Last,
    seen: Seen,
}

impl<R: BufRead> Reader<R> {
    pub fn open(input: R) -> Result<Reader<R>, BadFile> {
        let mut reader = Reader {
            input,
            line: 0,
            buffer: Vec::new(),
            checksum: Sha256::new(),
            counts: Counts::default(),
            last: Last::default(),
            seen: Seen::default(),
        };
        reader.last = reader.read_line().and_then(|()| header(&reader.buffer)).map_err(|flaw| {
            // Such a first line belongs to another kind of file.
            let flaw = match flaw {
                Flaw::TooLong | Flaw::CutOff => Flaw::Foreign,
                flaw => flaw,
            };
            BadFile { line: 1, flaw }
        })?;
        Ok(reader)
    }

    /// The largest ids that were assigned before the export.
    pub fn last(&self) -> Last {
        self.last
    }

    /// How many lines of each kind were read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The content of the next line; `None` after the last, when the file is known to be complete.
    /// Not to be called after an error.
    pub fn record(&mut self) -> Result<Option<Record>, BadFile> {
        self.read().map_err(|flaw| BadFile { line: self.line, flaw })
    }

    fn read(&mut self) -> Result<Option<Record>, Flaw> {
        let checksum = self.checksum.clone();
        self.read_line()?;
        let record = match json(&self.buffer)? {
            Line::Header(_) => return Err(Flaw::Order),
            Line::End(end) => {
                let End { people, posts, votes, imports, sha256 } = end;
                if self.counts != (Counts { people, posts, votes, imports }) {
                    return Err(Flaw::Counts);
                }
                if sha256 != hexadecimal(checksum) {
                    return Err(Flaw::Checksum);
                }
                if !self.input.fill_buf()?.is_empty() {
                    self.line += 1;
                    return Err(Flaw::After);
                }
                return Ok(None);
            }
            Line::Person(person) => {
                self.counts.people += 1;
                let person = checked_person(person)?;
                self.seen.person(&person, self.last)?;
                Record::Person(person)
            }
            Line::Post(post) => {
                self.counts.posts += 1;
                let post = checked_post(post)?;
                self.seen.post(&post, self.last)?;
                Record::Post(post)
            }
            Line::Vote(vote) => {
                self.counts.votes += 1;
                let export::Vote { post, voter, created_at } = vote;
                let vote = Vote { post: PostId(post), voter: UserId(voter), created_at };
                self.seen.vote(vote)?;
                Record::Vote(vote)
            }
            Line::Import(import) => {
                self.counts.imports += 1;
                let (source, post) = (SourceId(import.source_id), import.post.map(PostId));
                self.seen.source(source, post)?;
                Record::Source(source, post)
            }
        };
        Ok(Some(record))
    }

    /// Reads a whole line into the buffer.
    fn read_line(&mut self) -> Result<(), Flaw> {
        self.line += 1;
        self.buffer.clear();
        (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.last() != Some(&b'\n') {
            let is_long = self.buffer.len() as u64 == MAX_LINE;
            return Err(if is_long { Flaw::TooLong } else { Flaw::CutOff });
        }
        self.checksum.update(&self.buffer);
        Ok(())
    }
}

/// The version is checked first: another one may have other fields.
fn header(line: &[u8]) -> Result<Last, Flaw> {
    #[derive(Deserialize)]
    struct Opening {
        kind: String,
        format: String,
        version: u32,
    }
    let opening: Opening = serde_json::from_slice(line).map_err(|_| Flaw::Foreign)?;
    if opening.kind != "header" || opening.format != FORMAT {
        return Err(Flaw::Foreign);
    }
    if opening.version != VERSION {
        return Err(Flaw::Version(opening.version));
    }
    let Line::Header(Header { last_person: person, last_post: post, .. }) = json(line)? else {
        return Err(Flaw::Foreign);
    };
    let may_be = 0..=MAX_ID;
    if !may_be.contains(&person) || !may_be.contains(&post) {
        return Err(Flaw::Last);
    }
    Ok(Last { person, post })
}

fn json(line: &[u8]) -> Result<Line, Flaw> {
    serde_json::from_slice(line).map_err(|err| {
        // Without the library's own "at line 1".
        let text = err.to_string();
        Flaw::Json(text.split(" at line ").next().unwrap_or_default().to_owned())
    })
}

fn checked_person(person: export::Person) -> Result<Person, Flaw> {
    let export::Person {
        id,
        username,
        email,
        email_confirmed_at,
        password_hash,
        auth_epoch,
        role,
        suspended_at,
        created_at,
    } = person;
    if password_hash.as_deref().is_some_and(|hash| !password::is_readable(hash)) {
        let problem = "is not a hash that this program can check".to_owned();
        return Err(Flaw::Field("password_hash", problem));
    }
    Ok(Person {
        id: UserId(id),
        username: Username::parse(&username).map_err(field("username:"))?,
        email: email.map(|email| Email::parse(&email)).transpose().map_err(field("email:"))?,
        password_hash,
        role: match role {
            export::Role::Member => Role::Member,
            export::Role::Admin => Role::Admin,
        },
        suspended_at,
        email_confirmed_at,
        auth_epoch,
        created_at,
    })
}

fn checked_post(post: export::Post) -> Result<Post, Flaw> {
    let export::Post { id, author, title, url, body, created_at, edited_at } = post;
    let draft = Draft {
        title: Title::parse(&title).map_err(field("title:"))?,
        link: Link::parse(url.as_deref().unwrap_or_default()).map_err(field("url:"))?,
        body: Body::parse(&body).map_err(field("body:"))?,
    };
    Ok(Post { id: PostId(id), author: UserId(author), draft, created_at, edited_at })
}

fn field<E: std::fmt::Display>(name: &'static str) -> impl Fn(E) -> Flaw {
    move |problem| Flaw::Field(name, problem.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;
    use crate::transfer::export::{Import, writer::Writer};

    fn read(mut input: &[u8]) -> Result<Vec<Record>, BadFile> {
        let mut reader = Reader::open(&mut input)?;
        let mut records = Vec::new();
        while let Some(record) = reader.record()? {
            records.push(record);
        }
        Ok(records)
    }

    fn small() -> Vec<u8> {
        let created_at = datetime!(2026-11-24 17:47:59.00012 UTC);
        let person = export::Person {
            id: 1,
            username: "Ada".into(),
            email: Some("Ada@example.org".into()),
            email_confirmed_at: Some(created_at),
            password_hash: None,
            auth_epoch: 3,
            role: export::Role::Admin,
            suspended_at: None,
            created_at,
        };
        let post = export::Post {
            id: 7,
            author: 1,
            title: "a\u{2028}\"é\\n🦀".into(),
            url: Some("https://a.test/".into()),
            body: "a\n\tb".into(),
            created_at,
            edited_at: Some(created_at),
        };
        let (format, version) = (FORMAT.to_owned(), VERSION);
        let mut bytes = Vec::new();
        let mut out = Writer::new(&mut bytes);
        for line in [
            Line::Header(Header { format, version, last_person: 1, last_post: 7 }),
            Line::Person(person),
            Line::Post(post),
            Line::Vote(export::Vote { post: 7, voter: 1, created_at }),
            Line::Import(Import { source_id: 5, post: None }),
        ] {
            out.write(&line).unwrap();
        }
        out.finish().unwrap();
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let records = read(&small()).unwrap();
        let [Record::Person(ada), Record::Post(post), Record::Vote(vote), Record::Source(..)] =
            &records[..]
        else {
            panic!("{records:?}")
        };
        assert_eq!((ada.username.as_str(), ada.auth_epoch, ada.role), ("Ada", 3, Role::Admin));
        assert_eq!(post.draft.title.as_str(), "a\u{2028}\"é\\n🦀");
        assert_eq!(post.edited_at, Some(vote.created_at));
    }

    proptest! {
        #[test]
        fn a_file_with_a_byte_changed_or_cut_off_anywhere_is_refused(at: prop::sample::Index, with: u8) {
            let whole = small();
            let at = at.index(whole.len());
            prop_assert!(read(&whole[..at]).is_err());
            let mut changed = whole.clone();
            changed[at] = with;
            prop_assert_eq!(read(&changed).is_ok(), changed == whole);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).is_err());
        }
    }
}
