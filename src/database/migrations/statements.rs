//! A migration's text, taken apart: the indexes that are built concurrently, and the rest.

use sqlx::{Executor as _, PgConnection, Row as _};

/// The text that runs in the transaction, and apart from it the indexes that need not block anything.
pub(super) struct Statements {
    pub text: String,
    pub indexes: Vec<Index>,
    /// Indexes to drop once those that replace them are built.
    pub replaced: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub name: String,
    pub table: String,
    /// From `on` to before the `;`.
    pub definition: String,
    pub is_unique: bool,
}

impl Statements {
    /// Separates the indexes on tables with rows. On an empty table an index is built in no time, and
    /// stays in the text.
    pub async fn separate(connection: &mut PgConnection, sql: &str) -> sqlx::Result<Statements> {
        let mut filled = Vec::new();
        for Index { table, .. } in Statements::separate_all(sql).indexes {
            let has_rows = format!("select exists (select from {table})");
            if connection.fetch_one(has_rows.as_str()).await?.try_get(0)? {
                filled.push(table);
            }
        }
        Ok(Statements::split(sql, |table| filled.iter().any(|name| name == table)))
    }

    /// Separates every index on a table that existed before.
    pub fn separate_all(sql: &str) -> Statements {
        Statements::split(sql, |_| true)
    }

    fn split(sql: &str, is_separate: impl Fn(&str) -> bool) -> Statements {
        let mut parts =
            Statements { text: String::new(), indexes: Vec::new(), replaced: Vec::new() };
        for statement in sql.split_inclusive(";\n") {
            // A statement's comments stand before it.
            let lines: Vec<&str> =
                statement.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            let lines = lines.join("\n");
            let dropped = lines.trim().strip_prefix("drop index ");
            match Index::parse(lines.trim()) {
                None if !parts.indexes.is_empty() && dropped.is_some() => {
                    let name = dropped.map(|name| name.trim_end_matches(';').to_owned());
                    parts.replaced.extend(name);
                }
                Some(index)
                    if !sql.contains(&format!("create table {} ", index.table))
                        && is_separate(&index.table) =>
                {
                    parts.indexes.push(index);
                }
                _ => parts.text.push_str(statement),
            }
        }
        parts
    }

    /// The text of a down migration, whose indexes are built by then. It drops the replaced indexes
    /// first: they may depend on what the rest drops.
    pub fn text_down(&self) -> String {
        let drops = self.replaced.iter().map(|name| format!("drop index {name};\n"));
        drops.chain([self.text.clone()]).collect()
    }
}

impl Index {
    fn parse(statement: &str) -> Option<Index> {
        let (is_unique, rest) = match statement.strip_prefix("create unique index ") {
            Some(rest) => (true, rest),
            None => (false, statement.strip_prefix("create index ")?),
        };
        let (name, rest) = rest.split_once(" on ")?;
        let (table, _) = rest.split_once(' ')?;
        let definition = format!("on {}", rest.strip_suffix(';')?);
        Some(Index { name: name.to_owned(), table: table.to_owned(), definition, is_unique })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::migrations::{MIGRATIONS, ups};

    #[test]
    fn only_an_index_on_a_table_that_existed_before_is_built_concurrently() {
        let sql = "-- Why.\ncreate table new (id bigint);\ncreate index new_idx on new (id);\n\
            -- Where it is needed.\ncreate unique index old_idx on old (lower(name))\n    where x;\n\
            create function f() returns text language sql return ';';\n";
        let parts = Statements::separate_all(sql);
        assert_eq!(
            parts.indexes,
            [Index {
                name: "old_idx".into(),
                table: "old".into(),
                definition: "on old (lower(name))\n    where x".into(),
                is_unique: true,
            }]
        );
        assert!(parts.text.contains("new_idx") && parts.text.contains("return ';'"));
        assert!(!parts.text.contains("old_idx"));
        assert_eq!(Statements::split(sql, |_| false).text, sql);
    }

    #[test]
    fn an_index_is_dropped_only_once_its_replacement_is_built() {
        let sql = "create function f();\ncreate index new_idx on old (f());\ndrop index old_idx;\n";
        let parts = Statements::separate_all(sql);
        assert_eq!((parts.text.as_str(), parts.indexes.len()), ("create function f();\n", 1));
        assert_eq!(parts.replaced, ["old_idx"]);
        let down = "create index old_idx on old (x);\ndrop function g;\ndrop index new_idx;\ndrop function f;\n";
        assert_eq!(
            Statements::separate_all(down).text_down(),
            "drop index new_idx;\ndrop function g;\ndrop function f;\n"
        );
        // Where nothing is separate, everything runs in the order in which it is written.
        assert_eq!(Statements::split(down, |_| false).text_down(), down);
    }

    #[test]
    fn every_migration_of_ours_is_parsed_completely() {
        for migration in MIGRATIONS.iter() {
            assert_eq!(Statements::split(&migration.sql, |_| false).text, *migration.sql);
            let parts = Statements::separate_all(&migration.sql);
            let written = migration.sql.matches("index ").count();
            let kept = parts.text.matches("index ").count();
            let separate = parts.indexes.len() + parts.replaced.len();
            assert_eq!(written - kept, separate, "{}", migration.description);
        }
        let search = ups().find(|migration| migration.version == 5).map(|search| &search.sql);
        assert_eq!(
            Statements::separate_all(search.unwrap()).indexes[0].name,
            "posts_title_trgm_idx"
        );
    }
}
