//! Every table of the schema, and what is done with whole tables: the one list that export, import,
//! doctor, backup, sweep and metrics go through.
//!
//! A new table is one entry here, and `tests/it/ownership.rs` fails until it has one. A table stands
//! after those that its rows refer to, so that an import can fill them in this order.

use std::pin::Pin;

use sqlx::{PgConnection, PgPool};

use crate::{
    config::Site,
    posts,
    transfer::{
        export::{self, writer::Writer},
        import::whole,
    },
    users::{credentials, sessions},
};

/// What a function of this list returns: a boxed future, so that the list can hold it.
pub type Task<'a, T, E = sqlx::Error> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// A table, and who does what with it. Each field has to be said for each table.
pub struct Table {
    /// As SQL names it: with its schema, where that is not `public`.
    pub name: &'static str,
    /// The folder of `src` that writes it.
    pub owner: &'static str,
    /// Other folders that write it, each with the reason. The import of a copied or derived table, the
    /// repair of a checked one and the clearing of one that a backup leaves out go without saying.
    pub other_writers: &'static [(&'static str, &'static str)],
    pub export: Export,
    pub import: Import,
    pub check: Check,
    pub backup: Backup,
    pub sweep: Sweep,
    pub metrics: Metrics,
}

/// How `export` writes a table. `Not` holds the reason.
pub enum Export {
    /// As lines of its own kind (`docs/EXPORT.md`).
    Lines(
        for<'a> fn(&'a mut PgConnection, &'a mut Writer<'_>) -> Task<'a, (), export::db::Problem>,
    ),
    Not(&'static str),
}

/// How a whole site that is imported fills a table. `Not` holds the reason.
pub enum Import {
    /// With rows that the site brings along, in these columns.
    Copied(&'static [&'static str]),
    /// From the copied rows, once all of them are there.
    Derived(for<'a> fn(&'a mut PgConnection) -> Task<'a, ()>),
    Not(&'static str),
}

/// How the doctor compares a table with what its rows are made from. `Nothing` holds the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// A rank for each post, which follows from its votes and its date; repaired.
    Ranks,
    /// A search entry for each post, which follows from its text and its date; repaired.
    SearchEntries,
    /// Votes are counted, so each must have its post and its voter. Only reported.
    References,
    Nothing(&'static str),
}

impl Check {
    /// Whether the rows are made from posts and can be made anew.
    pub fn is_repaired(self) -> bool {
        matches!(self, Check::Ranks | Check::SearchEntries)
    }
}

/// Whether a backup holds the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backup {
    /// Yes, and a restore says how many of them there are, by this name for one and for many.
    Counted(&'static str, &'static str),
    Kept,
    /// No, for this reason; a restore clears them where another dump has them.
    LeftOut(&'static str),
}

/// Whether `serve` deletes rows that have ended.
pub enum Sweep {
    Ended(Ended),
    /// A foreign key deletes its rows with those of this table.
    Cascades(&'static str),
    Not(&'static str),
}

/// Rows that end by themselves.
pub struct Ended {
    /// What they are called in messages.
    pub rows: &'static str,
    /// Deletes up to a thousand of them and returns how many it found.
    pub delete: for<'a> fn(&'a PgPool, &'a Site) -> Task<'a, u64>,
    /// Counts those that should have been deleted an hour ago. `$1` is after how many days without a
    /// visit a session ends.
    pub overdue: &'static str,
}

/// Whether `/metrics` reports how many rows there are, came and went. `Not` holds the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metrics {
    Reported,
    Not(&'static str),
}

const SHORT_LIVED: &str = "it lives for minutes or days, and no other site can use it";
const LOG_INS: &str = "it is about log-ins, which do not survive a move";
const NOT_STORED_TWICE: &str = "nothing in it is stored twice";
const NO_USAGE: &str = "it does not tell how the site is used";
const BY_ITS_OWNER: &str = "its rows stay until their owner deletes them";
const WITH_LOG_INS: &str =
    "a restored site starts without log-ins, and a stolen file opens nothing";

pub static TABLES: &[Table] = &[
    Table {
        name: "_sqlx_migrations",
        owner: "database",
        other_writers: &[],
        export: Export::Not("it is about the schema, not about the site"),
        import: Import::Not("the schema of the new site has its own history"),
        check: Check::Nothing("`migrate status` compares it with the program"),
        backup: Backup::Kept,
        sweep: Sweep::Not("it is the history of the schema"),
        metrics: Metrics::Not(NO_USAGE),
    },
    Table {
        name: "users",
        owner: "users",
        other_writers: &[("backup", "a restored site accepts no token from before")],
        export: Export::Lines(|db, out| Box::pin(export::db::people(db, out))),
        import: Import::Copied(&[
            "id",
            "username",
            "email",
            "email_key",
            "password_hash",
            "role",
            "suspended_at",
            "email_confirmed_at",
            "auth_epoch",
            "created_at",
        ]),
        check: Check::Nothing(NOT_STORED_TWICE),
        backup: Backup::Counted("person", "people"),
        sweep: Sweep::Not(BY_ITS_OWNER),
        metrics: Metrics::Reported,
    },
    Table {
        name: "tower_sessions.session",
        owner: "users",
        other_writers: &[],
        export: Export::Not(LOG_INS),
        import: Import::Not(LOG_INS),
        check: Check::Nothing(NOT_STORED_TWICE),
        backup: Backup::LeftOut(WITH_LOG_INS),
        sweep: Sweep::Ended(Ended {
            rows: "sessions",
            delete: |db, site| Box::pin(sessions::db::sweep(db, site)),
            overdue: "select count(*) from tower_sessions.session s
                left join user_sessions us on us.session_id = s.id
                where s.expiry_date < now() - interval '1 hour'
                    or us.last_seen_at < now() - make_interval(days => $1) - interval '1 hour'",
        }),
        metrics: Metrics::Not("`user_sessions` has a row for each person who is logged in"),
    },
    Table {
        name: "user_sessions",
        owner: "users",
        other_writers: &[],
        export: Export::Not(LOG_INS),
        import: Import::Not(LOG_INS),
        check: Check::Nothing(NOT_STORED_TWICE),
        backup: Backup::LeftOut(WITH_LOG_INS),
        sweep: Sweep::Cascades("tower_sessions.session"),
        metrics: Metrics::Reported,
    },
    Table {
        name: "mailed_links",
        owner: "users",
        other_writers: &[],
        export: Export::Not(SHORT_LIVED),
        import: Import::Not(SHORT_LIVED),
        check: Check::Nothing(NOT_STORED_TWICE),
        backup: Backup::LeftOut(WITH_LOG_INS),
        sweep: Sweep::Not("there is one for each person and purpose at most"),
        metrics: Metrics::Not(NO_USAGE),
    },
    Table {
        name: "known_devices",
        owner: "users",
        other_writers: &[],
        export: Export::Not(LOG_INS),
        import: Import::Not(LOG_INS),
        check: Check::Nothing(NOT_STORED_TWICE),
        backup: Backup::LeftOut(WITH_LOG_INS),
        sweep: Sweep::Not("there are twenty for each person at most"),
        metrics: Metrics::Not(NO_USAGE),
    },
    Table {
        name: "password_tries",
        owner: "users",
        other_writers: &[],
        export: Export::Not(SHORT_LIVED),
        import: Import::Not(SHORT_LIVED),
        check: Check::Nothing(NOT_STORED_TWICE),
        backup: Backup::LeftOut(WITH_LOG_INS),
        sweep: Sweep::Ended(Ended {
            rows: "counts of log-in tries",
            delete: |db, _| Box::pin(credentials::db::sweep_attempts(db)),
            overdue: "select count(*) from password_tries where free_at < now() - interval '260 minutes'",
        }),
        metrics: Metrics::Not("`refused_total` counts what was refused"),
    },
    Table {
        name: "posts",
        owner: "posts",
        other_writers: &[],
        export: Export::Lines(|db, out| Box::pin(export::db::posts(db, out))),
        import: Import::Copied(&[
            "id",
            "author_id",
            "title",
            "url",
            "body",
            "body_html",
            "excerpt",
            "created_at",
            "edited_at",
        ]),
        check: Check::Nothing("an import renders each text itself, and so does an edit"),
        backup: Backup::Counted("post", "posts"),
        sweep: Sweep::Not(BY_ITS_OWNER),
        metrics: Metrics::Reported,
    },
    Table {
        name: "post_ranks",
        owner: "posts",
        other_writers: &[
            ("votes", "a vote moves the score in its own statement"),
            ("users", "deleting an account takes its votes off the scores"),
        ],
        export: Export::Not("it follows from the posts and their votes"),
        import: Import::Derived(|db| Box::pin(whole::db::rank_all(db))),
        check: Check::Ranks,
        backup: Backup::Kept,
        sweep: Sweep::Cascades("posts"),
        metrics: Metrics::Not("there is one for each post"),
    },
    Table {
        name: "post_search",
        owner: "posts",
        other_writers: &[],
        export: Export::Not("it follows from the posts"),
        import: Import::Derived(|db| Box::pin(whole::db::index_all(db))),
        check: Check::SearchEntries,
        backup: Backup::Kept,
        sweep: Sweep::Cascades("posts"),
        metrics: Metrics::Not("there is one for each post"),
    },
    Table {
        name: "publish_keys",
        owner: "posts",
        other_writers: &[],
        export: Export::Not(SHORT_LIVED),
        import: Import::Not(SHORT_LIVED),
        check: Check::Nothing(NOT_STORED_TWICE),
        backup: Backup::Kept,
        sweep: Sweep::Ended(Ended {
            rows: "keys of forms",
            delete: |db, _| Box::pin(posts::publish::db::sweep_keys(db)),
            overdue: "select count(*) from publish_keys where created_at < now() - interval '25 hours'",
        }),
        metrics: Metrics::Not(NO_USAGE),
    },
    Table {
        name: "votes",
        owner: "votes",
        other_writers: &[(
            "doctor",
            "only in its advice to the operator, for votes without a post or a voter",
        )],
        export: Export::Lines(|db, out| Box::pin(export::db::votes(db, out))),
        import: Import::Copied(&["post_id", "user_id", "created_at"]),
        check: Check::References,
        backup: Backup::Counted("vote", "votes"),
        sweep: Sweep::Not(BY_ITS_OWNER),
        metrics: Metrics::Reported,
    },
    Table {
        name: "imported_posts",
        owner: "transfer",
        other_writers: &[],
        export: Export::Lines(|db, out| Box::pin(export::db::imports(db, out))),
        import: Import::Copied(&["source_id", "post_id"]),
        check: Check::Nothing(NOT_STORED_TWICE),
        backup: Backup::Kept,
        sweep: Sweep::Not("a post that was imported once is not imported again"),
        metrics: Metrics::Not(NO_USAGE),
    },
];

/// The tables that an import fills, with rows of the site or from these.
pub fn imported() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| !matches!(table.import, Import::Not(_)))
}

/// The tables with rows that end by themselves.
pub fn swept() -> impl Iterator<Item = &'static Ended> {
    TABLES.iter().filter_map(|table| match &table.sweep {
        Sweep::Ended(ended) => Some(ended),
        Sweep::Cascades(_) | Sweep::Not(_) => None,
    })
}
