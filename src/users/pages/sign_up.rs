//! Signing up.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use crate::{
    live::Change,
    users::{
        account::{Accounts, SignUpFields},
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
    let fields = SignUpFields::parse(&context.site, username, email, password);
    let outcome = match fields.into_account() {
        Ok(new) => {
            let made = accounts.sign_up(&new).await;
            made.map(|made| made.map_err(|taken| taken.into_iter().map(Field::from).collect()))
        }
        Err(fields) => all_problems(&accounts, fields).await.map(Err),
    };
    let errors = match outcome {
        Ok(Ok(authenticated)) => {
            let response = log_in.start_session(authenticated, see_other(&form.next)).await?;
            return Ok(Change::Lists.on(Flash::Welcome.on(response)));
        }
        Ok(Err(problems)) => FormErrors::invalid(problems),
        Err(error) => FormErrors::from_error(error)?,
    };
    Ok(errors.show(|errors| SignUpPage { context, form, errors }))
}

/// What is wrong with the fields, including a valid name or address that is taken.
async fn all_problems(accounts: &Accounts, fields: SignUpFields) -> Result<Vec<Field>> {
    let mut problems = Vec::new();
    if let (Ok(username), Ok(email)) = (&fields.username, &fields.email) {
        let taken = accounts.find_taken(username, email).await?;
        problems.extend(taken.into_iter().map(Field::from));
    }
    problems.extend(fields.username.err().map(|bad| Field::new("username", &bad)));
    problems.extend(fields.email.err().map(|bad| Field::new("email", &bad)));
    problems.extend(fields.password.err().map(|bad| Field::new("password", &bad)));
    Ok(problems)
}
