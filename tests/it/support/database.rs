//! A migrated database for each test, copied from a template in the tests' own cluster.

use std::{path::Path, str::FromStr as _, sync::OnceLock};

use social_post::database::{MIGRATIONS, local::LocalPostgres};
use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub struct Database {
    pub pool: PgPool,
    /// For the program's `DATABASE_URL`.
    pub url: String,
    name: String,
}

impl Database {
    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(&self.url).unwrap()
    }

    /// As somebody who may read and write every row, and make or change no table.
    pub async fn options_of_a_mere_writer(&self) -> PgConnectOptions {
        let mut admin = admin().await;
        admin.execute("select pg_advisory_lock(7302)").await.unwrap();
        let makes =
            "do $$ begin create role writer; exception when duplicate_object then null; end $$";
        for sql in [makes, "grant writer to social_post", "select pg_advisory_unlock(7302)"] {
            admin.execute(sql).await.unwrap();
        }
        for schema in ["public", "tower_sessions"] {
            for sql in [
                format!("grant usage on schema {schema} to writer"),
                format!(
                    "grant select, insert, update, delete on all tables in schema {schema} to writer"
                ),
                format!("grant usage on all sequences in schema {schema} to writer"),
            ] {
                self.pool.execute(sql.as_str()).await.unwrap();
            }
        }
        self.options().options([("role", "writer")])
    }

    /// Ends every connection and accepts no new one, as in an outage.
    pub async fn go_away(&self) {
        let mut admin = admin().await;
        for sql in [
            format!("alter database {} connection limit 0", self.name),
            format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'",
                self.name
            ),
        ] {
            admin.execute(sql.as_str()).await.unwrap();
        }
    }

    /// Ends the outage.
    pub async fn come_back(&self) {
        let sql = format!("alter database {} connection limit -1", self.name);
        admin().await.execute(sql.as_str()).await.unwrap();
    }

    /// Makes what [`absent_database`] only named.
    pub async fn create(&self) {
        make(&mut admin().await, &self.name, "template0").await;
    }
}

/// A database with the whole schema and no rows.
pub async fn database() -> Database {
    let mut admin = admin().await;
    let template = template(&mut admin).await;
    copy(&mut admin, &template).await
}

/// A database with nothing in it.
pub async fn empty_database() -> Database {
    let mut admin = admin().await;
    copy(&mut admin, "template0").await
}

/// A database that is not there yet.
pub fn absent_database() -> Database {
    named(format!("test_{}", uuid::Uuid::now_v7().simple()))
}

async fn admin() -> PgConnection {
    PgConnection::connect_with(cluster()).await.unwrap()
}

/// The cluster lives as long as this process keeps its guard, on a thread of its own: each test has
/// a runtime that ends with it.
fn cluster() -> &'static PgConnectOptions {
    static CLUSTER: OnceLock<PgConnectOptions> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let directory = Path::new(crate::PROJECT).join("target/test-postgres");
                let guard =
                    LocalPostgres::for_tests(&directory).await.expect("a cluster for the tests");
                let mut admin = PgConnection::connect_with(&guard.admin_options()).await.unwrap();
                drop_leftovers(&mut admin).await;
                send.send(guard.admin_options()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        receive.recv().expect("a cluster for the tests")
    })
}

/// Migrated once for each state of `migrations/`, by the first test that needs it.
async fn template(admin: &mut PgConnection) -> String {
    let sums = MIGRATIONS.iter().flat_map(|migration| migration.checksum.iter().copied());
    let hash = sums.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let name = format!("template_{hash:016x}");
    admin.execute("select pg_advisory_lock(7301)").await.unwrap();
    let exists: bool = sqlx::query_scalar(
        "select exists (select from pg_database where datname = $1 and not datallowconn)",
    )
    .bind(&name)
    .fetch_one(&mut *admin)
    .await
    .unwrap();
    if !exists {
        admin
            .execute(format!("drop database if exists {name} with (force)").as_str())
            .await
            .unwrap();
        admin
            .execute(
                format!("create database {name} template template0 owner social_post").as_str(),
            )
            .await
            .unwrap();
        let mut connection = PgConnection::connect_with(&as_application(&name)).await.unwrap();
        MIGRATIONS.run_direct(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        admin
            .execute(format!("alter database {name} allow_connections false").as_str())
            .await
            .unwrap();
    }
    admin.execute("select pg_advisory_unlock(7301)").await.unwrap();
    name
}

async fn copy(admin: &mut PgConnection, template: &str) -> Database {
    let database = absent_database();
    make(admin, &database.name, template).await;
    database
}

async fn make(admin: &mut PgConnection, name: &str, template: &str) {
    // With fsync off copying the files is the quickest way.
    let sql =
        format!("create database {name} template {template} strategy file_copy owner social_post");
    admin.execute(sql.as_str()).await.unwrap();
}

fn named(name: String) -> Database {
    let options = as_application(&name);
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options);
    let socket = cluster().get_socket().unwrap().display().to_string();
    let socket = percent_encoding::utf8_percent_encode(&socket, percent_encoding::NON_ALPHANUMERIC);
    let url =
        format!("postgres://social_post@localhost:{}/{name}?host={socket}", cluster().get_port());
    Database { pool, url, name }
}

/// The tests run with the rights that the site has, not with those of a superuser.
fn as_application(database: &str) -> PgConnectOptions {
    cluster().clone().username("social_post").database(database)
}

/// What runs that were killed have left behind: their names say when they were made.
async fn drop_leftovers(admin: &mut PgConnection) {
    let databases: Vec<String> =
        sqlx::query_scalar("select datname from pg_database where datname like 'test\\_%'")
            .fetch_all(&mut *admin)
            .await
            .unwrap();
    let hour_ago = time::OffsetDateTime::now_utc().unix_timestamp() - 3600;
    for name in databases {
        let made = uuid::Uuid::parse_str(&name[5..]).ok().and_then(|id| id.get_timestamp());
        if made.is_some_and(|made| made.to_unix().0.cast_signed() < hour_ago) {
            let _ = admin
                .execute(format!("drop database if exists {name} with (force)").as_str())
                .await;
        }
    }
}
