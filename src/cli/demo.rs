//! `demo`: sample posts, people and votes.

use anyhow::Context as _;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    cli::{Failure, import::added},
    transfer::import::demo::{Demo, db},
};

pub async fn run(db: &PgPool) -> Result<(), Failure> {
    let demo = Demo::load().context("the demo is damaged")?;
    match db::add(db, &demo, OffsetDateTime::now_utc()).await? {
        Some(tally) => {
            eprintln!("{} added. They cannot log in; sign up to join them.", added(tally));
        }
        None => {
            eprintln!(
                "The demo, or somebody with a name from it, exists already: nothing was added."
            );
        }
    }
    Ok(())
}
