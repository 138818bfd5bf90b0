//! What the doctor asks Postgres about itself. Not checked when compiled: these queries read the
//! server's own tables.

use sqlx::PgPool;
use time::OffsetDateTime;

/// The schemas of the site's tables.
const SCHEMAS: &str = "('public', 'tower_sessions')";

/// What a server reports about itself and about the site's database.
#[derive(Debug, sqlx::FromRow)]
#[expect(clippy::struct_excessive_bools, reason = "a row of answers to yes-or-no questions")]
pub struct Server {
    pub encoding: String,
    pub ctype: String,
    pub is_by_libc: bool,
    /// Whether the system sorts texts differently than when the indexes were built.
    pub has_other_collation: bool,
    pub name: String,
    pub fsync: String,
    pub synchronous_commit: String,
    pub full_page_writes: String,
    pub data_checksums: String,
    pub is_standby: bool,
    pub is_superuser: bool,
    /// The least of what the server, the database and the role allow.
    pub most_connections: i32,
    pub connections: i32,
    /// Whether statements land in the server's log together with their values.
    pub logs_values: bool,
}

/// The server's version, such as 150018. Read first: an older one does not have all that [`server`]
/// reads.
pub async fn version(db: &PgPool) -> sqlx::Result<i32> {
    sqlx::query_scalar("select current_setting('server_version_num')::int").fetch_one(db).await
}

pub async fn server(db: &PgPool) -> sqlx::Result<Server> {
    sqlx::query_as(
        "select pg_encoding_to_char(d.encoding) as encoding, d.datctype::text as ctype,
            d.datlocprovider = 'c' as is_by_libc, d.datname::text as name,
            coalesce(d.datcollversion <> pg_database_collation_actual_version(d.oid), false) as has_other_collation,
            current_setting('fsync') as fsync,
            current_setting('synchronous_commit') as synchronous_commit,
            current_setting('full_page_writes') as full_page_writes,
            current_setting('data_checksums') as data_checksums,
            pg_is_in_recovery() as is_standby, r.rolsuper as is_superuser,
            least(
                current_setting('max_connections')::int
                    - case when r.rolsuper then 0 else current_setting('superuser_reserved_connections')::int end,
                nullif(d.datconnlimit, -1), nullif(r.rolconnlimit, -1)
            ) as most_connections,
            (select count(*)::int from pg_stat_activity where backend_type = 'client backend') as connections,
            current_setting('log_parameter_max_length') <> '0' and (
                current_setting('log_min_duration_statement') <> '-1'
                or current_setting('log_statement') in ('mod', 'all')
            ) as logs_values
        from pg_database d, pg_roles r
        where d.datname = current_database() and r.rolname = current_user",
    )
    .fetch_one(db)
    .await
}

/// The database's clock.
pub async fn clock(db: &PgPool) -> sqlx::Result<OffsetDateTime> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(db).await
}

/// A session with an old transaction.
#[derive(Debug, sqlx::FromRow)]
pub struct Lingering {
    pub pid: i32,
    pub application: String,
    pub is_idle: bool,
    pub seconds: i64,
}

/// Transactions that have been idle for a minute or active for five; the oldest first.
pub async fn lingering(db: &PgPool) -> sqlx::Result<Vec<Lingering>> {
    sqlx::query_as(
        "select pid, coalesce(application_name, '') as application,
            state like 'idle in transaction%' as is_idle,
            extract(epoch from now() - case when state = 'active' then xact_start else state_change end)::bigint as seconds
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
            and backend_type = 'client backend' and (
                (state like 'idle in transaction%' and state_change < now() - interval '1 minute')
                or (state = 'active' and xact_start < now() - interval '5 minutes')
            )
        order by xact_start limit 10",
    )
    .fetch_all(db)
    .await
}

/// Indexes of ours that no query uses because building them was interrupted.
pub async fn invalid_indexes(db: &PgPool) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(&format!(
        "select indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid
        where not i.indisvalid and c.relnamespace::regnamespace::text in {SCHEMAS} order by 1"
    ))
    .fetch_all(db)
    .await
}

/// The extension that search uses: the installed version and the newest available one; `None` where it
/// is not installed.
pub async fn trigrams(db: &PgPool) -> sqlx::Result<Option<(String, Option<String>)>> {
    sqlx::query_as(
        "select e.extversion, a.default_version from pg_extension e
        left join pg_available_extensions a on a.name = e.extname where e.extname = 'pg_trgm'",
    )
    .fetch_optional(db)
    .await
}
