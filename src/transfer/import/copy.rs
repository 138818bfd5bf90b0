//! The text format of Postgres' `copy … from stdin`, written a chunk at a time.

use std::fmt::Write as _;

use sqlx::{PgConnection, postgres::PgCopyIn};
use time::OffsetDateTime;

/// How many bytes are sent at once. Larger chunks are no faster.
const CHUNK: usize = 64 * 1024;

/// A `copy` statement that is running. Dropped before [`CopyIn::finish`], it leaves nothing behind.
pub struct CopyIn<'c> {
    sink: PgCopyIn<&'c mut PgConnection>,
    buffer: String,
}

impl<'c> CopyIn<'c> {
    pub async fn begin(db: &'c mut PgConnection, statement: &str) -> sqlx::Result<CopyIn<'c>> {
        let sink = db.copy_in_raw(statement).await?;
        Ok(CopyIn { sink, buffer: String::with_capacity(CHUNK + 4096) })
    }

    /// Adds a row of these fields, in the order of the statement's columns.
    pub async fn row(&mut self, fields: &[Field<'_>]) -> sqlx::Result<()> {
        write_row(&mut self.buffer, fields);
        if self.buffer.len() >= CHUNK {
            self.sink.send(self.buffer.as_bytes()).await?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Ends the statement and returns the number of rows.
    pub async fn finish(mut self) -> sqlx::Result<u64> {
        self.sink.send(self.buffer.as_bytes()).await?;
        self.sink.finish().await
    }
}

/// Rows for one table, collected and sent a chunk at a time, so that several tables can take turns.
pub struct Rows {
    table: &'static str,
    statement: String,
    buffer: String,
    sent: u64,
}

impl Rows {
    /// Postgres remembers each row of a statement until its end, to check what the row refers to.
    const AT_ONCE: usize = 1024 * 1024;

    pub fn new(table: &'static str, columns: &[&str]) -> Rows {
        let statement = format!("copy {table} ({}) from stdin", columns.join(", "));
        Rows { table, statement, buffer: String::new(), sent: 0 }
    }

    pub fn table(&self) -> &'static str {
        self.table
    }

    /// Adds a row, and sends the buffer once it is large.
    pub async fn add(&mut self, db: &mut PgConnection, fields: &[Field<'_>]) -> sqlx::Result<()> {
        write_row(&mut self.buffer, fields);
        if self.buffer.len() >= Rows::AT_ONCE { self.send(db).await } else { Ok(()) }
    }

    /// Sends the buffer.
    pub async fn send(&mut self, db: &mut PgConnection) -> sqlx::Result<()> {
        if !self.buffer.is_empty() {
            let mut sink = db.copy_in_raw(&self.statement).await?;
            sink.send(self.buffer.as_bytes()).await?;
            self.sent += sink.finish().await?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// How many rows were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Field<'a> {
    Number(i64),
    Text(&'a str),
    Date(OffsetDateTime),
    Null,
}

impl<'a> Field<'a> {
    pub fn text_or_null(text: Option<&'a str>) -> Field<'a> {
        text.map_or(Field::Null, Field::Text)
    }

    pub fn date_or_null(at: Option<OffsetDateTime>) -> Field<'a> {
        at.map_or(Field::Null, Field::Date)
    }
}

fn write_row(buffer: &mut String, fields: &[Field<'_>]) {
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            buffer.push('\t');
        }
        match *field {
            Field::Number(number) => {
                let _ = write!(buffer, "{number}");
            }
            Field::Text(text) => write_text(buffer, text),
            Field::Date(at) => write_date(buffer, at),
            Field::Null => buffer.push_str("\\N"),
        }
    }
    buffer.push('\n');
}

fn write_text(buffer: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => buffer.push_str("\\\\"),
            '\t' => buffer.push_str("\\t"),
            '\n' => buffer.push_str("\\n"),
            '\r' => buffer.push_str("\\r"),
            character => buffer.push(character),
        }
    }
}

/// To the microsecond, which is what Postgres stores; it would round anything finer up.
fn write_date(buffer: &mut String, at: OffsetDateTime) {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (date, (hour, minute, second, micro)) = (at.date(), at.time().as_hms_micro());
    let _ = write!(
        buffer,
        "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}.{micro:06}+00",
        date.year(),
        u8::from(date.month()),
        date.day(),
    );
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn nothing_in_a_field_can_end_it() {
        let mut buffer = String::new();
        let date = datetime!(2015-09-06 07:56:00.123456789 +2);
        let fields = [
            Field::Number(-7),
            Field::Text("a\tb\nc\rd\\N\\."),
            Field::Date(date),
            Field::Null,
            Field::Text(""),
        ];
        write_row(&mut buffer, &fields);
        assert_eq!(buffer, "-7\ta\\tb\\nc\\rd\\\\N\\\\.\t2015-09-06 05:56:00.123456+00\t\\N\t\n");
    }
}
