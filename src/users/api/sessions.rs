//! The caller's sessions and tokens in the API.

#![allow(unused_qualifications, reason = "utoipa generates fully qualified names")]

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    config::Site,
    identity::Viewer,
    live::Change,
    users::{
        account,
        sessions::{self, db::ActiveSession, device},
    },
    web::{Error, Result, extract::Path, json::Json},
};

/// A browser in which you are logged in.
#[derive(Serialize, ToSchema)]
pub struct Session {
    id: Uuid,
    /// Browser and operating system.
    #[schema(example = "Firefox on Linux")]
    device: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    last_seen_at: OffsetDateTime,
}

impl From<ActiveSession> for Session {
    fn from(session: ActiveSession) -> Session {
        let ActiveSession { handle, user_agent, created_at, last_seen_at, is_current: _ } = session;
        Session { id: handle, device: device::describe(&user_agent), created_at, last_seen_at }
    }
}

#[derive(Serialize, ToSchema)]
pub struct SessionList {
    sessions: Vec<Session>,
}

/// Your browser sessions
#[utoipa::path(
    get, path = "/api/v1/users/me/sessions", operation_id = "sessions", tag = "account",
    responses((status = 200, body = SessionList)),
)]
pub async fn index(
    viewer: Viewer,
    State(pool): State<PgPool>,
    State(site): State<Arc<Site>>,
) -> Result<Json<SessionList>> {
    let sessions = sessions::db::list(&pool, viewer.id, "", &site).await?;
    Ok(Json(SessionList { sessions: sessions.into_iter().map(Session::from).collect() }))
}

/// End a session
#[utoipa::path(
    delete, path = "/api/v1/users/me/sessions/{id}", operation_id = "end_session", tag = "account",
    params(("id" = Uuid, Path)), responses((status = 204, description = "Ended")),
)]
pub async fn end(
    viewer: Viewer,
    State(pool): State<PgPool>,
    Path(id): Path<Uuid>,
) -> Result<(Change, StatusCode)> {
    account::end_session(&pool, &viewer, id).await?.ok_or(Error::NotFound)?;
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

/// Log out everywhere
///
/// Ends all sessions and tokens, including this one.
#[utoipa::path(
    delete, path = "/api/v1/users/me/sessions", operation_id = "end_sessions", tag = "account",
    responses((status = 204, description = "Ended")),
)]
pub async fn end_all(viewer: Viewer, State(pool): State<PgPool>) -> Result<(Change, StatusCode)> {
    account::end_other_sessions(&pool, &viewer, None).await?;
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

/// End all tokens
///
/// Including this one. Browser sessions continue.
#[utoipa::path(
    delete, path = "/api/v1/users/me/tokens", operation_id = "end_tokens", tag = "account",
    responses((status = 204, description = "Ended")),
)]
pub async fn end_tokens(
    viewer: Viewer,
    State(pool): State<PgPool>,
) -> Result<(Change, StatusCode)> {
    account::end_tokens(&pool, &viewer).await?;
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}
