//! `import fastapi`: the people, posts and votes of another app.

use std::{io::Read as _, time::Instant};

use anyhow::{Context as _, anyhow};
use sqlx::{PgPool, postgres::PgConnectOptions};
use time::OffsetDateTime;

use crate::{
    cli::import::{Failure, Progress, added, print_bad_rows},
    text::counted,
    transfer::import::{
        Tally,
        fastapi::{
            LeftOut, OnFlaw,
            db::{self, Outcome},
        },
    },
};

pub async fn run(db: &PgPool, url: &str, strict: bool) -> Result<(), Failure> {
    let options = if url == "-" { options(&read_url()?)? } else { options(url)? };
    let (started, now) = (Instant::now(), OffsetDateTime::now_utc());
    let on_flaw = if strict { OnFlaw::Stop } else { OnFlaw::LeaveOut };
    let mut progress = Progress::default();
    let outcome = db::bring_in(options, db, now, on_flaw, &mut |step| progress.show(step)).await;
    progress.clear();
    match outcome.map_err(|problem| anyhow!("{problem}; nothing was imported"))? {
        Outcome::AlreadyImported => eprintln!(
            "nothing new: this app was imported already. To import what was written there since, use \
             another database (or another DATA_DIR)"
        ),
        Outcome::Imported(tally, left_out) => {
            print_bad_rows(&left_out.named, left_out.bad + left_out.without_password);
            eprintln!("{}", summary(tally, &left_out, started.elapsed().as_secs()));
        }
    }
    Ok(())
}

fn read_url() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(4096).read_to_string(&mut text);
    read.context("cannot read the URL from standard input")?;
    Ok(text)
}

/// As the app's own settings may write it: `SQLAlchemy` names its driver in the scheme.
fn options(url: &str) -> Result<PgConnectOptions, Failure> {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or_default();
    let is_postgres = matches!(scheme.split('+').next(), Some("postgres" | "postgresql"));
    // Not the library's message: it may quote the URL, which may hold a password.
    let parsed = format!("postgres://{rest}").parse();
    parsed.ok().filter(|_| is_postgres && !rest.is_empty()).ok_or_else(|| {
        Failure::Configuration(
            "the app's database is not a URL such as postgresql://user:password@host/database"
                .to_owned(),
        )
    })
}

fn summary(tally: Tally, left_out: &LeftOut, seconds: u64) -> String {
    let LeftOut { bad, without_password, unpublished, votes, .. } = *left_out;
    let rows = counted(bad, "row", "rows");
    let mut text = format!("{} imported, {rows} skipped, in {seconds} s", added(tally));
    for (count, what) in [
        (
            unpublished,
            format!("{} left out", counted(unpublished, "unpublished post", "unpublished posts")),
        ),
        (votes, format!("{} left out with their post or voter", counted(votes, "vote", "votes"))),
        (
            without_password,
            format!(
                "{} imported without a usable password; `social-post user reset-password` gives them one",
                counted(without_password, "person", "people")
            ),
        ),
    ] {
        if count > 0 {
            text = format!("{text}\n{what}");
        }
    }
    text
}
