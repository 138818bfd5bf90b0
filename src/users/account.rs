//! What people do with their accounts, each action once. The pages and the API parse the request,
//! call the action and render its outcome.
//!
//! An action checks its rate limits before it looks anything up, writes one line to the log, and
//! sends the e-mail that belongs to it. The log line names the account by its id and holds nothing
//! that was typed.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    config::Site,
    identity::{BadUsername, Role, UserId, Username, Viewer},
    mail::{Mailer, OutgoingEmail},
    users::{
        BadEmail, Email, NewPassword, Passwords, Taken,
        credentials::{self, Authenticated, Authenticator, EarlierLogIn},
        db::{self, DeleteRefused, PrivateDetails},
        links::{self, Links, MailedLink, emails},
        password::{BadPassword, Subject, guessable_words},
        sessions, tokens,
    },
    web::{Result, error::Field, middleware::timeout::Limits, throttle::Throttle},
};

/// `accounts: Accounts` in a handler means that it makes an account, checks a password or sends an
/// e-mail about an account.
pub struct Accounts {
    db: PgPool,
    site: Arc<Site>,
    passwords: Passwords,
    authenticator: Authenticator,
    links: Links,
}

impl<S: Send + Sync> FromRequestParts<S> for Accounts
where
    PgPool: FromRef<S>,
    Arc<Site>: FromRef<S>,
    Passwords: FromRef<S>,
    Throttle: FromRef<S>,
    Mailer: FromRef<S>,
    Limits: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Accounts, Infallible> {
        Ok(Accounts {
            db: PgPool::from_ref(state),
            site: Arc::from_ref(state),
            passwords: Passwords::from_ref(state),
            authenticator: Authenticator::from_request_parts(parts, state).await?,
            links: Links::from_request_parts(parts, state).await?,
        })
    }
}

/// The fields of a sign-up, each parsed on its own so that a form can show all problems at once.
pub struct SignUpFields {
    pub username: Result<Username, BadUsername>,
    pub email: Result<Email, BadEmail>,
    pub password: Result<NewPassword, BadPassword>,
}

impl SignUpFields {
    pub fn parse(username: &str, email: &str, password: &str) -> SignUpFields {
        SignUpFields {
            username: Username::parse_unreserved(username),
            email: Email::parse(email),
            password: NewPassword::parse(password),
        }
    }

    fn problems(&self) -> Vec<Field> {
        let problems = [
            self.username.as_ref().err().map(|bad| Field::new("username", bad)),
            self.email.as_ref().err().map(|bad| Field::new("email", bad)),
            self.password.as_ref().err().map(|bad| Field::new("password", bad)),
        ];
        problems.into_iter().flatten().collect()
    }
}

/// A new account.
pub struct SignedUp {
    pub authenticated: Authenticated,
    pub username: Username,
}

/// Why nobody was signed up.
#[derive(Debug)]
pub struct SignUpRefused {
    /// The fields that are not valid.
    pub invalid: Vec<Field>,
    /// The values that belong to another account.
    pub taken: Vec<Taken>,
}

/// Why an action that asks for the current password was refused.
#[derive(Debug)]
pub enum Refused<Problem> {
    /// The current password is wrong.
    WrongPassword,
    /// The account is gone, or all its sessions and tokens were ended while the request ran.
    LoggedOut,
    Problem(Problem),
}

impl<Problem> Refused<Problem> {
    pub fn map<Other>(self, convert: impl FnOnce(Problem) -> Other) -> Refused<Other> {
        match self {
            Refused::WrongPassword => Refused::WrongPassword,
            Refused::LoggedOut => Refused::LoggedOut,
            Refused::Problem(problem) => Refused::Problem(convert(problem)),
        }
    }
}

/// The outcome of [`Accounts::change_email`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailChange {
    /// The site sends no e-mail, so the address was changed at once.
    Changed,
    /// The address changes when the link sent to it is opened.
    LinkSent,
}

#[derive(Debug, thiserror::Error)]
pub enum EmailProblem {
    #[error(transparent)]
    Bad(#[from] BadEmail),
    #[error(transparent)]
    Taken(#[from] Taken),
}

#[derive(Debug, thiserror::Error)]
#[error("You are the only admin. Make another user an admin before you delete this account.")]
pub struct LastAdmin;

/// Why [`Accounts::forgot_password`] sent nothing.
#[derive(Debug)]
pub enum ForgotRefused {
    /// The site sends no e-mail.
    NoEmail,
    Bad(BadEmail),
}

/// Why a mailed link was not used.
#[derive(Debug)]
pub enum LinkRefused<Problem> {
    /// It was used or replaced after it was looked up.
    Expired,
    Problem(Problem),
}

impl Accounts {
    /// Whether the site sends e-mail.
    pub fn sends_email(&self) -> bool {
        self.links.are_on()
    }

    /// Checks a log-in. `None` if there is no such account, it is suspended or the password is wrong:
    /// all take the same time and leave the same log line. `earlier` is a program's earlier log-in; a
    /// browser has its cookie.
    pub async fn log_in(
        &self,
        login: &str,
        password: &str,
        earlier: Option<&EarlierLogIn>,
    ) -> Result<Option<Authenticated>> {
        let authenticated = self.authenticator.log_in(login, password, earlier).await?;
        if authenticated.is_none() {
            tracing::info!("log-in refused");
        }
        Ok(authenticated)
    }

    /// Makes an account and sends the link that confirms its e-mail address, or says everything that
    /// is wrong with the fields. That counts as a guess, because it says who has an account, except
    /// when nothing had to be looked up or judged.
    pub async fn sign_up(
        &self,
        mut fields: SignUpFields,
    ) -> Result<Result<SignedUp, SignUpRefused>> {
        let is_named = fields.username.is_ok() && fields.email.is_ok();
        if is_named || fields.password.is_ok() {
            self.authenticator.check_guess_limit()?;
        }
        let taken = match (&fields.username, &fields.email) {
            (Ok(username), Ok(email)) => db::find_taken(&self.db, username, email).await?,
            _ => Vec::new(),
        };
        let network = self.authenticator.network();
        if let Ok(password) = &fields.password {
            let (username, email) = (fields.username.as_ref().ok(), fields.email.as_ref().ok());
            let words = guessable_words(&self.site.name, username, email);
            if let Err(bad) = self.passwords.judge(network, password, words).await? {
                fields.password = Err(bad);
            }
        }
        let (username, email, password) = match fields {
            SignUpFields { username: Ok(username), email: Ok(email), password: Ok(password) }
                if taken.is_empty() =>
            {
                (username, email, password)
            }
            fields => return Ok(Err(SignUpRefused { invalid: fields.problems(), taken })),
        };
        self.authenticator.check_sign_up_limit()?;
        let hash = self.passwords.hash(network, password).await?;
        let user = match db::sign_up(&self.db, &username, &email, &hash, Role::Member).await? {
            Ok(user) => user,
            // Another sign-up was faster.
            Err(taken) => {
                return Ok(Err(SignUpRefused { invalid: Vec::new(), taken: vec![taken] }));
            }
        };
        tracing::info!(user = user.0, "signed up");
        // No session of a new account can have been ended yet.
        let authenticated = Authenticated { user, epoch: 0 };
        // Without the letter the account is as good; the settings send another.
        if self.authenticator.check_mailbox_limit(&email).is_ok() {
            self.links.send_confirm(authenticated, username.clone(), email);
        }
        Ok(Ok(SignedUp { authenticated, username }))
    }

    /// Changes the password, ends every session and token, and tells the owner by e-mail. Returns what
    /// a new session may be started with.
    pub async fn change_password(
        &self,
        viewer: &Viewer,
        details: &PrivateDetails,
        current: &str,
        new: &str,
    ) -> Result<Result<Authenticated, Refused<BadPassword>>> {
        let email = details.email.as_deref().and_then(|email| Email::parse(email).ok());
        let new = self.judge_new_password(viewer.id, &viewer.username, email.as_ref(), new).await?;
        let new = match new {
            Ok(new) => new,
            Err(bad) => return Ok(Err(Refused::Problem(bad))),
        };
        let Some(authenticated) = self.authenticator.reauthenticate(viewer.id, current).await?
        else {
            return Ok(Err(Refused::WrongPassword));
        };
        let hash = self.passwords.hash(Subject::Account(viewer.id), new).await?;
        let changed = db::change_password(&self.db, authenticated, &hash).await?;
        let Some(authenticated) = changed else { return Ok(Err(Refused::LoggedOut)) };
        tracing::info!(user = viewer.id.0, "changed the password");
        self.notify(email.as_ref(), |site, to| {
            emails::password_changed(site, &viewer.username, to)
        });
        Ok(Ok(authenticated))
    }

    /// Changes the e-mail address: at once where the site sends no e-mail, otherwise when the link sent
    /// to the new address is opened.
    pub async fn change_email(
        &self,
        viewer: &Viewer,
        current: &str,
        new: &str,
    ) -> Result<Result<EmailChange, Refused<EmailProblem>>> {
        let new = match Email::parse(new) {
            Ok(new) => new,
            Err(bad) => return Ok(Err(Refused::Problem(bad.into()))),
        };
        let Some(authenticated) = self.authenticator.reauthenticate(viewer.id, current).await?
        else {
            return Ok(Err(Refused::WrongPassword));
        };
        if self.sends_email() {
            self.authenticator.check_sender_limit(viewer.id, &new)?;
            tracing::info!(user = viewer.id.0, "asked to change the e-mail address");
            self.links.send_confirm(authenticated, viewer.username.clone(), new);
            return Ok(Ok(EmailChange::LinkSent));
        }
        self.authenticator.check_guess_limit()?;
        match db::change_email(&self.db, authenticated, &new).await? {
            Ok(true) => {
                tracing::info!(user = viewer.id.0, "changed the e-mail address");
                Ok(Ok(EmailChange::Changed))
            }
            Ok(false) => Ok(Err(Refused::LoggedOut)),
            Err(taken) => Ok(Err(Refused::Problem(taken.into()))),
        }
    }

    /// Deletes the account with its posts, votes, sessions and tokens.
    pub async fn delete(
        &self,
        viewer: &Viewer,
        current: &str,
    ) -> Result<Result<(), Refused<LastAdmin>>> {
        let Some(authenticated) = self.authenticator.reauthenticate(viewer.id, current).await?
        else {
            return Ok(Err(Refused::WrongPassword));
        };
        Ok(match db::delete_account(&self.db, authenticated).await? {
            Ok(()) => {
                tracing::info!(user = viewer.id.0, "deleted the account");
                Ok(())
            }
            Err(DeleteRefused::LoggedOut) => Err(Refused::LoggedOut),
            Err(DeleteRefused::LastAdmin) => Err(Refused::Problem(LastAdmin)),
        })
    }

    /// Sends a link for a new password to the address, if an account has it. The outcome, the time and
    /// the log line are the same either way.
    pub fn forgot_password(&self, email: &str) -> Result<Result<(), ForgotRefused>> {
        if !self.sends_email() {
            return Ok(Err(ForgotRefused::NoEmail));
        }
        let email = match Email::parse(email) {
            Ok(email) => email,
            Err(bad) => return Ok(Err(ForgotRefused::Bad(bad))),
        };
        self.authenticator.check_reset_limit(&email)?;
        tracing::info!("asked for a link to a new password");
        self.links.send_reset(email);
        Ok(Ok(()))
    }

    /// Uses a link to set a new password, ends every session and token, forgets the attempts at the old
    /// one, and tells the owner by e-mail. Does not log in: a person who has only the link still needs
    /// the new password.
    ///
    /// The used link's secret is one of the account's known devices from now on, for programs.
    pub async fn reset_password(
        &self,
        link: &MailedLink,
        new: &str,
    ) -> Result<Result<(), LinkRefused<BadPassword>>> {
        let email = link.email.as_deref().and_then(|email| Email::parse(email).ok());
        let new = self.judge_new_password(link.user, &link.username, email.as_ref(), new).await?;
        let new = match new {
            Ok(new) => new,
            Err(bad) => return Ok(Err(LinkRefused::Problem(bad))),
        };
        let hash = self.passwords.hash(Subject::Account(link.user), new).await?;
        if !links::db::set_password(&self.db, &link.key, &hash).await? {
            return Ok(Err(LinkRefused::Expired));
        }
        credentials::forget_attempts(&self.db, link.user).await?;
        credentials::db::remember_device(&self.db, link.user, &link.key, None).await?;
        tracing::info!("reset a password by a link");
        self.notify(email.as_ref(), |site, to| emails::password_changed(site, &link.username, to));
        Ok(Ok(()))
    }

    /// Remembers the browser that has reset a password as a device of its owner; returns the cookie.
    pub async fn remember_device(&self, link: &MailedLink) -> Result<String> {
        self.authenticator.remember_device(link.user, &self.site).await
    }

    /// Uses a link to confirm an e-mail address. The address that the account had before is told about
    /// the change.
    pub async fn confirm_email(&self, link: &MailedLink) -> Result<Result<(), LinkRefused<Taken>>> {
        let previous = match links::db::confirm_email(&self.db, &link.key).await? {
            Some(Ok(previous)) => previous,
            Some(Err(taken)) => return Ok(Err(LinkRefused::Problem(taken))),
            None => return Ok(Err(LinkRefused::Expired)),
        };
        tracing::info!("confirmed an e-mail address");
        let previous = previous.filter(|previous| link.email.as_ref() != Some(previous));
        let previous = previous.and_then(|previous| Email::parse(&previous).ok());
        self.notify(previous.as_ref(), |site, to| emails::email_changed(site, &link.username, to));
        Ok(Ok(()))
    }

    /// Sends a notice about an account to its address, if it has one. Not beyond the limit of the
    /// mailbox: the notices before have told.
    fn notify(&self, to: Option<&Email>, notice: impl FnOnce(&Site, &str) -> OutgoingEmail) {
        if let Some(email) = to.filter(|to| self.authenticator.check_notice_limit(to).is_ok()) {
            self.links.send(notice(&self.site, email.as_written()));
        }
    }

    async fn judge_new_password(
        &self,
        user: UserId,
        username: &Username,
        email: Option<&Email>,
        new: &str,
    ) -> Result<Result<NewPassword, BadPassword>> {
        let new = match NewPassword::parse(new) {
            Ok(new) => new,
            Err(bad) => return Ok(Err(bad)),
        };
        self.authenticator.check_new_password_limit(user)?;
        let words = guessable_words(&self.site.name, Some(username), email);
        let judged = self.passwords.judge(Subject::Account(user), &new, words).await?;
        Ok(judged.map(|()| new))
    }
}

/// Ends the session of this browser, called `key` in the database.
pub async fn log_out(db: &PgPool, viewer: &Viewer, key: Option<&str>) -> Result<()> {
    if let Some(key) = key {
        sessions::db::end(db, key).await?;
    }
    tracing::info!(user = viewer.id.0, "logged out");
    Ok(())
}

/// Ends one of the viewer's sessions and returns its key; `None` if no session of theirs has this
/// handle.
pub async fn end_session(db: &PgPool, viewer: &Viewer, handle: Uuid) -> Result<Option<String>> {
    let ended = sessions::db::end_by_handle(db, viewer.id, handle).await?;
    if ended.is_some() {
        tracing::info!(user = viewer.id.0, "ended a session");
    }
    Ok(ended)
}

/// Ends every token and every session but the one called `current`. A token has no session, so the
/// API ends all of them.
pub async fn end_other_sessions(db: &PgPool, viewer: &Viewer, current: Option<&str>) -> Result<()> {
    sessions::db::end_others(db, viewer.id, current.unwrap_or_default()).await?;
    tracing::info!(user = viewer.id.0, "ended all other sessions and all tokens");
    Ok(())
}

/// Ends every token.
pub async fn end_tokens(db: &PgPool, viewer: &Viewer) -> Result<()> {
    tokens::db::end_all(db, viewer.id).await?;
    tracing::info!(user = viewer.id.0, "ended all tokens");
    Ok(())
}
