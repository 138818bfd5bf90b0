//! Links by e-mail: a new password after a forgotten one, and the confirmation of an address.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    live::Change,
    users::{
        account::{Accounts, ForgotRefused, LinkRefused},
        links::{self, MailedLink, Purpose},
    },
    web::{
        Error, Page, PageContext, Result,
        extract::{Form, Path},
        flash::Flash,
        form::{FormErrors, NoFields},
        page::see_other,
    },
};

#[derive(Template)]
#[template(path = "users/forgot.html")]
struct Forgot {
    context: PageContext,
    sends_mail: bool,
    email: String,
    errors: FormErrors,
}

pub async fn forgot_form(context: PageContext, accounts: Accounts) -> Page<impl Template> {
    let (email, sends_mail) = (String::new(), accounts.sends_email());
    Page(Forgot { context, sends_mail, email, errors: FormErrors::default() })
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
    let errors = match accounts.forgot_password(&email) {
        Ok(Ok(())) => return Ok(Change::Nothing.on(Flash::ResetSent.on(see_other("/login")))),
        Ok(Err(ForgotRefused::NoEmail)) => FormErrors::with_status(StatusCode::NOT_FOUND),
        Ok(Err(ForgotRefused::Bad(bad))) => FormErrors::field("email", &bad),
        Err(error) => FormErrors::from_error(error)?,
    };
    Ok(errors.show(|errors| Forgot { context, sends_mail, email, errors }))
}

#[derive(Template)]
#[template(path = "users/reset.html")]
struct Reset {
    context: PageContext,
    /// None once the link is used, replaced or expired.
    link: Option<MailedLink>,
    errors: FormErrors,
}

/// 200 with a link that works, 404 without.
fn link_errors(link: Option<&MailedLink>) -> FormErrors {
    match link {
        Some(_) => FormErrors::default(),
        None => expired(),
    }
}

fn expired() -> FormErrors {
    FormErrors::with_status(StatusCode::NOT_FOUND)
}

pub async fn reset_form(
    context: PageContext,
    State(db): State<PgPool>,
    Path(token): Path<String>,
) -> Result<Response> {
    let link = links::find(&db, &token, Purpose::Password).await?;
    Ok(link_errors(link.as_ref()).show(|errors| Reset { context, link, errors }))
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
        return Ok(expired().show(|errors| Reset { context, link: None, errors }));
    };
    let (link, errors) = match accounts.reset_password(&link, &typed.new_password).await {
        Ok(Ok(())) => {
            let mut response = see_other("/login");
            let device = accounts.remember_device(&link).await?;
            let device = HeaderValue::from_str(&device).map_err(Error::internal)?;
            response.headers_mut().append(header::SET_COOKIE, device);
            return Ok(Change::Nothing.on(Flash::PasswordReset.on(response)));
        }
        Ok(Err(LinkRefused::Problem(bad))) => (Some(link), FormErrors::field("new_password", &bad)),
        Ok(Err(LinkRefused::Expired)) => (None, expired()),
        Err(error) => (Some(link), FormErrors::from_error(error)?),
    };
    Ok(errors.show(|errors| Reset { context, link, errors }))
}

#[derive(Template)]
#[template(path = "users/confirm.html")]
struct Confirm {
    context: PageContext,
    link: Option<MailedLink>,
    errors: FormErrors,
}

pub async fn confirm_form(
    context: PageContext,
    State(db): State<PgPool>,
    Path(token): Path<String>,
) -> Result<Response> {
    let link = links::find(&db, &token, Purpose::Email).await?;
    Ok(link_errors(link.as_ref()).show(|errors| Confirm { context, link, errors }))
}

pub async fn confirm(
    context: PageContext,
    accounts: Accounts,
    State(db): State<PgPool>,
    Path(token): Path<String>,
    Form(NoFields {}): Form<NoFields>,
) -> Result<Response> {
    let link = links::find(&db, &token, Purpose::Email).await?;
    let confirmed = match &link {
        Some(link) => accounts.confirm_email(link).await?,
        None => Err(LinkRefused::Expired),
    };
    let (link, errors) = match confirmed {
        Ok(()) => {
            let next = if context.viewer.is_some() { "/settings" } else { "/" };
            return Ok(Change::Nothing.on(Flash::EmailConfirmed.on(see_other(next))));
        }
        Err(LinkRefused::Problem(problem)) => {
            let notice = problem.to_string();
            (link, FormErrors::with_notice(StatusCode::UNPROCESSABLE_ENTITY, notice))
        }
        Err(LinkRefused::Expired) => (None, expired()),
    };
    Ok(errors.show(|errors| Confirm { context, link, errors }))
}
