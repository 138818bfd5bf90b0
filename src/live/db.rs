//! Words between the processes at one database, and what open pages are told.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgListener};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::{identity::PostId, score::Score};

const CHANNEL: &str = "social_post";

/// A connection on which nothing comes may be dead without anybody knowing; it is made anew then.
const SILENCE: Duration = Duration::from_mins(1);

/// What a page shows of a post and may change while it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub id: PostId,
    pub score: Score,
    pub edited_at: Option<OffsetDateTime>,
}

/// Says `words` to every process that listens, this one included. The words are told apart from the
/// write they are about: a `NOTIFY` inside a vote's statement would make all votes of the site commit
/// one after another.
pub async fn tell(db: &PgPool, words: &str) -> sqlx::Result<()> {
    sqlx::query!("select pg_notify($1, $2)", CHANNEL, words).execute(db).await?;
    Ok(())
}

/// Tells `hear` what is said, on a connection of its own, and `None` where something may have been
/// missed. Returns after a silence, or when the connection is lost.
pub async fn listen(db: &PgPool, hear: impl Fn(Option<&str>)) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(db).await?;
    listener.listen(CHANNEL).await?;
    hear(None);
    while let Ok(heard) = timeout(SILENCE, listener.try_recv()).await {
        match heard? {
            Some(notification) => hear(Some(notification.payload())),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The newest post, by its id; `None` where there is no post.
pub async fn newest(db: &PgPool) -> sqlx::Result<Option<PostId>> {
    sqlx::query_scalar!(r#"select max(id) as "id: PostId" from posts"#).fetch_one(db).await
}

/// How these posts stand now; those that are gone are left out.
pub async fn states(db: &PgPool, ids: &[PostId]) -> sqlx::Result<Vec<State>> {
    sqlx::query_as!(
        State,
        r#"
        select p.id as "id: PostId", r.score as "score: Score", p.edited_at
        from posts p join post_ranks r on r.post_id = p.id
        where p.id = any($1)
        "#,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
    )
    .fetch_all(db)
    .await
}

/// How the posts stand that most open pages show: the first of the hot and of the new ones.
pub async fn front(db: &PgPool) -> sqlx::Result<Vec<State>> {
    sqlx::query_as!(
        State,
        r#"
        with front as (
            (select post_id from post_ranks order by hot desc, post_id desc limit 60)
            union
            (select post_id from post_ranks order by created_at desc, post_id desc limit 60)
        )
        select p.id as "id: PostId", r.score as "score: Score", p.edited_at
        from front f join posts p on p.id = f.post_id join post_ranks r on r.post_id = p.id
        "#,
    )
    .fetch_all(db)
    .await
}
