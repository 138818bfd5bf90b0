//! Logging in and out.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;
use tower_sessions::Session;

use crate::{
    identity::Viewer,
    live::Change,
    users::{
        account::{self, Accounts},
        log_in::LogIn,
        pages::{NextQuery, forget_all, local_path_or_home},
        sessions,
    },
    web::{
        Page, PageContext, Result,
        extract::{Form, Query},
        flash::Flash,
        form::{retryable, with_error_status},
        page::see_other,
    },
};

#[derive(Template)]
#[template(path = "users/login.html")]
struct LogInPage {
    context: PageContext,
    login: String,
    next: String,
    problem: Option<String>,
}

pub async fn form(context: PageContext, Query(query): Query<NextQuery>) -> Response {
    let next = local_path_or_home(&query.next);
    if context.viewer.is_some() {
        return see_other(&next);
    }
    Page(LogInPage { context, login: String::new(), next, problem: None }).into_response()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogInForm {
    login: String,
    password: String,
    next: String,
}

/// The message and the time are the same whether the user does not exist, is suspended or mistyped.
pub async fn log_in(
    context: PageContext,
    accounts: Accounts,
    log_in: LogIn,
    Form(typed): Form<LogInForm>,
) -> Result<Response> {
    let next = local_path_or_home(&typed.next);
    let (problem, error) = match accounts.log_in(&typed.login, &typed.password).await {
        Ok(Some(authenticated)) => {
            let response = log_in.start_session(authenticated, see_other(&next)).await?;
            tracing::info!(user = authenticated.user.0, "logged in");
            return Ok(Change::Nothing.on(Flash::LoggedIn.on(response)));
        }
        Ok(None) => ("Wrong user name, e-mail or password.".to_owned(), None),
        Err(error) => {
            let (problem, error) = retryable(error)?;
            (problem, Some(error))
        }
    };
    let page = LogInPage { context, login: typed.login, next, problem: Some(problem) };
    let page = (StatusCode::UNAUTHORIZED, Page(page)).into_response();
    Ok(match error {
        None => page,
        Some(error) => with_error_status(error, page),
    })
}

/// A form with a button and no fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOutForm {}

pub async fn log_out(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    session: Session,
    Form(LogOutForm {}): Form<LogOutForm>,
) -> Result<Response> {
    let key = session.id().map(sessions::key);
    account::log_out(&db, &viewer, key.as_deref()).await?;
    Ok(Change::Nothing.on(forget_all(see_other("/"), &context.site)))
}
