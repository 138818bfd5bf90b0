//! The query for a post's place in the hot list, with bounded work.

use sqlx::PgPool;

use crate::{
    database::views::visible_posts,
    identity::PostId,
    posts::rank::{Neighbour, RankExplanation},
    score::Score,
};

/// The post's place in the hot list; `None` if there is no such post. Walks the list's index: from the top
/// as far as places are counted, and one step from the post in each direction.
///
/// The limit is written as a number, not as a parameter ([`RankExplanation::COUNTED`]): the planner takes a
/// parameter for a tenth of the table and plans again for each request, which took four times as long as the
/// query itself.
pub async fn find(db: &PgPool, id: PostId) -> sqlx::Result<Option<RankExplanation>> {
    let found = visible_posts!(query!(
        r#"
        select r.score as "score: Score", r.created_at, r.hot, ahead.count as "ahead!",
            above.id as "above_id?: PostId", above.title as "above_title?",
            below.id as "below_id?: PostId", below.title as "below_title?"
        from post_ranks r
        cross join lateral (
            select count(*) from (
                select from post_ranks o where (o.hot, o.post_id) > (r.hot, r.post_id)
                order by o.hot desc, o.post_id desc limit 1000
            ) as counted
        ) as ahead
        left join lateral (
            select o.post_id from post_ranks o where (o.hot, o.post_id) > (r.hot, r.post_id)
            order by o.hot, o.post_id limit 1
        ) as up on true
        left join lateral (
            select o.post_id from post_ranks o where (o.hot, o.post_id) < (r.hot, r.post_id)
            order by o.hot desc, o.post_id desc limit 1
        ) as down on true
        left join visible_posts above on above.id = up.post_id
        left join visible_posts below on below.id = down.post_id
        where r.post_id = $1
        "#,
        id as PostId,
    ))
    .fetch_optional(db)
    .await?;
    Ok(found.map(|row| RankExplanation {
        score: row.score,
        created_at: row.created_at,
        hot: row.hot,
        place: (row.ahead < RankExplanation::COUNTED).then_some(row.ahead + 1),
        above: neighbour(row.above_id, row.above_title),
        below: neighbour(row.below_id, row.below_title),
    }))
}

fn neighbour(id: Option<PostId>, title: Option<String>) -> Option<Neighbour> {
    Some(Neighbour { id: id?, title: title? })
}
