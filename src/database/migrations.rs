//! The schema's history, forward and back, on a database that people use meanwhile.
//!
//! Migrations are compiled in, so a program knows exactly which schema it was built for. Each is one
//! transaction that waits for its locks only a moment at a time, because whoever comes after a
//! waiting `alter table` waits too. An index on a table that has rows is built afterwards, beside
//! readers and writers; until it is there the migration counts as begun and not finished.

use std::{
    borrow::Cow,
    collections::HashMap,
    time::{Duration, Instant},
};

use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool, Postgres, Row as _,
    migrate::{Migrate as _, MigrateError, Migration, Migrator},
    postgres::PgArguments,
};

pub static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a migration waits for one lock before it lets everybody pass and tries again. Pages wait
/// a second for theirs.
const LOCK_WAIT: Duration = Duration::from_millis(250);
/// How long it goes on trying.
const PATIENCE: Duration = Duration::from_mins(1);
/// The longest that a migration may hold what others wait for.
pub const LONGEST_HOLD: Duration = Duration::from_secs(2);

/// One recorded point of the schema, and whether this database has reached it.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub version: i64,
    pub name: String,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Applied,
    Pending,
    /// Applied by a newer program: this one does not know it.
    Unknown,
    /// Applied, but from another text than this program has.
    Changed,
    /// Begun and not finished.
    Broken,
}

/// Every known migration and every applied one, oldest first.
pub async fn status(db: &PgPool) -> Result<Vec<Step>, MigrateError> {
    steps(&mut *db.acquire().await?).await
}

async fn steps(connection: &mut PgConnection) -> Result<Vec<Step>, MigrateError> {
    let mut applied: HashMap<i64, Cow<'static, [u8]>> = HashMap::new();
    let mut broken = None;
    if has_history(connection).await? {
        broken = connection.dirty_version().await?;
        let found = connection.list_applied_migrations().await?;
        applied.extend(found.into_iter().map(|migration| (migration.version, migration.checksum)));
    }
    let mut steps: Vec<Step> = ups()
        .map(|migration| {
            let state = match applied.remove(&migration.version) {
                _ if broken == Some(migration.version) => State::Broken,
                None => State::Pending,
                Some(checksum) if checksum == migration.checksum => State::Applied,
                Some(_) => State::Changed,
            };
            let name = migration.description.to_string();
            Step { version: migration.version, name, state }
        })
        .collect();
    steps.extend(applied.into_keys().map(|version| Step {
        version,
        name: "(from a newer program)".to_owned(),
        state: State::Unknown,
    }));
    steps.sort_by_key(|step| step.version);
    Ok(steps)
}

fn ups() -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(|migration| migration.migration_type.is_up_migration())
}

/// How the schema stands to the one this program was built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("the database is behind this program: run `social-post migrate up`")]
    Behind,
    #[error(
        "the database is ahead of this program: run the newer social-post, or take the schema back \
         with that one's `social-post migrate down`"
    )]
    Ahead,
    #[error(
        "the database was migrated from other files than this program has: \
         see `social-post migrate status`"
    )]
    Foreign,
    #[error("a migration was begun and not finished: run `social-post migrate up` to finish it")]
    Unfinished,
}

/// `None` where the schema is the one this program was built for.
pub async fn mismatch(db: &PgPool) -> Result<Option<Mismatch>, MigrateError> {
    Ok(mismatch_of(&status(db).await?))
}

/// As [`mismatch`], of steps that are known already.
pub fn mismatch_of(steps: &[Step]) -> Option<Mismatch> {
    let ranked = [
        (State::Unknown, Mismatch::Ahead),
        (State::Changed, Mismatch::Foreign),
        (State::Broken, Mismatch::Unfinished),
        (State::Pending, Mismatch::Behind),
    ];
    let found = ranked.iter().find(|(state, _)| steps.iter().any(|step| step.state == *state));
    found.map(|(_, mismatch)| *mismatch)
}

/// Where to take the schema.
#[derive(Debug, Clone, Copy)]
pub enum Course {
    /// Everything pending is applied.
    Up,
    /// The last so many are taken back.
    Down(usize),
    /// To one version, forward or back; 0 is the empty database.
    To(i64),
}

/// Why the schema is not where it was to go: one line that says where it is, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    History(#[from] MigrateError),
    #[error("there is no migration {0}: `social-post migrate status` lists them")]
    NoSuchVersion(i64),
    #[error("{0}")]
    Mismatch(Mismatch),
    #[error("migration {version:04} ({name}) failed and left nothing behind: {cause}")]
    Failed { version: i64, name: String, cause: sqlx::Error },
    #[error(
        "migration {version:04} ({name}) did not get its locks within {} seconds and left nothing \
         behind: {holders}; then run this again", PATIENCE.as_secs()
    )]
    Locked { version: i64, name: String, holders: String },
    #[error(
        "migration {version:04} ({name}) is not finished, its index {index} is not built: {cause}; \
         run `social-post migrate up` to finish it"
    )]
    NoIndex { version: i64, name: String, index: String, cause: sqlx::Error },
}

/// Moves the schema, one migration after the other, while the site serves; does nothing where there
/// is nothing to do. Several at once wait for each other.
///
/// No migration holds a lock that readers or writers wait for longer than its own statements take,
/// and none waits for one longer than a quarter of a second at a time. A failure leaves the schema
/// at the migration before, or at one that the next `up` finishes.
pub async fn go(db: &PgPool, course: Course) -> Result<(), MigrationError> {
    // Of its own, and closed at the end however that comes: with it goes the lock.
    let mut connection = db.acquire().await?.detach();
    let done = go_with(&mut connection, course).await;
    connection.close().await?;
    done
}

async fn go_with(connection: &mut PgConnection, course: Course) -> Result<(), MigrationError> {
    take_turn(connection).await?;
    connection.ensure_migrations_table().await?;
    for (migration, direction) in plan(&steps(connection).await?, course)? {
        match direction {
            Direction::Forth => apply(connection, migration).await?,
            Direction::Finish => finish(connection, migration, &Parts::all(&migration.sql)).await?,
            Direction::Back => revert(connection, migration).await?,
        }
        let direction = direction.word();
        tracing::info!(
            "migration {:04} ({}) {direction}",
            migration.version,
            migration.description
        );
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forth,
    /// Only its indexes are missing.
    Finish,
    Back,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Direction::Forth => "applied",
            Direction::Finish => "finished",
            Direction::Back => "taken back",
        }
    }
}

/// Which migrations to run, in order.
fn plan(
    steps: &[Step],
    course: Course,
) -> Result<Vec<(&'static Migration, Direction)>, MigrationError> {
    let target = match course {
        Course::Up => i64::MAX,
        Course::Down(count) => {
            let is_there = |step: &&Step| step.state != State::Pending;
            let versions: Vec<i64> =
                steps.iter().filter(is_there).map(|step| step.version).collect();
            versions.len().checked_sub(count + 1).map_or(0, |at| versions[at])
        }
        Course::To(version) if version != 0 && !MIGRATIONS.version_exists(version) => {
            return Err(MigrationError::NoSuchVersion(version));
        }
        Course::To(version) => version,
    };
    let (mut back, mut forth) = (Vec::new(), Vec::new());
    for step in steps {
        let find = |is_up| {
            let is_it = |migration: &&Migration| {
                migration.version == step.version
                    && migration.migration_type.is_up_migration() == is_up
            };
            MIGRATIONS.iter().find(is_it).ok_or(MigrationError::Mismatch(Mismatch::Ahead))
        };
        match (step.state, step.version > target) {
            (State::Unknown, _) => return Err(MigrationError::Mismatch(Mismatch::Ahead)),
            (State::Changed, false) => return Err(MigrationError::Mismatch(Mismatch::Foreign)),
            (State::Broken, true) => return Err(MigrationError::Mismatch(Mismatch::Unfinished)),
            (State::Applied | State::Changed, true) => back.push((find(false)?, Direction::Back)),
            (State::Pending, false) => forth.push((find(true)?, Direction::Forth)),
            (State::Broken, false) => forth.push((find(true)?, Direction::Finish)),
            (State::Applied, false) | (State::Pending, true) => {}
        }
    }
    if !back.is_empty() && forth.iter().any(|(_, direction)| *direction == Direction::Finish) {
        return Err(MigrationError::Mismatch(Mismatch::Unfinished));
    }
    back.reverse();
    back.extend(forth);
    Ok(back)
}

/// Waits until no other program migrates this database. In short waits: a statement that waits holds
/// a snapshot, for which the other's `create index concurrently` would wait in turn.
async fn take_turn(connection: &mut PgConnection) -> Result<(), MigrationError> {
    let wait = format!("set lock_timeout = '{}ms'", LOCK_WAIT.as_millis());
    connection.execute(wait.as_str()).await?;
    let mut is_told = false;
    loop {
        match connection.lock().await {
            Err(MigrateError::Execute(err)) if is_lock_timeout(&err) => {
                if !is_told {
                    tracing::info!("another program is migrating this database; waiting for it");
                    is_told = true;
                }
                tokio::time::sleep(LOCK_WAIT).await;
            }
            done => return Ok(done?),
        }
    }
}

async fn apply(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrationError> {
    let begun = Instant::now();
    let parts = Parts::of(connection, &migration.sql).await?;
    let record =
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values ($1, $2, $3, $4, -1)";
    let record = || {
        sqlx::query(record)
            .bind(migration.version)
            .bind(migration.description.to_string())
            .bind(parts.indexes.is_empty())
            .bind(migration.checksum.to_vec())
    };
    in_a_moment(connection, migration, &parts.text, record).await?;
    finish(connection, migration, &parts).await?;
    let took = i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX);
    sqlx::query("update _sqlx_migrations set execution_time = $2 where version = $1")
        .bind(migration.version)
        .bind(took)
        .execute(connection)
        .await?;
    Ok(())
}

/// What is to be there again on a table that has rows is built before the rest goes: broken off in
/// between, the migration still counts as applied, and nothing is missing.
async fn revert(
    connection: &mut PgConnection,
    migration: &Migration,
) -> Result<(), MigrationError> {
    let parts = Parts::of(connection, &migration.sql).await?;
    build(connection, migration, &parts.indexes).await?;
    let forget =
        || sqlx::query("delete from _sqlx_migrations where version = $1").bind(migration.version);
    in_a_moment(connection, migration, &parts.text_back(), forget).await
}

type Statement = sqlx::query::Query<'static, Postgres, PgArguments>;

/// Runs `text` and what records it in a transaction that gives up when a lock is not to be had at
/// once, lets those pass who came behind it, and begins again.
async fn in_a_moment(
    connection: &mut PgConnection,
    migration: &Migration,
    text: &str,
    record: impl Fn() -> Statement,
) -> Result<(), MigrationError> {
    let (version, name) = (migration.version, migration.description.to_string());
    let deadline = Instant::now() + PATIENCE;
    let mut pause = LOCK_WAIT;
    loop {
        match in_one(connection, text, record()).await {
            Ok(()) => return Ok(()),
            Err(err) if !is_lock_timeout(&err) => {
                return Err(MigrationError::Failed { version, name, cause: err });
            }
            Err(_) if Instant::now() > deadline => {
                let holders = holders(connection).await?;
                return Err(MigrationError::Locked { version, name, holders });
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

async fn in_one(connection: &mut PgConnection, text: &str, record: Statement) -> sqlx::Result<()> {
    let mut tx = connection.begin().await?;
    tx.execute(text).await?;
    record.execute(&mut *tx).await?;
    tx.commit().await
}

/// Builds what is missing of the indexes beside readers and writers, drops those that they replace, and
/// counts the migration as finished.
async fn finish(
    connection: &mut PgConnection,
    migration: &Migration,
    parts: &Parts,
) -> Result<(), MigrationError> {
    build(connection, migration, &parts.indexes).await?;
    for name in &parts.replaced {
        beside_all(connection, &format!("drop index concurrently if exists {name}")).await?;
    }
    sqlx::query("update _sqlx_migrations set success = true where version = $1 and not success")
        .bind(migration.version)
        .execute(connection)
        .await?;
    Ok(())
}

async fn build(
    connection: &mut PgConnection,
    migration: &Migration,
    indexes: &[Index],
) -> Result<(), MigrationError> {
    for index in indexes {
        index.build(connection).await.map_err(|cause| MigrationError::NoIndex {
            version: migration.version,
            name: migration.description.to_string(),
            index: index.name.clone(),
            cause,
        })?;
    }
    Ok(())
}

/// A statement that waits for everybody's open transactions, while nobody waits for it.
async fn beside_all(connection: &mut PgConnection, statement: &str) -> sqlx::Result<()> {
    connection.execute("set lock_timeout = 0").await?;
    let done = connection.execute(statement).await;
    let wait = format!("set lock_timeout = '{}ms'", LOCK_WAIT.as_millis());
    connection.execute(wait.as_str()).await?;
    done.map(drop)
}

/// Not only when the time is over: to break a deadlock Postgres ends one of the two, which may be us.
fn is_lock_timeout(err: &sqlx::Error) -> bool {
    let code = err.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

/// Who may be in the way: the three oldest transactions of others.
async fn holders(connection: &mut PgConnection) -> sqlx::Result<String> {
    let found = sqlx::query(
        "select pid, coalesce(nullif(application_name, ''), 'without a name'),
            extract(epoch from now() - xact_start)::bigint
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
        order by xact_start limit 3",
    )
    .fetch_all(connection)
    .await?;
    let mut lines = Vec::new();
    for row in found {
        let (pid, name, age): (i32, String, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        lines.push(format!("process {pid} ({name}) has a transaction open for {age} s"));
    }
    if lines.is_empty() {
        return Ok("somebody held one of them, and is gone now".to_owned());
    }
    Ok(format!("{}: wait for it, or end it with pg_terminate_backend", lines.join(", ")))
}

/// A migration's text, and apart from it the indexes that need not keep anybody waiting.
struct Parts {
    text: String,
    indexes: Vec<Index>,
    /// Indexes to drop that others take the place of: those must be built first.
    replaced: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Index {
    name: String,
    table: String,
    /// From `on` to before the `;`.
    definition: String,
    is_unique: bool,
}

impl Parts {
    /// On an empty table an index is built in no time, and stays in the text.
    async fn of(connection: &mut PgConnection, sql: &str) -> sqlx::Result<Parts> {
        let mut filled = Vec::new();
        for Index { table, .. } in Parts::all(sql).indexes {
            let asked = format!("select exists (select from {table})");
            if connection.fetch_one(asked.as_str()).await?.try_get(0)? {
                filled.push(table);
            }
        }
        Ok(Parts::split(sql, |table| filled.iter().any(|name| name == table)))
    }

    /// Every index on a table that was there before.
    fn all(sql: &str) -> Parts {
        Parts::split(sql, |_| true)
    }

    fn split(sql: &str, is_apart: impl Fn(&str) -> bool) -> Parts {
        let mut parts = Parts { text: String::new(), indexes: Vec::new(), replaced: Vec::new() };
        for statement in sql.split_inclusive(";\n") {
            // What comments on the statement stands before it.
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
                        && is_apart(&index.table) =>
                {
                    parts.indexes.push(index);
                }
                _ => parts.text.push_str(statement),
            }
        }
        parts
    }

    /// The text for a way back, whose indexes are built by then. It drops indexes first: what else goes
    /// may be what they need.
    fn text_back(&self) -> String {
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

    /// Waits for everybody's open transactions, but nobody waits for it.
    async fn build(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let Index { name, definition, is_unique, .. } = self;
        let state = sqlx::query_scalar::<_, bool>(
            "select indisvalid from pg_index where indexrelid = to_regclass($1)",
        );
        match state.bind(name).fetch_optional(&mut *connection).await? {
            Some(true) => return Ok(()),
            // What an earlier try left is not good for anything.
            Some(false) => {
                beside_all(connection, &format!("drop index concurrently {name}")).await?;
            }
            None => {}
        }
        let unique = if *is_unique { "unique " } else { "" };
        beside_all(connection, &format!("create {unique}index concurrently {name} {definition}"))
            .await
    }
}

/// What a migration would do to a site that serves.
#[derive(Debug)]
pub struct Forecast {
    pub version: i64,
    pub name: String,
    pub is_back: bool,
    /// How long its statements took: it holds no lock longer.
    pub took: Duration,
    /// Beside those of the forecasts before it.
    pub locks: Vec<Lock>,
    /// Built beside readers and writers, each with its table.
    pub indexes: Vec<(String, String)>,
    /// Tables that go, each with how many rows it has now.
    pub drops: Vec<(String, i64)>,
    /// Why it would not run, or would keep people waiting for too long.
    pub problem: Option<String>,
}

/// A lock that somebody else has to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    pub mode: String,
    pub table: String,
}

impl Lock {
    /// Who waits.
    pub fn stops_readers(&self) -> bool {
        self.mode == "AccessExclusiveLock"
    }
}

/// Tries the way to `course` in a transaction that is rolled back. It holds up the site no longer than
/// the way itself may: a statement that takes longer is broken off, and the forecast ends there.
pub async fn forecast(db: &PgPool, course: Course) -> Result<Vec<Forecast>, MigrationError> {
    let mut connection = db.acquire().await?.detach();
    let found = try_out(&mut connection, course).await;
    connection.close().await?;
    found
}

async fn try_out(
    connection: &mut PgConnection,
    course: Course,
) -> Result<Vec<Forecast>, MigrationError> {
    take_turn(connection).await?;
    let plan = plan(&steps(connection).await?, course)?;
    let tables: HashMap<i64, String> = sqlx::query_as(
        "select c.oid::bigint, c.oid::regclass::text from pg_class c
        where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text not like 'pg\\_%'
            and c.relnamespace::regnamespace::text <> 'information_schema'",
    )
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .collect();

    let mut tx = connection.begin().await?;
    let limit = format!("set local statement_timeout = '{}ms'", LONGEST_HOLD.as_millis());
    tx.execute(limit.as_str()).await?;
    let mut forecasts: Vec<Forecast> = Vec::new();
    for (migration, direction) in plan {
        let parts = match direction {
            Direction::Forth => Parts::of(&mut tx, &migration.sql).await?,
            Direction::Finish => Parts { text: String::new(), ..Parts::all(&migration.sql) },
            Direction::Back => {
                let parts = Parts::of(&mut tx, &migration.sql).await?;
                Parts { text: parts.text_back(), ..parts }
            }
        };
        let begun = Instant::now();
        let outcome = tx.execute(parts.text.as_str()).await;
        let mut forecast = Forecast {
            version: migration.version,
            name: migration.description.to_string(),
            is_back: direction == Direction::Back,
            took: begun.elapsed(),
            locks: Vec::new(),
            indexes: parts.indexes.into_iter().map(|one| (one.name, one.table)).collect(),
            drops: Vec::new(),
            problem: None,
        };
        if let Err(err) = outcome {
            forecast.problem = Some(problem(&err));
            forecasts.push(forecast);
            break;
        }
        if forecast.took > LONGEST_HOLD {
            forecast.problem = Some(too_long());
        }
        let earlier = |lock: &Lock| forecasts.iter().any(|forecast| forecast.locks.contains(lock));
        let held = locks(&mut tx, &tables).await?;
        let gone = gone(&mut tx, &tables).await?;
        forecast.locks = held.into_iter().filter(|lock| !earlier(lock)).collect();
        let dropped = |table: &String| {
            forecasts.iter().any(|forecast| forecast.drops.iter().any(|(name, _)| name == table))
        };
        forecast.drops =
            gone.into_iter().filter(|table| !dropped(table)).map(|table| (table, 0)).collect();
        forecasts.push(forecast);
    }
    tx.rollback().await?;
    // Now that nobody waits for us.
    for (table, rows) in forecasts.iter_mut().flat_map(|forecast| &mut forecast.drops) {
        let count = format!("select count(*) from {table}");
        *rows = connection.fetch_one(count.as_str()).await?.try_get(0)?;
    }
    Ok(forecasts)
}

fn problem(err: &sqlx::Error) -> String {
    let code = err.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some("57014") => too_long(),
        Some("55P03" | "40P01") => {
            "somebody holds what it has to lock: it would wait for them, and go on trying for a \
             minute"
                .to_owned()
        }
        _ => format!("it would fail: {err}"),
    }
}

fn too_long() -> String {
    let most = LONGEST_HOLD.as_secs();
    format!("it would keep people waiting for longer than {most} s: stop the site for it")
}

async fn locks(
    connection: &mut PgConnection,
    tables: &HashMap<i64, String>,
) -> sqlx::Result<Vec<Lock>> {
    let held = sqlx::query(
        "select relation::bigint, mode from pg_locks
        where pid = pg_backend_pid() and locktype = 'relation' and granted and mode in
            ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        order by mode",
    )
    .fetch_all(connection)
    .await?;
    let mut locks = Vec::new();
    for row in held {
        if let Some(table) = tables.get(&row.try_get(0)?) {
            locks.push(Lock { mode: row.try_get(1)?, table: table.clone() });
        }
    }
    locks.sort_by(|one, other| one.table.cmp(&other.table));
    Ok(locks)
}

async fn gone(
    connection: &mut PgConnection,
    tables: &HashMap<i64, String>,
) -> sqlx::Result<Vec<String>> {
    let oids: Vec<i64> = tables.keys().copied().collect();
    let gone: Vec<i64> = sqlx::query_scalar(
        "select oid from unnest($1::bigint[]) as was (oid)
        where not exists (select from pg_class c where c.oid::bigint = was.oid)",
    )
    .bind(oids)
    .fetch_all(connection)
    .await?;
    let mut gone: Vec<_> = gone.iter().filter_map(|oid| tables.get(oid).cloned()).collect();
    gone.sort();
    Ok(gone)
}

/// Asked first, because the library's own way would make the table, and to look must not write.
async fn has_history(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_index_on_a_table_that_was_there_before_is_built_apart() {
        let sql = "-- Why.\ncreate table new (id bigint);\ncreate index new_idx on new (id);\n\
            -- Where it is needed.\ncreate unique index old_idx on old (lower(name))\n    where x;\n\
            create function f() returns text language sql return ';';\n";
        let parts = Parts::all(sql);
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
        assert_eq!(Parts::split(sql, |_| false).text, sql);
    }

    #[test]
    fn an_index_goes_only_once_the_one_in_its_place_is_built() {
        let sql = "create function f();\ncreate index new_idx on old (f());\ndrop index old_idx;\n";
        let parts = Parts::all(sql);
        assert_eq!((parts.text.as_str(), parts.indexes.len()), ("create function f();\n", 1));
        assert_eq!(parts.replaced, ["old_idx"]);
        let back = "create index old_idx on old (x);\ndrop function g;\ndrop index new_idx;\ndrop function f;\n";
        assert_eq!(
            Parts::all(back).text_back(),
            "drop index new_idx;\ndrop function g;\ndrop function f;\n"
        );
        // Where nothing is built apart, all is done in the order in which it is written.
        assert_eq!(Parts::split(back, |_| false).text_back(), back);
    }

    #[test]
    fn every_migration_of_ours_is_read_to_the_last_word() {
        for migration in MIGRATIONS.iter() {
            assert_eq!(Parts::split(&migration.sql, |_| false).text, *migration.sql);
            let apart = Parts::all(&migration.sql);
            let written = migration.sql.matches("index ").count();
            let kept = apart.text.matches("index ").count();
            let apart = apart.indexes.len() + apart.replaced.len();
            assert_eq!(written - kept, apart, "{}", migration.description);
        }
        let search = ups().find(|migration| migration.version == 5).map(|search| &search.sql);
        assert_eq!(Parts::all(search.unwrap()).indexes[0].name, "posts_title_trgm_idx");
    }
}
