//! Reading posts from a CSV file: the good rows, and what is wrong with each bad one.

pub mod db;

use std::collections::{HashMap, HashSet};

use csv::{ByteRecord, ReaderBuilder, StringRecord};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    identity::Username,
    posts::{BadLink, BadTitle, Link, Title},
    text::{self, BadText},
    transfer::import::{Author, Batch, MAX_POINTS, Row, SourceId},
};

/// In any order; there may be others between them.
const COLUMNS: [&str; 7] = ["id", "title", "url", "points", "comments", "author", "created_at"];

/// How many bad rows are kept to be reported.
const NAMED: usize = 50;

/// A file, read to its end.
#[derive(Debug, Default)]
pub struct Reading {
    pub batch: Batch,
    /// The first of the rows that are left out.
    pub bad: Vec<BadRow>,
    /// How many are left out in all.
    pub bad_count: usize,
}

/// A row that cannot be imported. The line is the one it starts on; the header's is 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {flaw}")]
pub struct BadRow {
    pub line: usize,
    pub flaw: Flaw,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("number of fields is {found}, the header has {wanted}")]
    FieldCount { found: usize, wanted: usize },
    #[error("not UTF-8")]
    Encoding,
    #[error("id is not a positive number")]
    Id,
    #[error("id {0} is in the file already", id.0)]
    Doubled { id: SourceId },
    #[error("title is empty")]
    NoTitle,
    #[error("title is longer than {} characters", Title::MAX)]
    LongTitle,
    #[error("title {0}")]
    Title(BadText),
    #[error("url is not an http or https address")]
    Url,
    #[error("url is longer than {} characters", Link::MAX)]
    LongUrl,
    #[error("url has a user name or password in it")]
    UrlCredentials,
    #[error("url {0}")]
    UrlText(BadText),
    #[error("points is not a number")]
    Points,
    #[error("points is negative")]
    NegativePoints,
    #[error("points is over {MAX_POINTS}")]
    ManyPoints,
    #[error("author is not a user name: 2 to 30 letters a to z, digits, - and _")]
    Author,
    #[error("created_at is not a date such as 2026-11-23T15:04:05Z")]
    Date,
    #[error("created_at is before 1970")]
    EarlyDate,
    #[error("created_at is in the future")]
    LateDate,
}

/// Why nothing of the file can be imported.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    #[error("the file is empty")]
    Empty,
    #[error("the header is not UTF-8")]
    Header,
    #[error("the header has no column {0}")]
    NoColumn(&'static str),
    #[error("the header has the column {0} twice")]
    DoubledColumn(&'static str),
    #[error(transparent)]
    Row(#[from] BadRow),
}

/// What to do about a bad row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadRow {
    LeaveOut,
    Stop,
}

/// Reads a whole file. A row is too late when it is dated after `now`.
///
/// All bytes are in memory at once, which costs less than the rows made of them and makes the line
/// of every row easy to find.
pub fn read(bytes: &[u8], now: OffsetDateTime, on_bad: OnBadRow) -> Result<Reading, BadFile> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    if !next(&mut reader, &mut record) {
        return Err(BadFile::Empty);
    }
    let columns = Columns::from_header(&record)?;
    let mut lines = Lines { bytes, at: 0, line: 1 };
    let mut collector = Collector::default();
    let mut reading = Reading::default();
    while next(&mut reader, &mut record) {
        let start = record.position().map_or(0, csv::Position::byte);
        let line = lines.line_at(usize::try_from(start).unwrap_or(usize::MAX));
        let Err(flaw) = collector.add(&record, &columns, now) else { continue };
        let bad = BadRow { line, flaw };
        if on_bad == OnBadRow::Stop {
            return Err(bad.into());
        }
        reading.bad_count += 1;
        if reading.bad.len() < NAMED {
            reading.bad.push(bad);
        }
    }
    reading.batch = collector.batch;
    Ok(reading)
}

/// Reads a record; `false` at the end. It does not fail: bytes in memory can be read, and a row may
/// have any length.
fn next(reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord) -> bool {
    reader.read_byte_record(record).unwrap_or_default()
}

/// The position of each column in a row.
struct Columns {
    places: [usize; COLUMNS.len()],
    count: usize,
}

impl Columns {
    fn from_header(header: &ByteRecord) -> Result<Columns, BadFile> {
        let header = StringRecord::from_byte_record(header.clone()).map_err(|_| BadFile::Header)?;
        let mut places = [0; COLUMNS.len()];
        for (place, name) in places.iter_mut().zip(COLUMNS) {
            let mut found = header.iter().enumerate().filter(|(_, field)| field.trim() == name);
            *place = found.next().ok_or(BadFile::NoColumn(name))?.0;
            if found.next().is_some() {
                return Err(BadFile::DoubledColumn(name));
            }
        }
        Ok(Columns { places, count: header.len() })
    }

    fn pick<'r>(&self, record: &'r StringRecord) -> [&'r str; COLUMNS.len()] {
        self.places.map(|place| record.get(place).unwrap_or_default())
    }
}

/// Tells the line of a byte position; positions must not decrease.
///
/// The reader's own count is late by a line after `\r\n`, and by each empty line that it skips.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn line_at(&mut self, start: usize) -> usize {
        let rest = self.bytes.get(start..).unwrap_or_default();
        let gap = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.bytes.get(self.at..start + gap).unwrap_or_default();
        self.line += passed.split(|byte| *byte == b'\n').skip(1).count();
        self.at = start + gap;
        self.line
    }
}

/// The good rows so far.
#[derive(Default)]
struct Collector {
    batch: Batch,
    ids: HashSet<SourceId>,
    /// The index of each author, by the name in lower case.
    authors: HashMap<String, usize>,
}

impl Collector {
    fn add(
        &mut self,
        record: &ByteRecord,
        columns: &Columns,
        now: OffsetDateTime,
    ) -> Result<(), Flaw> {
        if record.len() != columns.count {
            return Err(Flaw::FieldCount { found: record.len(), wanted: columns.count });
        }
        let record = StringRecord::from_byte_record(record.clone()).map_err(|_| Flaw::Encoding)?;
        let [id, title, url, points, _, author, created_at] = columns.pick(&record);
        let source_id = source_id(id)?;
        if self.ids.contains(&source_id) {
            return Err(Flaw::Doubled { id: source_id });
        }
        let title = self::title(title)?;
        let link = link(url)?;
        let points = self::points(points)?;
        let name = Username::parse(author).map_err(|_| Flaw::Author)?;
        let created_at = date(created_at, now)?;

        self.ids.insert(source_id);
        let author = self.author(name, created_at);
        self.batch.rows.push(Row { source_id, title, link, points, author, created_at });
        Ok(())
    }

    /// The index of an author, who has written no later than `at`.
    fn author(&mut self, name: Username, at: OffsetDateTime) -> usize {
        let authors = &mut self.batch.authors;
        let place = *self.authors.entry(name.key()).or_insert_with(|| {
            authors.push(Author { name, since: at });
            authors.len() - 1
        });
        authors[place].since = authors[place].since.min(at);
        place
    }
}

fn source_id(text: &str) -> Result<SourceId, Flaw> {
    let id = text.trim().parse().map_err(|_| Flaw::Id)?;
    if id > 0 { Ok(SourceId(id)) } else { Err(Flaw::Id) }
}

/// Stray control characters are removed instead of refused, since nobody can correct them in a form;
/// those that separate words become a space.
fn title(text: &str) -> Result<Title, Flaw> {
    let text = text.replace(['\r', '\n', '\t'], " ");
    Title::parse(&text::repair_line(&text)).map_err(|bad| match bad {
        BadTitle::Empty => Flaw::NoTitle,
        BadTitle::TooLong => Flaw::LongTitle,
        BadTitle::Text(bad) => Flaw::Title(bad),
    })
}

fn link(text: &str) -> Result<Option<Link>, Flaw> {
    Link::parse(&text::repair_line(text)).map_err(|bad| match bad {
        BadLink::NotWeb => Flaw::Url,
        BadLink::TooLong => Flaw::LongUrl,
        BadLink::Credentials => Flaw::UrlCredentials,
        BadLink::Text(bad) => Flaw::UrlText(bad),
    })
}

fn points(text: &str) -> Result<u32, Flaw> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Flaw::Points);
    }
    if digits.len() < text.len() {
        return Err(Flaw::NegativePoints);
    }
    // More digits than a number holds are too many, too.
    digits.parse().ok().filter(|points| *points <= MAX_POINTS).ok_or(Flaw::ManyPoints)
}

fn date(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, Flaw> {
    let at = OffsetDateTime::parse(text.trim(), &Rfc3339).map_err(|_| Flaw::Date)?;
    match at {
        at if at < OffsetDateTime::UNIX_EPOCH => Err(Flaw::EarlyDate),
        at if at > now => Err(Flaw::LateDate),
        at => Ok(at.to_offset(time::UtcOffset::UTC)),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const HEADER: &str = "id,title,url,points,comments,author,created_at\n";
    const NOW: OffsetDateTime = datetime!(2026-11-23 15:00 UTC);

    fn read_all(text: &[u8]) -> Reading {
        read(text, NOW, OnBadRow::LeaveOut).unwrap()
    }

    /// What is wrong with each bad row under the usual header.
    fn flaws(rows: &[u8]) -> Vec<String> {
        let reading = read_all(&[HEADER.as_bytes(), rows].concat());
        reading.bad.iter().map(ToString::to_string).collect()
    }

    fn flaw(row: &str) -> String {
        flaws(row.as_bytes()).pop().unwrap_or_default()
    }

    #[test]
    fn columns_are_found_by_name_and_others_are_ignored() {
        let text = "\u{FEFF}author,x,created_at, id ,title,url,points,comments\r\n\
            Ada,?,2015-09-06T07:56:00+02:00,7,Hello,,3,\r\n\
            ada,?,2015-09-05T00:00:00Z,8,World,http://a.test,0,1\r\n";
        let batch = read_all(text.as_bytes()).batch;
        let [hello, world] = &batch.rows[..] else { panic!("{batch:?}") };
        assert_eq!((hello.title.as_str(), hello.points, &hello.link), ("Hello", 3, &None));
        assert_eq!(hello.created_at, datetime!(2015-09-06 05:56 UTC));
        assert_eq!(world.link.as_ref().map(Link::as_str), Some("http://a.test/"));
        let [ada] = &batch.authors[..] else { panic!("one person, however their name is spelt") };
        assert_eq!((ada.name.as_str(), ada.since), ("Ada", datetime!(2015-09-05 0:00 UTC)));
    }

    #[test]
    fn a_file_without_a_header_of_ours_is_refused() {
        let problem =
            |text: &str| read(text.as_bytes(), NOW, OnBadRow::LeaveOut).unwrap_err().to_string();
        assert_eq!(problem(""), "the file is empty");
        assert_eq!(problem("\n\n"), "the file is empty");
        assert_eq!(
            problem("id,title,url,comments,author,created_at\n"),
            "the header has no column points"
        );
        assert_eq!(problem(&format!("id,{HEADER}")), "the header has the column id twice");
    }

    #[test]
    fn each_flaw_has_its_words() {
        let of = |id: &str, title: &str, url: &str, points: &str, author: &str, at: &str| {
            flaw(&format!("{id},{title},{url},{points},0,{author},{at}\n"))
        };
        let (t, d) = ("Title", "2015-09-06T05:56:00Z");
        let long = "x".repeat(151);
        assert_eq!(of("1", t, "", "1", "ada", d), "");
        assert_eq!(flaw("1,Title\n"), "line 2: number of fields is 2, the header has 7");
        for id in ["", "0", "-1", "x", "9223372036854775808"] {
            assert_eq!(of(id, t, "", "1", "ada", d), "line 2: id is not a positive number");
        }
        assert_eq!(of("1", "\u{AD}\u{85}", "", "1", "ada", d), "line 2: title is empty");
        assert_eq!(
            of("1", &long, "", "1", "ada", d),
            "line 2: title is longer than 150 characters"
        );
        for url in ["javascript:alert(1)", "ftp://a.test", "/x", "http://"] {
            assert_eq!(
                of("1", t, url, "1", "ada", d),
                "line 2: url is not an http or https address"
            );
        }
        for points in ["", "x", "1.5", "-", "+1"] {
            assert_eq!(of("1", t, "", points, "ada", d), "line 2: points is not a number");
        }
        assert_eq!(of("1", t, "", "-1", "ada", d), "line 2: points is negative");
        for points in ["1000001", "99999999999999999999"] {
            assert_eq!(of("1", t, "", points, "ada", d), "line 2: points is over 1000000");
        }
        for author in ["", "a", "a b", "аda"] {
            assert!(of("1", t, "", "1", author, d).starts_with("line 2: author is not a user"));
        }
        for at in ["", "2015-09-06", "2015-02-30T00:00:00Z", "yesterday"] {
            assert!(of("1", t, "", "1", "ada", at).starts_with("line 2: created_at is not a date"));
        }
        assert_eq!(
            of("1", t, "", "1", "ada", "1969-12-31T23:59:59Z"),
            "line 2: created_at is before 1970"
        );
        assert_eq!(
            of("1", t, "", "1", "ada", "2026-11-23T15:00:01Z"),
            "line 2: created_at is in the future"
        );
    }

    #[test]
    fn stray_control_characters_are_taken_out() {
        let batch = read_all(
            format!(
                "{HEADER}1, Caf\u{e9}\u{85}\0 ,http://a.test/b\u{85}c,1,0,ada,2015-09-06T05:56:00Z"
            )
            .as_bytes(),
        )
        .batch;
        assert_eq!(batch.rows[0].title.as_str(), "Café");
        assert_eq!(batch.rows[0].link.as_ref().map(Link::as_str), Some("http://a.test/bc"));
    }

    #[test]
    fn a_row_is_named_by_the_line_it_starts_on() {
        let row =
            |id: &str| format!("{id},\"One\ntwo \"\"three\"\"\",,1,0,ada,2015-09-06T05:56:00Z\n");
        let rows = format!("{}{}\n\n{}{}", row("1"), row("x"), row("y"), row("1"));
        let expected = [
            "line 4: id is not a positive number",
            "line 8: id is not a positive number",
            "line 10: id 1 is in the file already",
        ];
        assert_eq!(flaws(rows.as_bytes()), expected);
        let rows = format!("{HEADER}{rows}").replace('\n', "\r\n");
        let reading = read_all(rows.as_bytes());
        assert_eq!(reading.bad.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        assert_eq!(reading.batch.rows[0].title.as_str(), "One  two \"three\"");
    }

    #[test]
    fn bytes_that_are_no_text_spoil_their_row_alone() {
        let rows = b"1,\xff,,1,0,ada,2015-09-06T05:56:00Z\n2,ok,,1,0,ada,2015-09-06T05:56:00Z\n";
        assert_eq!(flaws(rows), ["line 2: not UTF-8"]);
    }

    #[test]
    fn of_very_many_bad_rows_the_first_are_named_and_all_are_counted() {
        let reading = read_all(format!("{HEADER}{}", "x\n".repeat(5000)).as_bytes());
        assert_eq!((reading.bad.len(), reading.bad_count), (50, 5000));
        let stopped = read(format!("{HEADER}x\ny\n").as_bytes(), NOW, OnBadRow::Stop);
        assert_eq!(
            stopped.unwrap_err().to_string(),
            "line 2: number of fields is 1, the header has 7"
        );
    }
}
