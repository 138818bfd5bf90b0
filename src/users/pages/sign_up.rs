//! Signing up.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::{
    live::Change,
    users::{
        account::{Accounts, SignUpFields, SignUpRefused, SignedUp},
        log_in::LogIn,
        pages::{NextQuery, local_path_or_home},
    },
    web::{
        Page, PageContext, Result,
        error::Field,
        extract::{Form, Query},
        flash::Flash,
        form::FormErrors,
        page::see_other,
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignUpForm {
    username: String,
    email: String,
    password: String,
    next: String,
}

#[derive(Template)]
#[template(path = "users/signup.html")]
struct SignUpPage {
    context: PageContext,
    form: SignUpForm,
    errors: FormErrors,
}

pub async fn form(context: PageContext, Query(query): Query<NextQuery>) -> Response {
    let next = local_path_or_home(&query.next);
    if context.viewer.is_some() {
        return see_other(&next);
    }
    let form = SignUpForm { next, ..SignUpForm::default() };
    Page(SignUpPage { context, form, errors: FormErrors::default() }).into_response()
}

pub async fn sign_up(
    context: PageContext,
    accounts: Accounts,
    log_in: LogIn,
    Form(mut form): Form<SignUpForm>,
) -> Result<Response> {
    form.next = local_path_or_home(&form.next);
    let SignUpForm { username, email, password, .. } = &form;
    let errors = match accounts.sign_up(SignUpFields::parse(username, email, password)).await {
        Ok(Ok(SignedUp { authenticated, .. })) => {
            let response = log_in.start_session(authenticated, see_other(&form.next)).await?;
            return Ok(Change::Lists.on(Flash::Welcome.on(response)));
        }
        Ok(Err(SignUpRefused { mut invalid, taken })) => {
            invalid.extend(taken.into_iter().map(Field::from));
            FormErrors::invalid(invalid)
        }
        Err(error) => FormErrors::from_error(error)?,
    };
    Ok(errors.show(|errors| SignUpPage { context, form, errors }))
}
