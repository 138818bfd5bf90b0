//! The viewer's sessions.

use askama::Template;
use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;
use tower_sessions::Session;
use uuid::Uuid;

use crate::{
    identity::Viewer,
    live::Change,
    users::{
        account,
        pages::forget_session,
        sessions::{
            self,
            db::{self, ActiveSession},
            device,
        },
    },
    web::{
        Error, Page, PageContext, Result, extract::Form, filters, flash::Flash,
        htmx::wants_fragment, page::see_other,
    },
};

#[derive(Template)]
#[template(path = "users/settings/sessions.html")]
struct Index {
    context: PageContext,
    sessions: Vec<ActiveSession>,
}

#[derive(Template)]
#[template(path = "users/settings/_sessions.html")]
struct SessionList {
    sessions: Vec<ActiveSession>,
}

impl ActiveSession {
    fn device(&self) -> String {
        device::describe(&self.user_agent)
    }
}

pub async fn index(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    session: Session,
) -> Result<Page<impl Template>> {
    let sessions = db::list(&db, viewer.id, &current_key(&session)?, &context.site).await?;
    Ok(Page(Index { context, sessions }))
}

/// Exactly one of the fields.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevokeForm {
    session: Option<String>,
    others: Option<String>,
}

/// With htmx, responds with the new list. Ending the current session logs out.
pub async fn revoke(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    session: Session,
    headers: HeaderMap,
    Form(typed): Form<RevokeForm>,
) -> Result<Response> {
    let current = current_key(&session)?;
    let flash = match (typed.session, typed.others.as_deref()) {
        (Some(handle), None) => {
            let handle: Uuid = handle.parse().map_err(|_| Error::NotFound)?;
            let ended = account::end_session(&db, &viewer, handle).await?.ok_or(Error::NotFound)?;
            if ended == current {
                return Ok(Change::Nothing.on(forget_session(see_other("/"), &context.site)));
            }
            Flash::SessionEnded
        }
        (None, Some("true")) => {
            account::end_other_sessions(&db, &viewer, Some(&current)).await?;
            Flash::OthersEnded
        }
        _ => return Err(Error::Invalid("Choose which session to end.".into())),
    };
    if wants_fragment(&headers) {
        let sessions = db::list(&db, viewer.id, &current, &context.site).await?;
        return Ok((Change::Nothing, Page(SessionList { sessions })).into_response());
    }
    Ok(Change::Nothing.on(flash.on(see_other("/settings/sessions"))))
}

/// The key of the request's own session.
fn current_key(session: &Session) -> Result<String> {
    session.id().map(sessions::key).ok_or(Error::Unauthenticated)
}
