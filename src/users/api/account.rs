//! The caller's own account in the API.

#![allow(unused_qualifications, reason = "utoipa generates fully qualified names")]

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    identity::Viewer,
    live::Change,
    users::{
        account::{self, Accounts, EmailProblem},
        api::{User, invalid_field, no_store, refused, taken_fields},
        db, export,
    },
    web::{Error, Result, json::Json, problem::Problem},
};

/// Your account.
#[derive(Serialize, ToSchema)]
pub struct Me {
    #[serde(flatten)]
    user: User,
    #[schema(example = "ada@example.org", required)]
    email: Option<String>,
    /// Whether the link sent to the address was opened.
    email_confirmed: bool,
}

/// Your account
#[utoipa::path(
    get, path = "/api/v1/users/me", operation_id = "me", tag = "account",
    responses((status = 200, body = Me)),
)]
pub async fn me(viewer: Viewer, State(pool): State<PgPool>) -> Result<Json<Me>> {
    let person = db::find(&pool, &viewer.username).await?.ok_or(Error::BadToken)?;
    let details = db::private_details(&pool, viewer.id).await?.ok_or(Error::BadToken)?;
    Ok(Json(Me {
        user: person.into(),
        email: details.email,
        email_confirmed: details.is_email_confirmed,
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    #[schema(format = "password", example = "copper willow 5 lagoon")]
    current_password: String,
    #[schema(
        format = "password",
        min_length = 10,
        max_length = 128,
        example = "silver bramble 3 canyon"
    )]
    new_password: String,
}

/// Change your password
///
/// Ends all sessions and tokens, including this one: request a new token.
#[utoipa::path(
    put, path = "/api/v1/users/me/password", operation_id = "change_password", tag = "account",
    request_body = PasswordChange, responses((status = 204, description = "Changed")),
)]
pub async fn change_password(
    viewer: Viewer,
    accounts: Accounts,
    State(pool): State<PgPool>,
    Json(typed): Json<PasswordChange>,
) -> Result<(Change, StatusCode)> {
    let details = db::private_details(&pool, viewer.id).await?.ok_or(Error::BadToken)?;
    let PasswordChange { current_password, new_password } = typed;
    accounts
        .change_password(&viewer, &details, &current_password, &new_password)
        .await?
        .map_err(|reason| refused(reason, |bad| invalid_field("new_password", &bad)))?;
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailChange {
    #[schema(format = "password", example = "copper willow 5 lagoon")]
    current_password: String,
    #[schema(format = "email", max_length = 254, example = "countess@example.org")]
    email: String,
}

/// Change your e-mail address
///
/// If the site sends e-mail, the address changes when the link sent to it is opened (202).
#[utoipa::path(
    put, path = "/api/v1/users/me/email", operation_id = "change_email", tag = "account",
    request_body = EmailChange,
    responses(
        (status = 202, description = "A link has been sent to the address"),
        (status = 204, description = "Changed"),
        (status = 409, description = "The address is already taken", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn change_email(
    viewer: Viewer,
    accounts: Accounts,
    Json(typed): Json<EmailChange>,
) -> Result<(Change, StatusCode)> {
    let changed = accounts.change_email(&viewer, &typed.current_password, &typed.email).await?;
    let changed = changed.map_err(|reason| {
        refused(reason, |problem| match problem {
            EmailProblem::Bad(bad) => invalid_field("email", &bad),
            EmailProblem::Taken(taken) => taken_fields(&[taken]),
        })
    })?;
    let status = match changed {
        account::EmailChange::LinkSent => StatusCode::ACCEPTED,
        account::EmailChange::Changed => StatusCode::NO_CONTENT,
    };
    Ok((Change::Nothing, status))
}

/// Your data.
#[expect(dead_code, reason = "it only describes")]
#[derive(ToSchema)]
pub struct Export {
    #[schema(example = "social-post-account-1")]
    format: String,
    exported_at: OffsetDateTime,
    profile: ExportedProfile,
    posts: Vec<ExportedPost>,
    votes: Vec<ExportedVote>,
}

#[expect(dead_code, reason = "it only describes")]
#[derive(ToSchema)]
pub struct ExportedProfile {
    #[schema(example = "ada")]
    username: String,
    #[schema(required, example = "ada@example.org")]
    email: Option<String>,
    #[schema(required)]
    email_confirmed_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
}

#[expect(dead_code, reason = "it only describes")]
#[derive(ToSchema)]
pub struct ExportedPost {
    #[schema(example = 42)]
    id: i64,
    #[schema(example = "A garden in a jar")]
    title: String,
    #[schema(required, example = "https://example.org/garden")]
    url: Option<String>,
    #[schema(example = "It has *moss*.")]
    body: String,
    #[schema(example = 12, minimum = 0)]
    score: i64,
    created_at: OffsetDateTime,
    #[schema(required)]
    edited_at: Option<OffsetDateTime>,
}

#[expect(dead_code, reason = "it only describes")]
#[derive(ToSchema)]
pub struct ExportedVote {
    #[schema(example = 42)]
    post_id: i64,
    #[schema(example = "A garden in a jar")]
    title: String,
    created_at: OffsetDateTime,
}

/// Your data
///
/// Profile, posts and votes in one document.
#[utoipa::path(
    get, path = "/api/v1/users/me/export", operation_id = "export", tag = "account",
    responses((status = 200, body = Export)),
)]
pub async fn export(viewer: Viewer, State(pool): State<PgPool>) -> Result<Response> {
    let document = export::export(&pool, &viewer).await?.ok_or(Error::BadToken)?;
    let kind = HeaderValue::from_static("application/json");
    Ok(no_store(([(header::CONTENT_TYPE, kind)], document).into_response()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountDeletion {
    #[schema(format = "password", example = "copper willow 5 lagoon")]
    current_password: String,
}

/// Delete your account
///
/// Your posts and votes are deleted too. This cannot be undone.
#[utoipa::path(
    post, path = "/api/v1/users/me/deletion", operation_id = "delete_account", tag = "account",
    request_body = AccountDeletion,
    responses(
        (status = 204, description = "Deleted"),
        (status = 409, description = "You are the only admin", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn delete_account(
    viewer: Viewer,
    accounts: Accounts,
    Json(typed): Json<AccountDeletion>,
) -> Result<(Change, StatusCode)> {
    accounts.delete(&viewer, &typed.current_password).await?.map_err(|reason| {
        refused(reason, |last_admin| Error::Conflict(last_admin.to_string().into()))
    })?;
    Ok((Change::All, StatusCode::NO_CONTENT))
}
