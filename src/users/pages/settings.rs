//! What one may change of one's own account.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;

use crate::live::Change;
use crate::{
    identity::Viewer,
    users::{
        Email, NewPassword, Passwords,
        credentials::Authenticator,
        db::{self, DeleteRefused, Own},
        links::{Links, emails},
        log_in::LogIn,
        pages::forget_session,
        password::{BadPassword, guessable_words},
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
    own: Own,
    sends_mail: bool,
    password: Tried<BadPassword>,
    email: Tried<String>,
    /// The address as it was typed.
    typed_email: String,
}

/// What came of a form that asks for the current password beside something new.
struct Tried<Problem> {
    is_wrong: bool,
    new: Option<Problem>,
    notice: Option<String>,
}

impl<Problem> Default for Tried<Problem> {
    fn default() -> Tried<Problem> {
        Tried { is_wrong: false, new: None, notice: None }
    }
}

impl<Problem> Tried<Problem> {
    fn wrong() -> Tried<Problem> {
        Tried { is_wrong: true, ..Tried::default() }
    }

    fn new(problem: Problem) -> Tried<Problem> {
        Tried { new: Some(problem), ..Tried::default() }
    }
}

async fn page(context: PageContext, viewer: Viewer, db: &PgPool, links: &Links) -> Result<Index> {
    let own = db::own(db, viewer.id).await?.ok_or(Error::Unauthenticated)?;
    let typed_email = own.email.clone().unwrap_or_default();
    Ok(Index {
        context,
        viewer,
        own,
        sends_mail: links.are_on(),
        password: Tried::default(),
        email: Tried::default(),
        typed_email,
    })
}

pub async fn index(
    viewer: Viewer,
    context: PageContext,
    links: Links,
    State(db): State<PgPool>,
) -> Result<Page<impl Template>> {
    Ok(Page(page(context, viewer, &db, &links).await?))
}

/// The page again because of one of its forms.
fn refused(page: Index, error: Option<Error>) -> Response {
    let page = (StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response();
    match error {
        Some(error) => with_error_status(error, page),
        None => page,
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordChange {
    current_password: String,
    new_password: String,
}

/// Ends every session and token but this one, which goes on under a new id.
pub async fn change_password(
    viewer: Viewer,
    context: PageContext,
    log_in: LogIn,
    links: Links,
    State(db): State<PgPool>,
    State(passwords): State<Passwords>,
    Form(typed): Form<PasswordChange>,
) -> Result<Response> {
    let page = page(context, viewer.clone(), &db, &links).await?;
    let email = page.own.email.as_deref().and_then(|email| Email::parse(email).ok());
    let words = guessable_words(&page.context.site.name, Some(&viewer.username), email.as_ref());
    let new = match NewPassword::parse(&typed.new_password, &words) {
        Ok(new) => new,
        Err(bad) => return Ok(refused(Index { password: Tried::new(bad), ..page }, None)),
    };
    let changed = async {
        let Some(authenticated) =
            log_in.authenticator.reauthenticate(viewer.id, &typed.current_password).await?
        else {
            return Ok(None);
        };
        let hash = passwords.hash(new).await?;
        db::change_password(&db, authenticated, &hash)
            .await?
            .ok_or(Error::Unauthenticated)
            .map(Some)
    };
    match changed.await {
        Ok(Some(authenticated)) => {
            tracing::info!(user = viewer.id.0, "changed the password");
            if let Some(email) = &page.own.email {
                let site = &page.context.site;
                links.send(emails::password_changed(site, &viewer.username, email));
            }
            let response = log_in.start_session(authenticated, see_other("/settings")).await?;
            Ok(Change::Nothing.on(Flash::PasswordChanged.on(response)))
        }
        Ok(None) => Ok(refused(Index { password: Tried::wrong(), ..page }, None)),
        Err(error) => {
            let (notice, error) = retryable(error)?;
            let password = Tried { notice: Some(notice), ..Tried::default() };
            Ok(refused(Index { password, ..page }, Some(error)))
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailChange {
    current_password: String,
    email: String,
}

/// Where the site sends mail, the address counts once its owner has followed the link sent to it.
pub async fn change_email(
    viewer: Viewer,
    context: PageContext,
    authenticator: Authenticator,
    links: Links,
    State(db): State<PgPool>,
    Form(typed): Form<EmailChange>,
) -> Result<Response> {
    let typed_email = typed.email.clone();
    let page = Index { typed_email, ..page(context, viewer.clone(), &db, &links).await? };
    let new = match Email::parse(&typed.email) {
        Ok(new) => new,
        Err(bad) => return Ok(refused(Index { email: Tried::new(bad.to_string()), ..page }, None)),
    };
    let changed = async {
        let Some(authenticated) =
            authenticator.reauthenticate(viewer.id, &typed.current_password).await?
        else {
            return Ok(Err(Tried::wrong()));
        };
        if links.are_on() {
            authenticator.may_mail(new.canonical())?;
            links.send_confirm(authenticated, viewer.username.clone(), new);
            return Ok(Ok(Flash::LinkSent));
        }
        authenticator.may_look()?;
        match db::change_email(&db, authenticated, &new).await? {
            Ok(true) => Ok(Ok(Flash::EmailChanged)),
            Ok(false) => Err(Error::Unauthenticated),
            Err(taken) => Ok(Err(Tried::new(taken.to_string()))),
        }
    };
    match changed.await {
        Ok(Ok(flash)) => {
            tracing::info!(user = viewer.id.0, "gave another address");
            Ok(Change::Nothing.on(flash.on(see_other("/settings"))))
        }
        Ok(Err(email)) => Ok(refused(Index { email, ..page }, None)),
        Err(error) => {
            let (notice, error) = retryable(error)?;
            let email = Tried { notice: Some(notice), ..Tried::default() };
            Ok(refused(Index { email, ..page }, Some(error)))
        }
    }
}

/// All that the site knows of the viewer, as a file to keep.
pub async fn export(viewer: Viewer, State(db): State<PgPool>) -> Result<Response> {
    let document = db::export(&db, viewer.id).await?.ok_or(Error::Unauthenticated)?;
    let name = format!("attachment; filename=\"{}.json\"", viewer.username);
    let mut response = document.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_str(&name).map_err(Error::internal)?,
    );
    tracing::info!(user = viewer.id.0, "took their data along");
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
pub struct Leaving {
    current_password: String,
}

pub async fn delete(
    viewer: Viewer,
    context: PageContext,
    authenticator: Authenticator,
    State(db): State<PgPool>,
    Form(typed): Form<Leaving>,
) -> Result<Response> {
    let gone = async {
        match authenticator.reauthenticate(viewer.id, &typed.current_password).await? {
            Some(authenticated) => Ok(Some(db::delete_account(&db, authenticated).await?)),
            None => Ok(None),
        }
    };
    let (is_wrong, notice, error) = match gone.await {
        Ok(Some(Ok(()))) => {
            tracing::info!(user = viewer.id.0, "deleted the account");
            let response = forget_session(see_other("/"), &context.site);
            return Ok(Change::All.on(Flash::AccountDeleted.on(response)));
        }
        Ok(Some(Err(DeleteRefused::NotProven))) => return Err(Error::Unauthenticated),
        Ok(Some(Err(last @ DeleteRefused::LastAdmin))) => (false, Some(last.to_string()), None),
        Ok(None) => (true, None, None),
        Err(error) => {
            let (notice, error) = retryable(error)?;
            (false, Some(notice), Some(error))
        }
    };
    let page =
        (StatusCode::UNPROCESSABLE_ENTITY, Page(Delete { context, viewer, is_wrong, notice }));
    Ok(match error {
        Some(error) => with_error_status(error, page.into_response()),
        None => page.into_response(),
    })
}
