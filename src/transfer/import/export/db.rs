//! Bringing in an export.

use std::io::BufRead;

use sqlx::PgPool;

use crate::transfer::import::{
    Step, Tally,
    export::{BadFile, Reader, Record},
    whole::db::SiteImport,
};

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error(transparent)]
    File(#[from] BadFile),
    #[error(
        "this site has people or posts already, and an export can be imported into an empty site only: use another database (or another DATA_DIR)"
    )]
    NotEmpty,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Brings an export into an empty site: all of it in one transaction, or nothing.
///
/// `expected` is how many posts and votes it has, where they were counted before.
pub async fn bring_in<R: BufRead>(
    mut reader: Reader<R>,
    expected: Option<(u64, u64)>,
    db: &PgPool,
    progress: &mut dyn FnMut(Step),
) -> Result<Tally, Problem> {
    let Some(mut import) = SiteImport::begin(db, progress).await? else {
        return Err(Problem::NotEmpty);
    };
    if let Some((posts, votes)) = expected {
        import.expect(posts, votes);
    }
    while let Some(record) = reader.record()? {
        match record {
            Record::Person(person) => import.person(&person).await?,
            Record::Post(post) => import.post(&post).await?,
            Record::Vote(vote) => import.vote(vote).await?,
            Record::Source(source, post) => import.source(source, post).await?,
        }
    }
    Ok(import.finish(db, reader.last()).await?)
}
