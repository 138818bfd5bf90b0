//! What the tables say twice: does it agree?

use sqlx::PgPool;

use crate::{
    config::Site,
    doctor::{Finding, counted, db},
};

const REPAIR: &str = "social-post doctor --repair";
/// How many search entries are read anew to compare their words; a repair reads all.
const COMPARED: i64 = 20_000;

/// The copies, and what refers to nothing. Right also while people vote: each check is one statement,
/// and so sees one moment.
pub async fn check(db: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let mut found = ranks(&db::misranked(db).await?);

    let entries = db::misindexed(db).await?;
    let unindexed: Vec<i64> =
        entries.iter().filter(|one| !one.has_entry).map(|one| one.post).collect();
    found.extend(some(&unindexed, "search", |posts| format!("{posts} no search entry")));
    let misdated: Vec<i64> =
        entries.iter().filter(|one| one.has_entry).map(|one| one.post).collect();
    found.extend(some(&misdated, "search-dates", |posts| {
        format!("{posts} another date in the search")
    }));
    let (_, misworded) = db::misworded(db, COMPARED).await?;
    found.extend(some(&misworded, "search-words", |posts| {
        format!("{posts} other words in the search than in the text")
    }));

    let db::Orphans { ranks, entries, votes } = db::orphans(db).await?;
    if ranks + entries > 0 {
        found.push(Finding::problem(
            "orphans",
            format!("{ranks} ranks and {entries} search entries are of posts that are not there"),
            REPAIR,
        ));
    }
    if votes > 0 {
        found.push(Finding::problem(
            "orphan-votes",
            format!("{votes} votes are for posts or by people who are not there"),
            "look why the tables' keys were off, then delete from votes v where not exists (select from posts \
             p where p.id = v.post_id) or not exists (select from users u where u.id = v.user_id)",
        ));
    }
    Ok(found)
}

fn ranks(misranked: &[db::Misranked]) -> Vec<Finding> {
    let mut found = Vec::new();
    let posts = |is_wrong: fn(&db::Misranked) -> bool| -> Vec<i64> {
        misranked.iter().filter(|one| is_wrong(one)).map(|one| one.post).collect()
    };
    found.extend(some(&posts(|one| !one.has_rank), "ranks", |posts| {
        format!("{posts} no rank, so no list shows them")
    }));
    let off: Vec<_> =
        misranked.iter().filter(|one| one.has_rank && one.score != one.votes).collect();
    if let Some(first) = off.first() {
        found.push(Finding::problem(
            "scores",
            format!(
                "{} another score than votes, such as post {}: score {}, votes {}",
                has(off.len()),
                first.post,
                first.score,
                first.votes
            ),
            REPAIR,
        ));
    }
    found.extend(some(&posts(|one| one.is_hot_wrong), "hot", |posts| {
        format!("{posts} another place among the hot ones than the score says")
    }));
    found.extend(some(&posts(|one| one.is_date_wrong), "rank-dates", |posts| {
        format!("{posts} another date in the lists")
    }));
    found
}

fn has(count: usize) -> String {
    format!("{} {}", counted(count, "post", "posts"), if count == 1 { "has" } else { "have" })
}

/// A finding about posts, if there are any.
fn some(posts: &[i64], check: &'static str, what: impl Fn(String) -> String) -> Option<Finding> {
    let first = posts.first()?;
    let what = format!("{} (post {first} for one)", what(has(posts.len())));
    Some(Finding::problem(check, what, REPAIR))
}

/// What `serve` clears away, and has not.
pub async fn sweeping(db: &PgPool, site: &Site) -> sqlx::Result<Vec<Finding>> {
    let db::Overdue { sessions, tries, keys } = db::overdue(db, site).await?;
    let mut found = Vec::new();
    if sessions + tries + keys > 0 {
        found.push(Finding::problem(
            "sweep",
            format!(
                "{sessions} sessions, {tries} counts of tries and {keys} keys of forms should have \
                 been cleared away an hour ago"
            ),
            "let `social-post serve` run for a while: it does so every ten minutes; if it runs, its log says \
             what keeps it from it",
        ));
    }
    let old = db::old_hashes(db).await?;
    if old > 0 {
        found.push(Finding::note(
            "passwords",
            format!("{old} passwords are kept in an older form"),
            "nothing: each is hashed anew when its owner next logs in",
        ));
    }
    Ok(found)
}
