//! Links by e-mail: a new password after a forgotten one, and the confirmation of an address.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    live::Change,
    users::{
        BadEmail,
        account::{Accounts, ForgotRefused, LinkRefused},
        links::{self, MailedLink, Purpose},
        password::BadPassword,
    },
    web::{
        Page, PageContext, Result,
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

pub async fn forgot_form(context: PageContext, accounts: Accounts) -> Page<impl Template> {
    let (email, sends_mail) = (String::new(), accounts.sends_email());
    Page(Forgot { context, sends_mail, email, problem: None, notice: None })
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForgotPasswordForm {
    email: String,
}

/// The response and its time are the same whether or not an account has the address.
pub async fn forgot(
    context: PageContext,
    accounts: Accounts,
    Form(typed): Form<ForgotPasswordForm>,
) -> Result<Response> {
    let (email, sends_mail) = (typed.email, accounts.sends_email());
    let sent = accounts.forgot_password(&email);
    let mut page = Forgot { context, sends_mail, email, problem: None, notice: None };
    match sent {
        Ok(Ok(())) => Ok(Change::Nothing.on(Flash::ResetSent.on(see_other("/login")))),
        Ok(Err(ForgotRefused::NoEmail)) => Ok((StatusCode::NOT_FOUND, Page(page)).into_response()),
        Ok(Err(ForgotRefused::Bad(bad))) => {
            page.problem = Some(bad);
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response())
        }
        Err(error) => {
            let (notice, error) = retryable(error)?;
            page.notice = Some(notice);
            Ok(with_error_status(error, Page(page).into_response()))
        }
    }
}

#[derive(Template)]
#[template(path = "users/reset.html")]
struct Reset {
    context: PageContext,
    /// None once the link is used, replaced or expired.
    link: Option<MailedLink>,
    problem: Option<BadPassword>,
    notice: Option<String>,
}

impl Reset {
    fn new(context: PageContext, link: Option<MailedLink>) -> Reset {
        Reset { context, link, problem: None, notice: None }
    }
}

/// 200 with a link that works, 404 without.
fn link_status(link: Option<&MailedLink>) -> StatusCode {
    if link.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

pub async fn reset_form(
    context: PageContext,
    State(db): State<PgPool>,
    Path(token): Path<String>,
) -> Result<Response> {
    let link = links::find(&db, &token, Purpose::Password).await?;
    Ok((link_status(link.as_ref()), Page(Reset::new(context, link))).into_response())
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewPasswordForm {
    new_password: String,
}

pub async fn reset(
    context: PageContext,
    accounts: Accounts,
    State(db): State<PgPool>,
    Path(token): Path<String>,
    Form(typed): Form<NewPasswordForm>,
) -> Result<Response> {
    let Some(link) = links::find(&db, &token, Purpose::Password).await? else {
        return Ok((StatusCode::NOT_FOUND, Page(Reset::new(context, None))).into_response());
    };
    match accounts.reset_password(&link, &typed.new_password).await {
        Ok(Ok(())) => Ok(Change::Nothing.on(Flash::PasswordReset.on(see_other("/login")))),
        Ok(Err(LinkRefused::Problem(bad))) => {
            let page = Reset { problem: Some(bad), ..Reset::new(context, Some(link)) };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response())
        }
        Ok(Err(LinkRefused::Expired)) => {
            Ok((StatusCode::NOT_FOUND, Page(Reset::new(context, None))).into_response())
        }
        Err(error) => {
            let (notice, error) = retryable(error)?;
            let page = Reset { notice: Some(notice), ..Reset::new(context, Some(link)) };
            Ok(with_error_status(error, Page(page).into_response()))
        }
    }
}

#[derive(Template)]
#[template(path = "users/confirm.html")]
struct Confirm {
    context: PageContext,
    link: Option<MailedLink>,
    notice: Option<String>,
}

pub async fn confirm_form(
    context: PageContext,
    State(db): State<PgPool>,
    Path(token): Path<String>,
) -> Result<Response> {
    let link = links::find(&db, &token, Purpose::Email).await?;
    let page = Confirm { context, link, notice: None };
    Ok((link_status(page.link.as_ref()), Page(page)).into_response())
}

/// A form with a button and no fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmForm {}

pub async fn confirm(
    context: PageContext,
    accounts: Accounts,
    State(db): State<PgPool>,
    Path(token): Path<String>,
    Form(ConfirmForm {}): Form<ConfirmForm>,
) -> Result<Response> {
    let link = links::find(&db, &token, Purpose::Email).await?;
    let confirmed = match &link {
        Some(link) => accounts.confirm_email(link).await?,
        None => Err(LinkRefused::Expired),
    };
    match confirmed {
        Ok(()) => {
            let next = if context.viewer.is_some() { "/settings" } else { "/" };
            Ok(Change::Nothing.on(Flash::EmailConfirmed.on(see_other(next))))
        }
        Err(LinkRefused::Problem(taken)) => {
            let page = Confirm { context, link, notice: Some(taken.to_string()) };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response())
        }
        Err(LinkRefused::Expired) => {
            let page = Confirm { context, link: None, notice: None };
            Ok((StatusCode::NOT_FOUND, Page(page)).into_response())
        }
    }
}
