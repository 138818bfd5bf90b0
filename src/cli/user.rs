//! `user`: manage accounts.

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
        Email, NewPassword, Passwords, credentials, db,
        links::{self, Purpose},
        password::{Subject, guessable_words},
        secret::Secret,
    },
};

#[derive(Debug, Subcommand)]
pub enum User {
    /// Create an account; without --password-stdin, print a generated password once
    Create {
        name: String,
        #[arg(long)]
        email: String,
        /// Make an admin; the site always keeps at least one
        #[arg(long)]
        admin: bool,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Set a generated password and print it once with a link to choose another; ends all sessions and
    /// tokens
    ResetPassword { name: String },
    /// Suspend an account at once: it cannot log in, and all its sessions and tokens end
    Suspend { name: String },
    /// End a suspension
    Restore { name: String },
    /// List all accounts
    List,
}

pub async fn run(db: &PgPool, settings: &Settings, command: User) -> Result<(), Failure> {
    match command {
        User::Create { name, email, admin, password_stdin } => {
            // Operators may use reserved names.
            let username = Username::parse(&name).map_err(usage)?;
            let email = Email::parse(&email).map_err(usage)?;
            let given = if password_stdin { Some(read_password()?) } else { None };
            let text = given.clone().unwrap_or_else(generate_password);
            let words = guessable_words(&settings.site.name, Some(&username), Some(&email));
            let password = NewPassword::parse(&text).map_err(usage)?;
            let judged = Passwords::default().judge(Subject::Operator, &password, words).await;
            judged.context("cannot judge the password")?.map_err(usage)?;
            let hash = hashed(password).await?;
            let role = if admin { Role::Admin } else { Role::Member };
            let created = db::sign_up(db, &username, &email, &hash, role).await?;
            created.map_err(|taken| anyhow::anyhow!("{taken}"))?;
            eprintln!("Created {username}.");
            print_password(given.is_none(), &text)?;
        }
        User::ResetPassword { name } => {
            let username = Username::parse(&name).map_err(usage)?;
            let text = generate_password();
            let hash = hashed(NewPassword::parse(&text).map_err(usage)?).await?;
            let Some(user) = db::reset_password(db, &username, &hash).await? else {
                return Err(no_such_user(&username));
            };
            credentials::forget_attempts(db, user).await?;
            let secret = Secret::new();
            links::db::create_for_password_by_name(db, &username, &secret.key()).await?;
            eprintln!("Reset the password of {username} and ended all sessions and tokens.");
            print_password(true, &text)?;
            let link = Purpose::Password.url(&settings.site, &secret);
            eprintln!("Link to choose another password, valid for 30 minutes: {link}");
        }
        User::Suspend { name } => {
            let username = Username::parse(&name).map_err(usage)?;
            if !db::suspend(db, &username).await? {
                return Err(no_such_user(&username));
            }
            eprintln!("Suspended {username} and ended all sessions and tokens.");
        }
        User::Restore { name } => {
            let username = Username::parse(&name).map_err(usage)?;
            if !db::restore(db, &username).await? {
                return Err(no_such_user(&username));
            }
            eprintln!("Restored {username}, who can log in again.");
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

fn no_such_user(username: &Username) -> Failure {
    anyhow::anyhow!("there is no user {username}; `social-post user list` lists all accounts")
        .into()
}

/// Prints a generated password alone on a line of stdout, so that a script can read it; the label goes
/// to stderr.
fn print_password(is_generated: bool, password: &str) -> Result<(), Failure> {
    if is_generated {
        eprint!("Password (shown this once): ");
        writeln!(std::io::stdout(), "{password}").context("cannot write the password")?;
    }
    Ok(())
}

/// 120 random bits, in letters and digits that are not easily confused.
fn generate_password() -> String {
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
    let hash = Passwords::default().hash(Subject::Operator, password).await;
    Ok(hash.context("cannot hash the password")?)
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Configuration(problem.to_string())
}
