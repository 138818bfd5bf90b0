//! Bringing posts in: people, posts and votes in bulk, all of it or nothing.
//!
//! It writes to the tables of every feature, which no other `db.rs` does: a million rows one verb
//! at a time would take an hour.

use std::collections::{HashMap, HashSet};

use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use time::OffsetDateTime;

use crate::{
    identity::{PostId, UserId, Username},
    posts::{self, Link},
    transfer::import::{
        Author, Batch, Row, SourceId, Step, Tally, cast_at,
        copy::{CopyIn, Field},
        demo::Demo,
        voters,
    },
};

/// Any number will do, as long as nothing else in the database locks it.
const LOCK: i64 = 0x696D_706F_7274;

/// How many votes go into one statement. Postgres remembers each until its end, to check that its
/// post and its person are there.
const VOTES_AT_ONCE: u64 = 100_000;

/// How many people are made by one statement.
const PEOPLE_AT_ONCE: usize = 10_000;

/// Brings in the posts of `batch` that never came in before, with their authors and their votes,
/// dated `now` at the latest: all of them in one transaction, or nothing.
///
/// Repeating it adds nothing, a post that was deleted since stays deleted, and of two at once the
/// second waits for the first. No post is given to somebody who can log in: their namesake from
/// the file gets a name with a number.
pub async fn bring_in(
    db: &PgPool,
    batch: &Batch,
    now: OffsetDateTime,
    mut progress: impl FnMut(Step),
) -> sqlx::Result<Tally> {
    let mut tx = alone(db, &mut progress).await?;
    let rows = unseen(&mut tx, batch).await?;
    if rows.is_empty() {
        return Ok(Tally::default());
    }
    let votes: u64 = rows.iter().map(|row| u64::from(row.points)).sum();
    progress(Step::Begun { posts: rows.len() as u64, votes });

    let mut people = People::default();
    let authors = people.authors(&mut tx, batch, &rows).await?;
    let since = rows.iter().map(|row| row.created_at).min().unwrap_or(now);
    let most = rows.iter().map(|row| row.points).max().unwrap_or_default();
    let pool = people.voters(&mut tx, &authors, most, since).await?;

    let ids = new_ids(&mut tx, rows.len()).await?;
    let posts = copy_posts(&mut tx, &rows, &ids, &authors).await?;
    copy_sources(&mut tx, &rows, &ids).await?;
    let votes = copy_votes(&mut tx, &rows, &ids, &pool, now, &mut progress).await?;
    progress(Step::Finishing);
    rank(&mut tx, &ids).await?;
    index(&mut tx, &ids).await?;
    tx.commit().await?;

    tidy(db).await;
    Ok(Tally { posts, people: people.made, votes })
}

/// A transaction that no other import runs beside.
pub(super) async fn alone(
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

/// The rows that never came in before, the oldest post first, so that ids rise with time.
async fn unseen<'b>(db: &mut PgConnection, batch: &'b Batch) -> sqlx::Result<Vec<&'b Row>> {
    let ids: Vec<i64> = batch.rows.iter().map(|row| row.source_id.0).collect();
    let seen: HashSet<SourceId> = sqlx::query_scalar!(
        r#"select source_id as "source_id: SourceId" from imported_posts where source_id = any($1)"#,
        &ids,
    )
    .fetch_all(db)
    .await?
    .into_iter()
    .collect();
    let mut rows: Vec<&Row> =
        batch.rows.iter().filter(|row| !seen.contains(&row.source_id)).collect();
    rows.sort_by_key(|row| (row.created_at, row.source_id));
    Ok(rows)
}

/// Finds and makes the accounts of an import.
#[derive(Default)]
struct People {
    /// The names that are somebody's already, as far as this import is concerned.
    claimed: HashSet<String>,
    made: u64,
}

/// An author whose account is looked for under a name.
struct Sought<'b> {
    place: usize,
    author: &'b Author,
    name: Username,
    /// The number in `name`, 1 for the name as it is.
    number: u32,
}

/// Who has a name.
struct Holder {
    id: UserId,
    /// Without a password and an e-mail address: nobody's own.
    is_imported: bool,
}

impl People {
    /// The account of each of the batch's authors. Those of `rows` are made where they are missing;
    /// of the others only those who are there have one.
    async fn authors(
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
            self.make(db, missing.map(|one| (&one.name, one.author.since))).await?;
            let holders = holders(db, sought.iter().map(|one| &one.name)).await?;
            let mut still = Vec::new();
            for mut one in sought {
                match holders.get(&one.name.key()) {
                    Some(holder) if holder.is_imported => accounts[one.place] = Some(holder.id),
                    Some(_) => {
                        self.rename(&mut one);
                        still.push(one);
                    }
                    // Whoever had the name when it should be made has left this moment.
                    None if needed.contains(&one.place) => still.push(one),
                    None => {}
                }
            }
            sought = still;
        }
        Ok(accounts)
    }

    /// Goes on to the next number that no other author of the file has.
    fn rename(&mut self, one: &mut Sought<'_>) {
        loop {
            one.number += 1;
            one.name = one.author.name.numbered(one.number);
            if self.claimed.insert(one.name.key()) {
                return;
            }
        }
    }

    /// At least `most` different people, in the order of their ids: the authors, and where they do
    /// not suffice, made-up ones.
    async fn voters(
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
            self.make(db, names.iter().map(|name| (name, since))).await?;
            let holders = holders(db, names.iter()).await?;
            let usable = names.iter().filter_map(|name| holders.get(&name.key()));
            pool.extend(usable.filter(|holder| holder.is_imported).map(|holder| holder.id));
        }
        pool.sort_unstable();
        Ok(pool)
    }

    /// Makes an account for each name that nobody has.
    async fn make<'n>(
        &mut self,
        db: &mut PgConnection,
        people: impl Iterator<Item = (&'n Username, OffsetDateTime)>,
    ) -> sqlx::Result<()> {
        let (names, dates): (Vec<&str>, Vec<OffsetDateTime>) =
            people.map(|(name, since)| (name.as_str(), since)).unzip();
        let parts = names.chunks(PEOPLE_AT_ONCE).zip(dates.chunks(PEOPLE_AT_ONCE));
        for (names, dates) in parts {
            let made = sqlx::query!(
                "insert into users (username, created_at)
                select username, created_at from unnest($1::text[], $2::timestamptz[]) as new (username, created_at)
                order by created_at, username
                on conflict (lower(username)) do nothing",
                names as &[&str],
                dates,
            )
            .execute(&mut *db)
            .await?;
            self.made += made.rows_affected();
        }
        Ok(())
    }
}

/// Who has these names, by the names' keys.
async fn holders(
    db: &mut PgConnection,
    names: impl Iterator<Item = &Username>,
) -> sqlx::Result<HashMap<String, Holder>> {
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
    let holder = |id, is_imported| Holder { id, is_imported };
    Ok(found.into_iter().map(|one| (one.username.key(), holder(one.id, one.is_imported))).collect())
}

/// Ids for so many posts, rising.
async fn new_ids(db: &mut PgConnection, count: usize) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"
        select nextval(pg_get_serial_sequence('posts', 'id')) as "id!"
        from generate_series(1, $1::bigint)
        "#,
        count as i64,
    )
    .fetch_all(db)
    .await
}

async fn copy_posts(
    db: &mut PgConnection,
    rows: &[&Row],
    ids: &[i64],
    authors: &[Option<UserId>],
) -> sqlx::Result<u64> {
    let mut copy = CopyIn::begin(
        db,
        "copy posts (id, author_id, title, url, body, body_html, excerpt, created_at) from stdin",
    )
    .await?;
    for (row, id) in rows.iter().zip(ids) {
        copy.row(&[
            Field::Number(*id),
            authors[row.author].map_or(Field::Null, |author| Field::Number(author.0)),
            Field::Text(row.title.as_str()),
            row.link.as_ref().map(Link::as_str).map_or(Field::Null, Field::Text),
            Field::Text(""),
            Field::Text(""),
            Field::Text(""),
            Field::Date(row.created_at),
        ])
        .await?;
    }
    copy.finish().await
}

async fn copy_sources(db: &mut PgConnection, rows: &[&Row], ids: &[i64]) -> sqlx::Result<u64> {
    let mut copy = CopyIn::begin(db, "copy imported_posts (source_id, post_id) from stdin").await?;
    for (row, id) in rows.iter().zip(ids) {
        copy.row(&[Field::Number(row.source_id.0), Field::Number(*id)]).await?;
    }
    copy.finish().await
}

async fn copy_votes(
    db: &mut PgConnection,
    rows: &[&Row],
    ids: &[i64],
    pool: &[UserId],
    now: OffsetDateTime,
    progress: &mut impl FnMut(Step),
) -> sqlx::Result<u64> {
    let mut copied = 0;
    let mut rows = rows.iter().zip(ids).peekable();
    while rows.peek().is_some() {
        let mut copy =
            CopyIn::begin(&mut *db, "copy votes (post_id, user_id, created_at) from stdin").await?;
        let mut count = 0;
        while count < VOTES_AT_ONCE
            && let Some((row, id)) = rows.next()
        {
            // In the order of the primary key the table takes in half again as many rows.
            let mut voters: Vec<usize> = voters(row.source_id, row.points, pool.len()).collect();
            voters.sort_unstable();
            for (nth, voter) in voters.into_iter().enumerate() {
                copy.row(&[
                    Field::Number(*id),
                    Field::Number(pool[voter].0),
                    Field::Date(cast_at(row.source_id, nth, row.created_at, now)),
                ])
                .await?;
            }
            count += u64::from(row.points);
        }
        copied += copy.finish().await?;
        progress(Step::Votes(copied));
    }
    Ok(copied)
}

/// Gives new posts their ranks. The votes themselves are counted, so that the two agree.
async fn rank(db: &mut PgConnection, posts: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into post_ranks (post_id, score, hot, created_at)
        select p.id, v.score, hot_rank(v.score, p.created_at), p.created_at
        from posts p
        cross join lateral (select count(*) as score from votes where post_id = p.id) v
        where p.id = any($1)",
        posts,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes new posts searchable.
async fn index(db: &mut PgConnection, posts: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into post_search (post_id, created_at, document)
        select id, created_at, search_document(title, body) from posts where id = any($1)",
        posts,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Tells the planner what the tables hold now, and spares their first readers some work.
///
/// All is in by now, so a failure is no more than a loss of speed until Postgres does it by itself.
pub(super) async fn tidy(db: &PgPool) {
    let statement = "vacuum (analyze) users, posts, post_ranks, post_search, votes, imported_posts";
    if let Err(err) = sqlx::raw_sql(statement).execute(db).await {
        tracing::warn!(%err, "cannot bring the tables' statistics up to date");
    }
}

/// Adds the people, posts and votes of the demo, all or nothing; `None`, and nothing, if any of
/// the people's names is somebody's already.
pub async fn add_demo(
    db: &PgPool,
    demo: &Demo,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Tally>> {
    let mut tx = alone(db, &mut |_| {}).await?;
    if !holders(&mut tx, demo.people.iter()).await?.is_empty() {
        return Ok(None);
    }
    let mut people = People::default();
    people.make(&mut tx, demo.people.iter().map(|name| (name, now - Demo::SPAN))).await?;
    let accounts = holders(&mut tx, demo.people.iter()).await?;
    let account = |name: &Username| accounts.get(&name.key()).map(|account| account.id);
    let pool: Vec<UserId> = demo.people.iter().filter_map(account).collect();

    let (mut posts, mut votes) = (Vec::new(), Votes::default());
    for (sample, number) in demo.samples.iter().zip(1..) {
        let Some(author) = account(&sample.author) else { continue };
        let created_at = now - sample.age;
        let id =
            posts::publish::db::publish_at(&mut *tx, author, &sample.draft, created_at).await?;
        for (nth, voter) in voters(SourceId(number), sample.votes, pool.len()).enumerate() {
            votes.add(id, pool[voter], cast_at(SourceId(number), nth, created_at, now));
        }
        posts.push(id.0);
    }
    let cast = votes.cast(&mut tx).await?;
    recount(&mut tx, &posts).await?;
    tx.commit().await?;
    Ok(Some(Tally { posts: posts.len() as u64, people: people.made, votes: cast }))
}

/// Votes to be cast at once, in columns.
#[derive(Default)]
struct Votes {
    posts: Vec<i64>,
    voters: Vec<i64>,
    dates: Vec<OffsetDateTime>,
}

impl Votes {
    fn add(&mut self, post: PostId, voter: UserId, at: OffsetDateTime) {
        self.posts.push(post.0);
        self.voters.push(voter.0);
        self.dates.push(at);
    }

    async fn cast(&self, db: &mut PgConnection) -> sqlx::Result<u64> {
        let cast = sqlx::query!(
            "insert into votes (post_id, user_id, created_at)
            select * from unnest($1::bigint[], $2::bigint[], $3::timestamptz[])",
            &self.posts,
            &self.voters,
            &self.dates,
        )
        .execute(db)
        .await?;
        Ok(cast.rows_affected())
    }
}

/// Makes the ranks of posts agree with their votes.
async fn recount(db: &mut PgConnection, posts: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "update post_ranks r set score = v.score, hot = hot_rank(v.score, r.created_at)
        from (select post_id, count(*) as score from votes where post_id = any($1) group by post_id) v
        where r.post_id = v.post_id",
        posts,
    )
    .execute(db)
    .await?;
    Ok(())
}
