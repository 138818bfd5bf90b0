//! Where one is logged in.

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

use crate::live::Change;
use crate::{
    identity::Viewer,
    users::{
        pages::forget_session,
        sessions::{
            self,
            db::{self, Place},
            device::in_words,
        },
    },
    web::{
        Error, Page, PageContext, Result, extract::Form, filters, flash::Flash,
        htmx::wants_fragment, page::see_other,
    },
};

#[derive(Template)]
#[template(path = "users/settings/sessions.html")]
struct Places {
    context: PageContext,
    places: Vec<Place>,
}

#[derive(Template)]
#[template(path = "users/settings/_places.html")]
struct PlacesPart {
    places: Vec<Place>,
}

impl Place {
    fn device(&self) -> String {
        in_words(&self.user_agent)
    }
}

pub async fn index(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    session: Session,
) -> Result<Page<impl Template>> {
    let places = db::places(&db, viewer.id, &key(&session)?, &context.site).await?;
    Ok(Page(Places { context, places }))
}

/// Either field, not both.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Revoked {
    session: Option<String>,
    others: Option<String>,
}

/// With htmx the list comes back as it is then. To end the session that asks is to log out.
pub async fn revoke(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    session: Session,
    headers: HeaderMap,
    Form(revoked): Form<Revoked>,
) -> Result<Response> {
    let this = key(&session)?;
    let flash = match (revoked.session, revoked.others.as_deref()) {
        (Some(handle), None) => {
            let handle: Uuid = handle.parse().map_err(|_| Error::NotFound)?;
            let ended = db::revoke(&db, viewer.id, handle).await?.ok_or(Error::NotFound)?;
            tracing::info!(user = viewer.id.0, "ended a session");
            if ended == this {
                return Ok(Change::Nothing.on(forget_session(see_other("/"), &context.site)));
            }
            Flash::SessionEnded
        }
        (None, Some("true")) => {
            db::revoke_others(&db, viewer.id, &this).await?;
            tracing::info!(user = viewer.id.0, "ended all other sessions");
            Flash::OthersEnded
        }
        _ => return Err(Error::Invalid("Say which session to end.".into())),
    };
    if wants_fragment(&headers) {
        let places = db::places(&db, viewer.id, &this, &context.site).await?;
        return Ok((Change::Nothing, Page(PlacesPart { places })).into_response());
    }
    Ok(Change::Nothing.on(flash.on(see_other("/settings/sessions"))))
}

/// The key of the session that asks.
fn key(session: &Session) -> Result<String> {
    session.id().map(sessions::key).ok_or(Error::Unauthenticated)
}
