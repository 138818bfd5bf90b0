//! What every import shares: its lock, the accounts of people who are named in it, and the statistics
//! afterwards.
//!
//! Imports write the tables of every feature in bulk: a million rows, one feature's function at a time,
//! would take an hour.

use std::collections::{HashMap, HashSet};

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use time::OffsetDateTime;

use crate::{
    identity::{UserId, Username},
    transfer::{
        import::{Author, Batch, Row, Step},
        tables,
    },
};

/// An arbitrary key that nothing else in the database locks.
const LOCK: i64 = 0x696D_706F_7274;

/// How many people one statement adds.
const PEOPLE_AT_ONCE: usize = 10_000;

/// Begins a transaction that no other import runs beside.
pub(super) async fn begin_alone(
    db: &PgPool,
    progress: &mut (impl FnMut(Step) + ?Sized),
) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = db.begin().await?;
    let is_alone =
        sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "is_alone!""#, LOCK)
            .fetch_one(&mut *tx)
            .await?;
    if !is_alone {
        progress(Step::Waiting);
        sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(&mut *tx).await?;
    }
    Ok(tx)
}

/// Finds and creates the accounts of an import.
#[derive(Default)]
pub(super) struct People {
    /// The names that an author of this import has, or was given.
    claimed: HashSet<String>,
    /// How many accounts were created.
    pub created: u64,
}

/// An author whose account is looked up by a name.
struct Sought<'b> {
    place: usize,
    author: &'b Author,
    name: Username,
    /// The number in `name`, 1 for the name as it is.
    number: u32,
}

/// The account that has a name.
pub(super) struct Account {
    pub id: UserId,
    /// Without a password and an e-mail address: no person has claimed it.
    is_imported: bool,
}

impl People {
    /// The account of each of the batch's authors. Missing accounts are created for the authors of
    /// `rows` only.
    pub(super) async fn authors(
        &mut self,
        db: &mut PgConnection,
        batch: &Batch,
        rows: &[&Row],
    ) -> sqlx::Result<Vec<Option<UserId>>> {
        let needed: HashSet<usize> = rows.iter().map(|row| row.author).collect();
        self.claimed = batch.authors.iter().map(|author| author.name.key()).collect();
        let mut accounts = vec![None; batch.authors.len()];
        let mut sought: Vec<Sought<'_>> = (batch.authors.iter().enumerate())
            .map(|(place, author)| Sought { place, author, name: author.name.clone(), number: 1 })
            .collect();
        while !sought.is_empty() {
            let missing = sought.iter().filter(|one| needed.contains(&one.place));
            self.create(db, missing.map(|one| (&one.name, one.author.since))).await?;
            let found = find_accounts(db, sought.iter().map(|one| &one.name)).await?;
            let mut still = Vec::new();
            for mut one in sought {
                match found.get(&one.name.key()) {
                    Some(account) if account.is_imported => accounts[one.place] = Some(account.id),
                    Some(_) => {
                        self.rename(&mut one);
                        still.push(one);
                    }
                    // The account that had the name was deleted just now.
                    None if needed.contains(&one.place) => still.push(one),
                    None => {}
                }
            }
            sought = still;
        }
        Ok(accounts)
    }

    /// Moves on to the next number that no other author of the file has.
    fn rename(&mut self, one: &mut Sought<'_>) {
        loop {
            one.number += 1;
            one.name = one.author.name.numbered(one.number);
            if self.claimed.insert(one.name.key()) {
                return;
            }
        }
    }

    /// At least `most` different people, in the order of their ids: the authors, and generated
    /// people where there are too few authors.
    pub(super) async fn voters(
        &mut self,
        db: &mut PgConnection,
        authors: &[Option<UserId>],
        most: u32,
        since: OffsetDateTime,
    ) -> sqlx::Result<Vec<UserId>> {
        let most = most as usize;
        let mut pool: Vec<UserId> = authors.iter().copied().flatten().collect();
        let mut numbers = 1..;
        while pool.len() < most {
            let names: Vec<Username> = (numbers.by_ref().map(Username::voter))
                .filter(|name| !self.claimed.contains(&name.key()))
                .take((most - pool.len()).min(PEOPLE_AT_ONCE))
                .collect();
            self.create(db, names.iter().map(|name| (name, since))).await?;
            let found = find_accounts(db, names.iter()).await?;
            let usable = names.iter().filter_map(|name| found.get(&name.key()));
            pool.extend(usable.filter(|account| account.is_imported).map(|account| account.id));
        }
        pool.sort_unstable();
        Ok(pool)
    }

    /// Creates an account for each name that is free.
    pub(super) async fn create<'n>(
        &mut self,
        db: &mut PgConnection,
        people: impl Iterator<Item = (&'n Username, OffsetDateTime)>,
    ) -> sqlx::Result<()> {
        let (names, dates): (Vec<&str>, Vec<OffsetDateTime>) =
            people.map(|(name, since)| (name.as_str(), since)).unzip();
        let parts = names.chunks(PEOPLE_AT_ONCE).zip(dates.chunks(PEOPLE_AT_ONCE));
        for (names, dates) in parts {
            let created = sqlx::query!(
                "insert into users (username, created_at)
                select username, created_at from unnest($1::text[], $2::timestamptz[]) as new (username, created_at)
                order by created_at, username
                on conflict (lower(username)) do nothing",
                names as &[&str],
                dates,
            )
            .execute(&mut *db)
            .await?;
            self.created += created.rows_affected();
        }
        Ok(())
    }
}

/// The accounts with these names, by the names' keys.
pub(super) async fn find_accounts(
    db: &mut PgConnection,
    names: impl Iterator<Item = &Username>,
) -> sqlx::Result<HashMap<String, Account>> {
    let keys: Vec<String> = names.map(Username::key).collect();
    let found = sqlx::query!(
        r#"
        select id as "id: UserId", username as "username: Username",
            password_hash is null and email is null as "is_imported!"
        from users where lower(username) = any($1)
        "#,
        &keys,
    )
    .fetch_all(db)
    .await?;
    let account = |id, is_imported| Account { id, is_imported };
    Ok(found
        .into_iter()
        .map(|one| (one.username.key(), account(one.id, one.is_imported)))
        .collect())
}

/// Updates the planner's statistics of the imported tables, and spares their first readers some work.
pub async fn vacuum(db: &PgPool) -> sqlx::Result<()> {
    let names: Vec<&str> = tables::imported().map(|table| table.name).collect();
    let statement = format!("vacuum (analyze) {}", names.join(", "));
    sqlx::raw_sql(&statement).execute(db).await.map(drop)
}

/// As [`vacuum`], after the import was committed: a failure costs speed only, until Postgres does the
/// same by itself.
pub(super) async fn try_vacuum(db: &PgPool) {
    if let Err(err) = vacuum(db).await {
        tracing::warn!(%err, "cannot update the tables' statistics");
    }
}
