//! The viewer's settings: e-mail address, password, data and the deletion of the account.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    identity::Viewer,
    live::Change,
    users::{
        account::{self, Accounts, EmailChange, Refused},
        db::{self, PrivateDetails},
        log_in::LogIn,
        pages::forget_session,
        password::BadPassword,
    },
    web::{
        Error, Page, PageContext, Result,
        extract::Form,
        flash::Flash,
        form::{retryable, with_error_status},
        page::see_other,
    },
};

#[derive(Template)]
#[template(path = "users/settings/index.html")]
struct Index {
    context: PageContext,
    viewer: Viewer,
    details: PrivateDetails,
    sends_mail: bool,
    password: FormState<BadPassword>,
    email: FormState<String>,
    /// The address as it was typed.
    typed_email: String,
}

/// The problems of a form that asks for the current password and a new value.
struct FormState<Problem> {
    is_wrong: bool,
    new: Option<Problem>,
    notice: Option<String>,
}

impl<Problem> Default for FormState<Problem> {
    fn default() -> FormState<Problem> {
        FormState { is_wrong: false, new: None, notice: None }
    }
}

impl<Problem> FormState<Problem> {
    /// The form's state after its action was refused or failed, with the error that decides the status.
    /// Errors that are not the form's are returned.
    fn after(failed: Result<Refused<Problem>>) -> Result<(FormState<Problem>, Option<Error>)> {
        match failed {
            Ok(Refused::WrongPassword) => {
                Ok((FormState { is_wrong: true, ..FormState::default() }, None))
            }
            Ok(Refused::Problem(problem)) => {
                Ok((FormState { new: Some(problem), ..FormState::default() }, None))
            }
            Ok(Refused::LoggedOut) => Err(Error::Unauthenticated),
            Err(error) => {
                let (notice, error) = retryable(error)?;
                Ok((FormState { notice: Some(notice), ..FormState::default() }, Some(error)))
            }
        }
    }
}

async fn page(
    context: PageContext,
    viewer: Viewer,
    db: &PgPool,
    accounts: &Accounts,
) -> Result<Index> {
    let details = db::private_details(db, viewer.id).await?.ok_or(Error::Unauthenticated)?;
    let typed_email = details.email.clone().unwrap_or_default();
    Ok(Index {
        context,
        viewer,
        details,
        sends_mail: accounts.sends_email(),
        password: FormState::default(),
        email: FormState::default(),
        typed_email,
    })
}

pub async fn index(
    viewer: Viewer,
    context: PageContext,
    accounts: Accounts,
    State(db): State<PgPool>,
) -> Result<Page<impl Template>> {
    Ok(Page(page(context, viewer, &db, &accounts).await?))
}

/// The page with one of its forms refused: 422, or the status of `error`.
fn refused(page: impl Template, error: Option<Error>) -> Response {
    let page = (StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response();
    match error {
        Some(error) => with_error_status(error, page),
        None => page,
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordForm {
    current_password: String,
    new_password: String,
}

/// Ends every session and token. This browser gets a session with a new id.
pub async fn change_password(
    viewer: Viewer,
    context: PageContext,
    accounts: Accounts,
    log_in: LogIn,
    State(db): State<PgPool>,
    Form(typed): Form<PasswordForm>,
) -> Result<Response> {
    let page = page(context, viewer.clone(), &db, &accounts).await?;
    let PasswordForm { current_password, new_password } = typed;
    let changed =
        accounts.change_password(&viewer, &page.details, &current_password, &new_password).await;
    let failed = match changed {
        Ok(Ok(authenticated)) => {
            let response = log_in.start_session(authenticated, see_other("/settings")).await?;
            return Ok(Change::Nothing.on(Flash::PasswordChanged.on(response)));
        }
        Ok(Err(refused)) => Ok(refused),
        Err(error) => Err(error),
    };
    let (password, error) = FormState::after(failed)?;
    Ok(refused(Index { password, ..page }, error))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailForm {
    current_password: String,
    email: String,
}

pub async fn change_email(
    viewer: Viewer,
    context: PageContext,
    accounts: Accounts,
    State(db): State<PgPool>,
    Form(typed): Form<EmailForm>,
) -> Result<Response> {
    let page = page(context, viewer.clone(), &db, &accounts).await?;
    let EmailForm { current_password, email: typed_email } = typed;
    let changed = accounts.change_email(&viewer, &current_password, &typed_email).await;
    let failed = match changed {
        Ok(Ok(changed)) => {
            let flash = match changed {
                EmailChange::LinkSent => Flash::LinkSent,
                EmailChange::Changed => Flash::EmailChanged,
            };
            return Ok(Change::Nothing.on(flash.on(see_other("/settings"))));
        }
        Ok(Err(refused)) => Ok(refused.map(|problem| problem.to_string())),
        Err(error) => Err(error),
    };
    let (email, error) = FormState::after(failed)?;
    Ok(refused(Index { email, typed_email, ..page }, error))
}

/// The viewer's data as a file to download.
pub async fn export(viewer: Viewer, State(db): State<PgPool>) -> Result<Response> {
    let document = account::export(&db, &viewer).await?.ok_or(Error::Unauthenticated)?;
    let name = format!("attachment; filename=\"{}.json\"", viewer.username);
    let mut response = document.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_str(&name).map_err(Error::internal)?,
    );
    Ok(response)
}

#[derive(Template)]
#[template(path = "users/settings/delete.html")]
struct Delete {
    context: PageContext,
    viewer: Viewer,
    is_wrong: bool,
    notice: Option<String>,
}

pub async fn confirm_delete(viewer: Viewer, context: PageContext) -> Page<impl Template> {
    Page(Delete { context, viewer, is_wrong: false, notice: None })
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeleteAccountForm {
    current_password: String,
}

pub async fn delete(
    viewer: Viewer,
    context: PageContext,
    accounts: Accounts,
    Form(typed): Form<DeleteAccountForm>,
) -> Result<Response> {
    let failed = match accounts.delete(&viewer, &typed.current_password).await {
        Ok(Ok(())) => {
            let response = forget_session(see_other("/"), &context.site);
            return Ok(Change::All.on(Flash::AccountDeleted.on(response)));
        }
        Ok(Err(refused)) => Ok(refused),
        Err(error) => Err(error),
    };
    let (FormState { is_wrong, new, notice }, error) = FormState::after(failed)?;
    let notice = notice.or(new.map(|last_admin| last_admin.to_string()));
    Ok(refused(Delete { context, viewer, is_wrong, notice }, error))
}
