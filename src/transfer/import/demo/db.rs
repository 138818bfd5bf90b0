//! Adding the demo to a site.

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::{
    identity::{PostId, UserId, Username},
    posts,
    transfer::import::{
        SourceId, Tally, cast_at,
        db::{People, begin_alone, find_accounts},
        demo::Demo,
        voters,
    },
};

/// Adds the people, posts and votes of the demo, all or nothing. `None`, and nothing, if any of the
/// people's names is taken.
pub async fn add(db: &PgPool, demo: &Demo, now: OffsetDateTime) -> sqlx::Result<Option<Tally>> {
    let mut tx = begin_alone(db, &mut |_| {}).await?;
    if !find_accounts(&mut tx, demo.people.iter()).await?.is_empty() {
        return Ok(None);
    }
    let mut people = People::default();
    people.create(&mut tx, demo.people.iter().map(|name| (name, now - Demo::SPAN))).await?;
    let accounts = find_accounts(&mut tx, demo.people.iter()).await?;
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
    Ok(Some(Tally { posts: posts.len() as u64, people: people.created, votes: cast }))
}

/// Votes that one statement casts, in columns.
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
