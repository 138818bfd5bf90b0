//! `demo`: something to look at.

use anyhow::Context as _;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::{
    cli::{Failure, import::added},
    transfer::import::{db, demo::Demo},
};

pub async fn run(db: &PgPool) -> Result<(), Failure> {
    let demo = Demo::ours().context("the demo is damaged")?;
    match db::add_demo(db, &demo, OffsetDateTime::now_utc()).await? {
        Some(tally) => {
            eprintln!("{} added. They cannot log in; sign up to join them.", added(tally));
        }
        None => {
            eprintln!("The demo, or somebody with a name from it, is here already: nothing added.");
        }
    }
    Ok(())
}
