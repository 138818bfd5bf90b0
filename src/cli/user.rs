//! `user`: people, from the operator's side.

use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use clap::Subcommand;
use rand::Rng as _;
use sqlx::PgPool;

use crate::{
    cli::{Failure, say},
    config::Settings,
    identity::{Role, Username},
    users::{
        Email, NewPassword, Passwords, db,
        links::{self, Purpose},
        password::guessable_words,
        secret::Secret,
    },
};

#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a person; without --password-stdin a password is made up and printed once
    Create {
        name: String,
        #[arg(long)]
        email: String,
        /// May do what admins may
        #[arg(long)]
        admin: bool,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give a person another password, print it once and a link to choose their own, and end all
    /// their sessions
    ResetPassword { name: String },
    /// Keep a person out, from the next request on
    Suspend { name: String },
    /// Let a suspended person in again
    Restore { name: String },
    /// List everyone
    List,
}

pub async fn run(db: &PgPool, settings: &Settings, command: User) -> Result<(), Failure> {
    match command {
        User::Create { name, email, admin, password_stdin } => {
            // The operator may give the names that nobody may take.
            let username = Username::parse(&name).map_err(usage)?;
            let email = Email::parse(&email).map_err(usage)?;
            let given = if password_stdin { Some(read_password()?) } else { None };
            let text = given.clone().unwrap_or_else(made_up);
            let words = guessable_words(&settings.site.name, Some(&username), Some(&email));
            let password = NewPassword::parse(&text, &words).map_err(usage)?;
            let hash = hashed(password).await?;
            let role = if admin { Role::Admin } else { Role::Member };
            let created = db::sign_up(db, &username, &email, &hash, role).await?;
            created.map_err(|taken| anyhow::anyhow!("{taken}"))?;
            eprintln!("{username} is there.");
            tell(given.is_none(), &text)?;
        }
        User::ResetPassword { name } => {
            let username = Username::parse(&name).map_err(usage)?;
            let text = made_up();
            let hash = hashed(NewPassword::parse(&text, &[]).map_err(usage)?).await?;
            if !db::reset_password(db, &username, &hash).await? {
                return Err(nobody(&username));
            }
            let secret = Secret::new();
            links::db::for_password_by_name(db, &username, &secret.key()).await?;
            eprintln!("{username} is logged out everywhere and has a new password.");
            tell(true, &text)?;
            let link = Purpose::Password.url(&settings.site, &secret);
            eprintln!("Or let them choose one themselves, within 30 minutes: {link}");
        }
        User::Suspend { name } => {
            let username = Username::parse(&name).map_err(usage)?;
            if !db::suspend(db, &username).await? {
                return Err(nobody(&username));
            }
            eprintln!("{username} is logged out everywhere and cannot log in.");
        }
        User::Restore { name } => {
            let username = Username::parse(&name).map_err(usage)?;
            if !db::restore(db, &username).await? {
                return Err(nobody(&username));
            }
            eprintln!("{username} may log in again.");
        }
        User::List => {
            for account in db::accounts(db).await? {
                let email = account.email.as_deref().unwrap_or("-");
                let role = match account.role {
                    Role::Member => "member",
                    Role::Admin => "admin",
                };
                let state = if account.is_suspended { "suspended" } else { "active" };
                say(format_args!(
                    "{}\t{email}\t{role}\t{state}\t{}",
                    account.username,
                    account.created_at.date()
                ))?;
            }
        }
    }
    Ok(())
}

fn nobody(username: &Username) -> Failure {
    anyhow::anyhow!("there is no {username}; `social-post user list` lists everyone").into()
}

/// Alone on its line on stdout, so that a script can take it; the words around it go to stderr.
fn tell(is_made_up: bool, password: &str) -> Result<(), Failure> {
    if is_made_up {
        eprint!("Password (shown this once): ");
        writeln!(std::io::stdout(), "{password}").context("cannot write the password")?;
    }
    Ok(())
}

/// 120 bits, in letters and digits that nobody takes for each other.
fn made_up() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = rand::rngs::OsRng;
    let characters = (0..24).map(|_| char::from(ALPHABET[random.gen_range(0..32)]));
    characters.enumerate().fold(String::new(), |mut text, (at, character)| {
        if at > 0 && at % 6 == 0 {
            text.push('-');
        }
        text.push(character);
        text
    })
}

fn read_password() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(4096).read_to_string(&mut text);
    read.context("cannot read the password from standard input")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn hashed(password: NewPassword) -> Result<String, Failure> {
    let hash = Passwords::new()?.hash(password).await;
    Ok(hash.context("cannot hash the password")?)
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Configuration(problem.to_string())
}
