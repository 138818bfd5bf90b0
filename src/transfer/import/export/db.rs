//! Bringing an export in.

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
        "this site has people or posts already, and an export comes into an empty one only: use another database (or another DATA_DIR)"
    )]
    NotEmpty,
    #[error(transparent)]
    Here(#[from] sqlx::Error),
}

/// Brings an export into an empty site: all of it in one transaction, or nothing.
///
/// `expected` is how many posts and votes it has, where somebody has looked.
pub async fn bring_in<R: BufRead>(
    mut reader: Reader<R>,
    expected: Option<(u64, u64)>,
    db: &PgPool,
    progress: &mut dyn FnMut(Step),
) -> Result<Tally, Problem> {
    let Some(mut arrival) = SiteImport::begin(db, progress).await? else {
        return Err(Problem::NotEmpty);
    };
    if let Some((posts, votes)) = expected {
        arrival.expect(posts, votes);
    }
    while let Some(record) = reader.record()? {
        match record {
            Record::Person(person) => arrival.person(&person).await?,
            Record::Post(post) => arrival.post(&post).await?,
            Record::Vote(vote) => arrival.vote(vote).await?,
            Record::Source(source, post) => arrival.source(source, post).await?,
        }
    }
    Ok(arrival.finish(db, reader.last()).await?)
}
