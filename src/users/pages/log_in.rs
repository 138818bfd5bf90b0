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
        form::{FormErrors, NoFields},
        page::see_other,
    },
};

#[derive(Template)]
#[template(path = "users/login.html")]
struct LogInPage {
    context: PageContext,
    login: String,
    next: String,
    errors: FormErrors,
}

pub async fn form(context: PageContext, Query(query): Query<NextQuery>) -> Response {
    let next = local_path_or_home(&query.next);
    if context.viewer.is_some() {
        return see_other(&next);
    }
    let errors = FormErrors::default();
    Page(LogInPage { context, login: String::new(), next, errors }).into_response()
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
    let errors = match accounts.log_in(&typed.login, &typed.password, None).await {
        Ok(Some(authenticated)) => {
            let response = log_in.start_session(authenticated, see_other(&next)).await?;
            tracing::info!(user = authenticated.user.0, "logged in");
            return Ok(Change::Nothing.on(Flash::LoggedIn.on(response)));
        }
        Ok(None) => {
            let notice = "Wrong user name, e-mail or password.".to_owned();
            FormErrors::with_notice(StatusCode::UNAUTHORIZED, notice)
        }
        Err(error) => FormErrors::from_error(error)?,
    };
    Ok(errors.show(|errors| LogInPage { context, login: typed.login, next, errors }))
}

pub async fn log_out(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    session: Session,
    Form(NoFields {}): Form<NoFields>,
) -> Result<Response> {
    let key = session.id().map(sessions::key);
    account::log_out(&db, &viewer, key.as_deref()).await?;
    Ok(Change::Nothing.on(forget_all(see_other("/"), &context.site)))
}
