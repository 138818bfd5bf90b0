//! Notifications between the processes at one database, and the states that open pages receive.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgListener};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::{database::views::visible_posts, identity::PostId, score::Score};

const CHANNEL: &str = "social_post";

/// A connection without a notification for this long may be dead without an error; it is replaced.
const LISTEN_TIMEOUT: Duration = Duration::from_mins(1);

/// What an open page shows of a post and updates while it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostState {
    pub id: PostId,
    pub score: Score,
    pub edited_at: Option<OffsetDateTime>,
}

/// Sends `payload` to every process that listens, this one included. It is a statement apart from the
/// write it is about: a `NOTIFY` inside a vote's statement would make all votes of the site commit
/// one after another.
pub async fn notify(db: &PgPool, payload: &str) -> sqlx::Result<()> {
    sqlx::query!("select pg_notify($1, $2)", CHANNEL, payload).execute(db).await?;
    Ok(())
}

/// Calls `receive` with each payload, on a connection of its own, and with `None` where payloads may
/// have been missed. Returns after [`LISTEN_TIMEOUT`] without one, or when the connection is lost.
pub async fn listen(db: &PgPool, receive: impl Fn(Option<&str>)) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(db).await?;
    listener.listen(CHANNEL).await?;
    receive(None);
    while let Ok(received) = timeout(LISTEN_TIMEOUT, listener.try_recv()).await {
        match received? {
            Some(notification) => receive(Some(notification.payload())),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The newest post, by its id; `None` where there is no post.
pub async fn newest(db: &PgPool) -> sqlx::Result<Option<PostId>> {
    // Not `max(id)`: Postgres reads the whole index for that in a statement with a `with`.
    let newest = visible_posts!(query_scalar!(
        r#"select id as "id: PostId" from visible_posts order by id desc limit 1"#
    ));
    newest.fetch_optional(db).await
}

/// The current state of these posts; those that are gone are left out.
pub async fn states(db: &PgPool, ids: &[PostId]) -> sqlx::Result<Vec<PostState>> {
    visible_posts!(query_as!(
        PostState,
        r#"
        select p.id as "id: PostId", r.score as "score: Score", p.edited_at
        from visible_posts p join post_ranks r on r.post_id = p.id
        where p.id = any($1)
        "#,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
    ))
    .fetch_all(db)
    .await
}

/// The current state of the posts that most open pages show: the first of hot and of new.
pub async fn front(db: &PgPool) -> sqlx::Result<Vec<PostState>> {
    visible_posts!(query_as!(
        PostState,
        r#"
        , front as (
            (select post_id from post_ranks order by hot desc, post_id desc limit 60)
            union
            (select post_id from post_ranks order by created_at desc, post_id desc limit 60)
        )
        select p.id as "id: PostId", r.score as "score: Score", p.edited_at
        from front f join visible_posts p on p.id = f.post_id join post_ranks r on r.post_id = p.id
        "#,
    ))
    .fetch_all(db)
    .await
}
