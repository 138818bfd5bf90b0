//! Reading a FastAPI app's database, and importing it.

use std::{collections::HashMap, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, FromRow, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgRow},
};
use time::OffsetDateTime;
use tracing::log::LevelFilter;

use crate::transfer::import::{
    Step, Tally,
    fastapi::{BadRow, LeftOut, OnFlaw, PostRow, UserRow, VoteRow, sieve::Sieve},
    whole::db::SiteImport,
};

/// How long the app's database may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many rows are read at once. A post may be long.
const USERS_AT_ONCE: usize = 1000;
const POSTS_AT_ONCE: usize = 100;
const VOTES_AT_ONCE: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot reach the app's database: {0}")]
    Unreachable(sqlx::Error),
    #[error("cannot reach the app's database: no answer within {} seconds", CONNECT_TIMEOUT.as_secs())]
    Silent,
    #[error("cannot read the app's database: {0}")]
    Unreadable(sqlx::Error),
    #[error(
        "the app's database has no table {0} where its tables are looked for; for another schema add ?options=-csearch_path%3DNAME to the URL"
    )]
    NoTable(&'static str),
    #[error("the app's table {0} has no column {1}")]
    NoColumn(&'static str, &'static str),
    #[error("{0}.{1} of the app is of type {2}, where {3} is expected")]
    Type(&'static str, &'static str, String, &'static str),
    #[error(
        "this site has people or posts already, and ids can be kept only in an empty one; \
         import into another database (or another DATA_DIR) first, and create accounts after that"
    )]
    NotEmpty,
    #[error("{0}")]
    Row(#[from] BadRow),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The result of an import.
#[derive(Debug)]
pub enum Outcome {
    Imported(Tally, LeftOut),
    /// It was imported before, and nothing was added.
    AlreadyImported,
}

/// Imports people, posts and votes of the app at `options` into an empty site, dated `now` at the
/// latest: all in one transaction, or nothing. The app is read at one moment, while it runs.
///
/// Repeating it adds nothing, even after changes on either side.
pub async fn bring_in(
    options: PgConnectOptions,
    db: &PgPool,
    now: OffsetDateTime,
    on_flaw: OnFlaw,
    progress: &mut dyn FnMut(Step),
) -> Result<Outcome, Problem> {
    let mut app = App::open(options).await?;
    let outcome = import_app(&mut app, db, now, on_flaw, progress).await;
    // Otherwise its log reports a connection that was lost in the middle of a transaction.
    let _ = app.connection.close().await;
    outcome
}

async fn import_app(
    app: &mut App,
    db: &PgPool,
    now: OffsetDateTime,
    on_flaw: OnFlaw,
    progress: &mut dyn FnMut(Step),
) -> Result<Outcome, Problem> {
    let Some(mut import) = SiteImport::begin(db, progress).await? else {
        return if is_imported(app, db).await? {
            Ok(Outcome::AlreadyImported)
        } else {
            Err(Problem::NotEmpty)
        };
    };
    let (posts, votes) = app.counts().await?;
    import.expect(posts, votes);

    let mut sieve = Sieve::new(now, on_flaw);
    app.open_rows(&app.shape.users()).await?;
    while let Some(rows) = app.next_rows::<UserRow>(USERS_AT_ONCE).await? {
        for row in rows {
            if let Some(person) = sieve.person(row)? {
                import.person(&person).await?;
            }
        }
    }
    app.open_rows(&app.shape.posts()).await?;
    while let Some(rows) = app.next_rows::<PostRow>(POSTS_AT_ONCE).await? {
        for row in &rows {
            if let Some(post) = sieve.post(row)? {
                import.post(&post).await?;
            }
        }
    }
    if app.shape.has_votes {
        app.open_rows("select post_id::bigint, user_id::bigint from votes order by 1, 2").await?;
        while let Some(rows) = app.next_rows::<VoteRow>(VOTES_AT_ONCE).await? {
            for row in rows {
                if let Some(vote) = sieve.vote(row)? {
                    import.vote(vote).await?;
                }
            }
        }
    }
    let tally = import.finish(db, sieve.last()).await?;
    Ok(Outcome::Imported(tally, sieve.left_out))
}

/// Whether anybody here was imported from the app: with the same id since the same moment.
async fn is_imported(app: &mut App, db: &PgPool) -> Result<bool, Problem> {
    app.open_rows(&app.shape.users()).await?;
    while let Some(rows) = app.next_rows::<UserRow>(USERS_AT_ONCE).await? {
        let known = rows.iter().filter_map(|row| Some((row.id?, row.created_at?)));
        let (ids, dates): (Vec<i64>, Vec<i64>) = known.unzip();
        let is_here = sqlx::query_scalar!(
            r#"
            select exists (
                select from users u join unnest($1::bigint[], $2::bigint[]) as there (id, micros) using (id)
                where extract(epoch from u.created_at) * 1000000 = there.micros
            ) as "is_here!"
            "#,
            &ids,
            &dates,
        )
        .fetch_one(db)
        .await?;
        if is_here {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The app's database, as it was when the connection was opened.
struct App {
    connection: PgConnection,
    shape: Shape,
    has_open_rows: bool,
}

impl App {
    async fn open(options: PgConnectOptions) -> Result<App, Problem> {
        let options = options.log_statements(LevelFilter::Trace).application_name("social-post");
        let options = options.log_slow_statements(LevelFilter::Trace, Duration::from_secs(1));
        let connecting = PgConnection::connect_with(&options);
        let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| Problem::Silent)?
            .map_err(Problem::Unreachable)?;
        connection
            .execute("begin isolation level repeatable read, read only")
            .await
            .map_err(Problem::Unreadable)?;
        let shape = Shape::read(&mut connection).await?;
        Ok(App { connection, shape, has_open_rows: false })
    }

    /// How many posts and votes there are.
    async fn counts(&mut self) -> Result<(u64, u64), Problem> {
        let votes = if self.shape.has_votes { "(select count(*) from votes)" } else { "0::bigint" };
        let sql = format!("select (select count(*) from posts), {votes}");
        let counted = sqlx::query_as(&sql).fetch_one(&mut self.connection).await;
        let (posts, votes): (i64, i64) = counted.map_err(Problem::Unreadable)?;
        Ok((posts.unsigned_abs(), votes.unsigned_abs()))
    }

    /// Opens a cursor, which [`App::next_rows`] reads.
    async fn open_rows(&mut self, select: &str) -> Result<(), Problem> {
        if self.has_open_rows {
            self.connection.execute("close rows").await.map_err(Problem::Unreadable)?;
        }
        let sql = format!("declare rows no scroll cursor for {select}");
        self.connection.execute(sql.as_str()).await.map_err(Problem::Unreadable)?;
        self.has_open_rows = true;
        Ok(())
    }

    /// The next rows, `None` after the last.
    async fn next_rows<T>(&mut self, at_once: usize) -> Result<Option<Vec<T>>, Problem>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let sql = format!("fetch {at_once} from rows");
        let rows = sqlx::query_as(&sql).persistent(false).fetch_all(&mut self.connection).await;
        let rows: Vec<T> = rows.map_err(Problem::Unreadable)?;
        Ok((!rows.is_empty()).then_some(rows))
    }
}

/// How this app's tables differ from another's.
struct Shape {
    owner: &'static str,
    has_published: bool,
    has_votes: bool,
    /// Expressions for the moment in microseconds.
    users_at: String,
    posts_at: String,
}

impl Shape {
    async fn read(connection: &mut PgConnection) -> Result<Shape, Problem> {
        let found: Vec<(String, String, String)> = sqlx::query_as(
            "select c.relname::text, a.attname::text, format_type(a.atttypid, null)
            from pg_attribute a join pg_class c on c.oid = a.attrelid
            where c.oid in (to_regclass('users'), to_regclass('posts'), to_regclass('votes'))
                and a.attnum > 0 and not a.attisdropped",
        )
        .fetch_all(connection)
        .await
        .map_err(Problem::Unreadable)?;
        let mut columns = Columns(HashMap::new());
        for (table, column, kind) in found {
            columns.0.entry(table).or_default().insert(column, kind);
        }

        columns.number("users", "id")?;
        columns.find("users", "email")?;
        columns.find("users", "password")?;
        columns.number("posts", "id")?;
        columns.find("posts", "title")?;
        columns.find("posts", "content")?;
        let has_owner_id = columns.find("posts", "owner_id").is_ok();
        let owner = if has_owner_id { "owner_id" } else { "user_id" };
        columns.number("posts", owner).map_err(|problem| match problem {
            Problem::NoColumn(table, _) => Problem::NoColumn(table, "owner_id or user_id"),
            problem => problem,
        })?;
        let has_votes = columns.0.contains_key("votes");
        if has_votes {
            columns.number("votes", "post_id")?;
            columns.number("votes", "user_id")?;
        }
        Ok(Shape {
            owner,
            has_published: columns.find("posts", "published").is_ok(),
            has_votes,
            users_at: columns.micros("users")?,
            posts_at: columns.micros("posts")?,
        })
    }

    fn users(&self) -> String {
        let Shape { users_at, .. } = self;
        format!(
            "select id::bigint, email::text, password::text, {users_at} as created_at \
             from users order by 1, 2"
        )
    }

    /// A post without a value in `published` counts as unpublished.
    fn posts(&self) -> String {
        let Shape { posts_at, owner, .. } = self;
        let published =
            if self.has_published { "coalesce(published::boolean, false)" } else { "true" };
        format!(
            "select id::bigint, title::text, case when {published} then content::text end as content, \
             {published} as is_published, {posts_at} as created_at, {owner}::bigint as owner \
             from posts order by 1, 2"
        )
    }
}

/// The types of the tables' columns.
struct Columns(HashMap<String, HashMap<String, String>>);

impl Columns {
    fn find(&self, table: &'static str, column: &'static str) -> Result<&str, Problem> {
        let columns = self.0.get(table).ok_or(Problem::NoTable(table))?;
        Ok(columns.get(column).ok_or(Problem::NoColumn(table, column))?)
    }

    fn number(&self, table: &'static str, column: &'static str) -> Result<(), Problem> {
        match self.find(table, column)? {
            "smallint" | "integer" | "bigint" => Ok(()),
            other => Err(Problem::Type(table, column, other.to_owned(), "a whole number")),
        }
    }

    /// `created_at` in microseconds; a time without a zone counts as UTC. The column type holds dates
    /// that Rust's does not, such as `infinity`.
    fn micros(&self, table: &'static str) -> Result<String, Problem> {
        let at = match self.find(table, "created_at")? {
            "timestamp with time zone" => "created_at",
            "timestamp without time zone" | "date" => "(created_at::timestamp at time zone 'UTC')",
            other => {
                return Err(Problem::Type(table, "created_at", other.to_owned(), "a time"));
            }
        };
        Ok(format!(
            "case when {at} between '1970-01-01 00:00:00Z' and '9999-12-31 00:00:00Z' \
             then (extract(epoch from {at}) * 1000000)::bigint end"
        ))
    }
}
