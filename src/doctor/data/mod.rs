//! Does what is stored twice agree, and was deleted what should be?

pub(super) mod db;

use sqlx::PgPool;

use crate::{
    config::Site,
    doctor::Finding,
    text::counted,
    transfer::tables::{Check, TABLES},
};

const REPAIR: &str = "social-post doctor --repair";
/// How many search entries are compared word by word; a repair compares all.
const COMPARED: i64 = 20_000;

/// Compares every table that [`TABLES`] says can be compared, and looks for rows that refer to nothing.
/// Right also while people vote: each comparison is one statement, and so sees one snapshot.
pub async fn check(db: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for table in TABLES {
        match table.check {
            Check::Ranks => found.extend(ranks(&db::misranked(db).await?)),
            Check::SearchEntries => found.extend(search_entries(db).await?),
            Check::References => found.extend(orphan_votes(db).await?),
            Check::Nothing(_) => {}
        }
    }
    found.extend(orphans(db).await?);
    Ok(found)
}

fn ranks(misranked: &[db::Misranked]) -> Vec<Finding> {
    let mut found = Vec::new();
    let posts = |is_wrong: fn(&db::Misranked) -> bool| -> Vec<i64> {
        misranked.iter().filter(|one| is_wrong(one)).map(|one| one.post).collect()
    };
    found.extend(posts_with("ranks", &posts(|one| !one.has_rank), |posts| {
        format!("{posts} no rank, so no list shows them")
    }));
    let wrong: Vec<_> =
        misranked.iter().filter(|one| one.has_rank && one.score != one.votes).collect();
    if let Some(first) = wrong.first() {
        found.push(Finding::problem(
            "scores",
            format!(
                "{} another score than votes, such as post {}: score {}, votes {}",
                have(wrong.len()),
                first.post,
                first.score,
                first.votes
            ),
            REPAIR,
        ));
    }
    found.extend(posts_with("hot", &posts(|one| one.is_hot_wrong), |posts| {
        format!("{posts} another hot rank than their score gives")
    }));
    found.extend(posts_with("rank-dates", &posts(|one| one.is_date_wrong), |posts| {
        format!("{posts} another date in the lists")
    }));
    found
}

async fn search_entries(db: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let (dated, missing): (Vec<_>, Vec<_>) =
        db::misindexed(db).await?.into_iter().partition(|one| one.has_entry);
    let posts = |all: &[db::Misindexed]| -> Vec<i64> { all.iter().map(|one| one.post).collect() };
    let (_, misworded) = db::misworded(db, COMPARED).await?;
    let found = [
        posts_with("search", &posts(&missing), |posts| format!("{posts} no search entry")),
        posts_with("search-dates", &posts(&dated), |posts| {
            format!("{posts} another date in the search")
        }),
        posts_with("search-words", &misworded, |posts| {
            format!("{posts} other words in the search than in the text")
        }),
    ];
    Ok(found.into_iter().flatten().collect())
}

async fn orphans(db: &PgPool) -> sqlx::Result<Option<Finding>> {
    let orphans = db::orphans(db).await?;
    let counts: Vec<_> = (orphans.iter().filter(|(_, count)| *count > 0))
        .map(|(table, count)| format!("{count} in {table}"))
        .collect();
    let what = format!("rows of posts that are not there: {}", counts.join(", "));
    Ok((!counts.is_empty()).then(|| Finding::problem("orphans", what, REPAIR)))
}

async fn orphan_votes(db: &PgPool) -> sqlx::Result<Option<Finding>> {
    let votes = db::orphan_votes(db).await?;
    let finding = || {
        Finding::problem(
            "orphan-votes",
            format!("{votes} votes are for posts or by people who are not there"),
            "find out why the foreign keys were off, then delete from votes v where not exists (select from posts \
             p where p.id = v.post_id) or not exists (select from users u where u.id = v.user_id)",
        )
    };
    Ok((votes > 0).then(finding))
}

fn have(count: usize) -> String {
    format!("{} {}", counted(count, "post", "posts"), if count == 1 { "has" } else { "have" })
}

/// A finding about posts, if there are any.
fn posts_with(
    check: &'static str,
    posts: &[i64],
    what: impl Fn(String) -> String,
) -> Option<Finding> {
    let first = posts.first()?;
    let what = format!("{} (post {first} for example)", what(have(posts.len())));
    Some(Finding::problem(check, what, REPAIR))
}

/// Rows that `serve` should have deleted, and passwords in an older form.
pub async fn leftovers(db: &PgPool, site: &Site) -> sqlx::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let overdue = db::overdue(db, site).await?;
    if overdue.iter().any(|(_, count)| *count > 0) {
        let counts: Vec<_> =
            overdue.iter().map(|(rows, count)| format!("{count} {rows}")).collect();
        found.push(Finding::problem(
            "sweep",
            format!("rows that should have been deleted an hour ago: {}", counts.join(", ")),
            "let `social-post serve` run for a while: it deletes them every ten minutes; if it runs, its \
             log says why it cannot",
        ));
    }
    let old = db::old_hashes(db).await?;
    if old > 0 {
        found.push(Finding::note(
            "passwords",
            format!("{old} passwords are stored in an older form"),
            "nothing: each is hashed again when its owner next logs in",
        ));
    }
    Ok(found)
}
