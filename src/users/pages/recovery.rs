//! The ways in by mail: a new password for who forgot theirs, and the proof of an address.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::live::Change;
use crate::{
    users::{
        BadEmail, Email, NewPassword, Passwords,
        credentials::Authenticator,
        links::{Links, Purpose, Shown, db, emails},
        password::{BadPassword, guessable_words},
        secret::Secret,
    },
    web::{
        Error, Page, PageContext, Result,
        extract::{Form, Path},
        flash::Flash,
        form::{retryable, with_error_status},
        page::see_other,
    },
};

#[derive(Template)]
#[template(path = "users/forgot.html")]
struct Forgot {
    context: PageContext,
    sends_mail: bool,
    email: String,
    problem: Option<BadEmail>,
    notice: Option<String>,
}

pub async fn forgot_form(context: PageContext, links: Links) -> Page<impl Template> {
    let (email, sends_mail) = (String::new(), links.are_on());
    Page(Forgot { context, sends_mail, email, problem: None, notice: None })
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Forgetful {
    email: String,
}

/// The same answer in the same time, whoever has the address or nobody.
pub async fn forgot(
    context: PageContext,
    authenticator: Authenticator,
    links: Links,
    Form(typed): Form<Forgetful>,
) -> Result<Response> {
    let mut page = Forgot {
        context,
        sends_mail: links.are_on(),
        email: typed.email,
        problem: None,
        notice: None,
    };
    if !page.sends_mail {
        return Ok((StatusCode::NOT_FOUND, Page(page)).into_response());
    }
    let email = match Email::parse(&page.email) {
        Ok(email) => email,
        Err(bad) => {
            page.problem = Some(bad);
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response());
        }
    };
    if let Err(error) =
        authenticator.may_look().and_then(|()| authenticator.may_mail(email.canonical()))
    {
        let (notice, error) = retryable(error)?;
        page.notice = Some(notice);
        return Ok(with_error_status(error, Page(page).into_response()));
    }
    links.send_reset(email);
    Ok(Change::Nothing.on(Flash::ResetSent.on(see_other("/login"))))
}

#[derive(Template)]
#[template(path = "users/reset.html")]
struct Reset {
    context: PageContext,
    /// None for a link that is not good any more.
    of: Option<Shown>,
    problem: Option<BadPassword>,
    notice: Option<String>,
}

#[derive(Template)]
#[template(path = "users/confirm.html")]
struct Confirm {
    context: PageContext,
    of: Option<Shown>,
    notice: Option<String>,
}

pub async fn reset_form(
    context: PageContext,
    State(db): State<PgPool>,
    Path(token): Path<String>,
) -> Result<Response> {
    let of = look(&db, &token, Purpose::Password).await?;
    let status = if of.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Ok((status, Page(Reset { context, of, problem: None, notice: None })).into_response())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chosen {
    new_password: String,
}

/// Logs nobody in: who only has the mail still has to know the new password.
pub async fn reset(
    context: PageContext,
    links: Links,
    State(db): State<PgPool>,
    State(passwords): State<Passwords>,
    Path(token): Path<String>,
    Form(typed): Form<Chosen>,
) -> Result<Response> {
    let Some(of) = look(&db, &token, Purpose::Password).await? else {
        let page = Reset { context, of: None, problem: None, notice: None };
        return Ok((StatusCode::NOT_FOUND, Page(page)).into_response());
    };
    let email = of.email.as_deref().and_then(|email| Email::parse(email).ok());
    let words = guessable_words(&context.site.name, Some(&of.username), email.as_ref());
    let new = match NewPassword::parse(&typed.new_password, &words) {
        Ok(new) => new,
        Err(bad) => {
            let page = Reset { context, of: Some(of), problem: Some(bad), notice: None };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response());
        }
    };
    let hash = match passwords.hash(new).await {
        Ok(hash) => hash,
        Err(error) => {
            let (notice, error) = retryable(error)?;
            let page = Reset { context, of: Some(of), problem: None, notice: Some(notice) };
            return Ok(with_error_status(error, Page(page).into_response()));
        }
    };
    let Some(email) = db::set_password(&db, &key(&token)?, &hash).await? else {
        // Used or voided meanwhile.
        let page = Reset { context, of: None, problem: None, notice: None };
        return Ok((StatusCode::NOT_FOUND, Page(page)).into_response());
    };
    tracing::info!("a password was reset by a link");
    if let Some(email) = email {
        links.send(emails::password_changed(&context.site, &of.username, &email));
    }
    Ok(Change::Nothing.on(Flash::PasswordReset.on(see_other("/login"))))
}

pub async fn confirm_form(
    context: PageContext,
    State(db): State<PgPool>,
    Path(token): Path<String>,
) -> Result<Response> {
    let of = look(&db, &token, Purpose::Email).await?;
    let status = if of.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Ok((status, Page(Confirm { context, of, notice: None })).into_response())
}

/// Nothing but the press of the button.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pressed {}

pub async fn confirm(
    context: PageContext,
    links: Links,
    State(db): State<PgPool>,
    Path(token): Path<String>,
    Form(Pressed {}): Form<Pressed>,
) -> Result<Response> {
    let of = look(&db, &token, Purpose::Email).await?;
    let confirmed = match of {
        Some(_) => db::confirm_email(&db, &key(&token)?).await?,
        None => None,
    };
    match (of, confirmed) {
        (Some(of), Some(Ok(before))) => {
            tracing::info!("an address was confirmed");
            if let Some(before) = before.filter(|before| of.email.as_ref() != Some(before)) {
                links.send(emails::email_changed(&context.site, &of.username, &before));
            }
            let place = if context.viewer.is_some() { "/settings" } else { "/" };
            Ok(Change::Nothing.on(Flash::EmailConfirmed.on(see_other(place))))
        }
        (of @ Some(_), Some(Err(refused))) => {
            let page = Confirm { context, of, notice: Some(refused.to_string()) };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response())
        }
        _ => {
            let page = Confirm { context, of: None, notice: None };
            Ok((StatusCode::NOT_FOUND, Page(page)).into_response())
        }
    }
}

/// What the database knows a link by; what can be none of ours is not looked for.
fn key(token: &str) -> Result<String> {
    token.parse().map(|secret: Secret| secret.key()).map_err(|_| Error::NotFound)
}

async fn look(db: &PgPool, token: &str, purpose: Purpose) -> Result<Option<Shown>> {
    match key(token) {
        Ok(key) => Ok(db::look(db, &key, purpose).await?),
        Err(_) => Ok(None),
    }
}
