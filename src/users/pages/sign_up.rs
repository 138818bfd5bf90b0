//! Signing up.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use crate::{
    live::Change,
    users::{
        Taken,
        account::{Accounts, SignUpFields},
        log_in::LogIn,
        pages::{NextQuery, local_path_or_home},
        password::BadPassword,
    },
    web::{
        Page, PageContext, Result,
        extract::{Form, Query},
        flash::Flash,
        form::{retryable, with_error_status},
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

#[derive(Default)]
struct SignUpProblems {
    username: Option<String>,
    email: Option<String>,
    password: Option<BadPassword>,
}

#[derive(Template)]
#[template(path = "users/signup.html")]
struct SignUpPage {
    context: PageContext,
    typed: SignUpForm,
    problems: SignUpProblems,
    notice: Option<String>,
}

pub async fn form(context: PageContext, Query(query): Query<NextQuery>) -> Response {
    let next = local_path_or_home(&query.next);
    if context.viewer.is_some() {
        return see_other(&next);
    }
    let typed = SignUpForm { next, ..SignUpForm::default() };
    let problems = SignUpProblems::default();
    Page(SignUpPage { context, typed, problems, notice: None }).into_response()
}

pub async fn sign_up(
    context: PageContext,
    accounts: Accounts,
    log_in: LogIn,
    Form(mut typed): Form<SignUpForm>,
) -> Result<Response> {
    typed.next = local_path_or_home(&typed.next);
    let SignUpForm { username, email, password, .. } = &typed;
    let fields = SignUpFields::parse(&context.site, username, email, password);
    let outcome = match fields.into_account() {
        Ok(new) => accounts.sign_up(&new).await.map(|made| made.map_err(SignUpProblems::from)),
        Err(fields) => all_problems(&accounts, fields).await.map(Err),
    };
    match outcome {
        Ok(Ok(authenticated)) => {
            let response = log_in.start_session(authenticated, see_other(&typed.next)).await?;
            Ok(Change::Lists.on(Flash::Welcome.on(response)))
        }
        Ok(Err(problems)) => {
            let page = SignUpPage { context, typed, problems, notice: None };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response())
        }
        Err(error) => {
            let (notice, error) = retryable(error)?;
            let (problems, notice) = (SignUpProblems::default(), Some(notice));
            let page = SignUpPage { context, typed, problems, notice };
            Ok(with_error_status(error, Page(page).into_response()))
        }
    }
}

/// What is wrong with the fields, including a valid name or address that is taken.
async fn all_problems(accounts: &Accounts, fields: SignUpFields) -> Result<SignUpProblems> {
    let mut problems = SignUpProblems::default();
    if let (Ok(username), Ok(email)) = (&fields.username, &fields.email) {
        problems = accounts.find_taken(username, email).await?.into();
    }
    if let Err(bad) = fields.username {
        problems.username = Some(bad.to_string());
    }
    if let Err(bad) = fields.email {
        problems.email = Some(bad.to_string());
    }
    problems.password = fields.password.err();
    Ok(problems)
}

impl SignUpProblems {
    fn is_empty(&self) -> bool {
        self.username.is_none() && self.email.is_none() && self.password.is_none()
    }
}

impl From<Vec<Taken>> for SignUpProblems {
    fn from(taken: Vec<Taken>) -> SignUpProblems {
        let message = |field| taken.contains(&field).then(|| field.to_string());
        SignUpProblems {
            username: message(Taken::Username),
            email: message(Taken::Email),
            password: None,
        }
    }
}
