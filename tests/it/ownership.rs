//! The table of tables (`src/transfer/tables.rs`): it is complete, and each table is written by its
//! owner only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use social_post::transfer::tables::{Backup, Import, Sweep, TABLES, Table};
use sqlx::PgPool;

use crate::support::database;

fn names() -> BTreeSet<String> {
    TABLES.iter().map(|table| table.name.to_owned()).collect()
}

#[tokio::test]
async fn every_table_of_the_schema_has_an_entry_and_every_entry_a_table() {
    let database = database().await;
    let found: Vec<String> = sqlx::query_scalar(
        "select c.oid::regclass::text from pg_class c
        where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text in ('public', 'tower_sessions')
            and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let found: BTreeSet<String> = found.into_iter().collect();
    let names = names();
    assert_eq!(names.len(), TABLES.len(), "a table has two entries in src/transfer/tables.rs");
    let missing = found.difference(&names).map(|name| {
        format!(
            "the table {name} has no entry in src/transfer/tables.rs: add one that says who owns it and how \
             it is exported, imported, checked, backed up, swept and reported"
        )
    });
    let stale = names.difference(&found).map(|name| {
        format!(
            "src/transfer/tables.rs has an entry for {name}, which the migrated schema does not have: \
             remove the entry, or add the migration that creates the table"
        )
    });
    let faults: Vec<String> = missing.chain(stale).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Otherwise an import copies rows before those that they refer to.
#[tokio::test]
async fn a_table_stands_after_those_that_its_rows_refer_to() {
    let database = database().await;
    let references: Vec<(String, String)> = sqlx::query_as(
        "select conrelid::regclass::text, confrelid::regclass::text from pg_constraint where contype = 'f'",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let place = |name: &str| TABLES.iter().position(|table| table.name == name).unwrap();
    assert!(!references.is_empty());
    for (table, other) in references {
        assert!(
            place(&other) < place(&table),
            "move {table} below {other} in src/transfer/tables.rs: its rows refer to {other}"
        );
    }
}

/// A column that an export and an import forget would be lost with the next move of a site.
#[tokio::test]
async fn an_import_copies_every_column() {
    let database = database().await;
    for table in TABLES {
        let Import::Copied(columns) = table.import else { continue };
        let copied: BTreeSet<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            copied,
            columns_of(&database.pool, table.name).await,
            "the columns of {} in src/transfer/tables.rs",
            table.name
        );
    }
}

async fn columns_of(db: &PgPool, table: &str) -> BTreeSet<String> {
    let columns: Vec<String> = sqlx::query_scalar(
        "select attname::text from pg_attribute
        where attrelid = $1::regclass and attnum > 0 and not attisdropped",
    )
    .bind(table)
    .fetch_all(db)
    .await
    .unwrap();
    columns.into_iter().collect()
}

/// A cascade happens only where a foreign key says so.
#[tokio::test]
async fn rows_that_are_deleted_with_others_have_the_foreign_key_for_it() {
    let database = database().await;
    for table in TABLES {
        let Sweep::Cascades(other) = table.sweep else { continue };
        let cascades: bool = sqlx::query_scalar(
            "select exists (select from pg_constraint
            where conrelid = $1::regclass and confrelid = $2::regclass and confdeltype = 'c')",
        )
        .bind(table.name)
        .bind(other)
        .fetch_one(&database.pool)
        .await
        .unwrap();
        assert!(cascades, "{} has no foreign key to {other} with on delete cascade", table.name);
    }
}

#[test]
fn a_feature_writes_only_its_own_tables() {
    let mut faults = Vec::new();
    let mut written: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        for name in written_tables(&text) {
            let table = TABLES.iter().find(|table| table.name == name).unwrap();
            written.entry(table.name).or_default().insert(module.clone());
            if !may_write(table, &module) {
                faults.push(format!(
                    "{path} writes {name}, which src/{}/ owns: call a function there, or add \
                     ({module:?}, the reason) to other_writers in src/transfer/tables.rs",
                    table.owner
                ));
            }
        }
    }
    for table in TABLES {
        let writers = written.get(table.name).cloned().unwrap_or_default();
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(table.owner).exists() {
            faults.push(format!(
                "the owner of {} is src/{}, which is no folder",
                table.name, table.owner
            ));
        }
        for (module, reason) in table.other_writers {
            if !writers.contains(*module) {
                faults.push(format!(
                    "src/transfer/tables.rs lets {module} write {} ({reason}), and it does not: remove that",
                    table.name
                ));
            }
        }
    }
    assert!(written.len() > 10, "only {written:?} are written");
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The owner, those with a reason, and those whose work on whole tables the entry asks for.
fn may_write(table: &Table, module: &str) -> bool {
    let by_its_entry = match module {
        "transfer" => !matches!(table.import, Import::Not(_)),
        "doctor" => table.check.is_repaired(),
        "backup" => matches!(table.backup, Backup::LeftOut(_)),
        _ => false,
    };
    module == table.owner
        || by_its_entry
        || table.other_writers.iter().any(|(other, _)| *other == module)
}

/// The tables that the SQL of a source inserts into, updates, deletes from or copies into. A `for update`
/// or `do update` names no table.
fn written_tables(source: &str) -> BTreeSet<String> {
    let code: Vec<&str> =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let is_part = |c: char| c.is_alphanumeric() || "_.$".contains(c);
    let words: Vec<&str> = code.split(|c| !is_part(c)).filter(|word| !word.is_empty()).collect();
    let names = names();
    let mut written = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let next = |ahead: usize| words.get(at + ahead).copied().unwrap_or_default();
        let target = match *word {
            "insert" | "merge" if next(1) == "into" => next(2),
            "delete" if next(1) == "from" => next(2),
            "update" | "truncate" => next(1),
            "copy" if words[at..].iter().take(20).any(|word| *word == "stdin") => next(1),
            _ => continue,
        };
        let targets = match target.strip_prefix('$') {
            Some(parameter) => arguments(&code, parameter),
            None => vec![target.trim_start_matches("public.")],
        };
        written.extend(targets.into_iter().filter(|name| names.contains(*name)).map(str::to_owned));
    }
    written
}

/// The texts that a source gives to `$parameter:literal` of one of its macros, which writes SQL with it.
fn arguments<'a>(code: &'a str, parameter: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for definition in code.split("macro_rules! ").skip(1) {
        let (name, rest) = definition.split_once(' ').unwrap();
        let head = rest.split("=>").next().unwrap_or_default();
        let mut literals = head.split('$').filter_map(|one| Some(one.split_once(":literal")?.0));
        let Some(place) = literals.position(|literal| literal == parameter) else { continue };
        for call in code.split(&format!("{name}!(")).skip(1) {
            found.extend(call.split('"').skip(1).step_by(2).nth(place));
        }
    }
    found
}

#[test]
fn statements_that_write_are_found_however_they_are_laid_out() {
    let source = "
        // insert into votes, in a comment
        \"with gone as (
            delete from tower_sessions.session where id in (select id from posts)
        ), made as (insert into
            posts (id) values (1) on conflict (id) do update set title = excluded.title)
        update post_ranks r set score = 1 from votes where r.post_id = 1\"
        \"copy public.users (id) from stdin\"
        \"select from imported_posts for update\"
        macro_rules! on {
            ($name:ident, $read:literal, $table:literal) => {
                \"select from \" + $read + \" insert into \" $table \" (id) values (1)\"
            };
        }
        on!(both, \"imported_posts\", \"votes\");";
    let found: Vec<String> = written_tables(source).into_iter().collect();
    assert_eq!(found, ["post_ranks", "posts", "tower_sessions.session", "users", "votes"]);
}

/// The first part of the path below `src`.
fn module_of(path: &str) -> String {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').next().unwrap_or_default().to_owned()
}

/// Every source with its path, without unit tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = files_under(&root.join("src")).into_iter();
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "rs"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        (path.strip_prefix(root).unwrap().display().to_string(), code)
    };
    files.map(read).collect()
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}
