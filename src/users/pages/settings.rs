//! The viewer's settings: e-mail address, password, data and the deletion of the account.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    identity::Viewer,
    live::Change,
    users::{
        account::{Accounts, EmailChange, Refused},
        db::{self, PrivateDetails},
        export,
        log_in::LogIn,
        pages::forget_session,
    },
    web::{
        Error, Page, PageContext, Result, extract::Form, flash::Flash, form::FormErrors,
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
    password: FormErrors,
    email: FormErrors,
    /// The address as it was typed.
    typed_email: String,
}

/// The errors of a form whose action was refused or failed; `field` is the one with a new value.
/// Errors that are not the form's are returned.
fn form_errors<Problem: ToString>(
    failed: Result<Refused<Problem>>,
    field: &'static str,
) -> Result<FormErrors> {
    match failed {
        Ok(Refused::WrongPassword) => Ok(FormErrors::field("current_password", &"Wrong password.")),
        Ok(Refused::Problem(problem)) => Ok(FormErrors::field(field, &problem)),
        Ok(Refused::LoggedOut) => Err(Error::Unauthenticated),
        Err(error) => FormErrors::from_error(error),
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
        password: FormErrors::default(),
        email: FormErrors::default(),
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
    let errors = form_errors(failed, "new_password")?;
    Ok(errors.show(|password| Index { password, ..page }))
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
        Ok(Err(refused)) => Ok(refused),
        Err(error) => Err(error),
    };
    let errors = form_errors(failed, "email")?;
    Ok(errors.show(|email| Index { email, typed_email, ..page }))
}

/// The viewer's data as a file to download.
pub async fn export(viewer: Viewer, State(db): State<PgPool>) -> Result<Response> {
    let document = export::export(&db, &viewer).await?.ok_or(Error::Unauthenticated)?;
    let name = format!("attachment; filename=\"{}.json\"", viewer.username);
    let mut response = Response::new(document);
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
    errors: FormErrors,
}

pub async fn confirm_delete(viewer: Viewer, context: PageContext) -> Page<impl Template> {
    Page(Delete { context, viewer, errors: FormErrors::default() })
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
    let errors = match accounts.delete(&viewer, &typed.current_password).await {
        Ok(Ok(())) => {
            let response = forget_session(see_other("/"), &context.site);
            return Ok(Change::All.on(Flash::AccountDeleted.on(response)));
        }
        Ok(Err(Refused::Problem(last_admin))) => {
            FormErrors::with_notice(StatusCode::UNPROCESSABLE_ENTITY, last_admin.to_string())
        }
        Ok(Err(refused)) => form_errors(Ok(refused), "current_password")?,
        Err(error) => FormErrors::from_error(error)?,
    };
    Ok(errors.show(|errors| Delete { context, viewer, errors }))
}
