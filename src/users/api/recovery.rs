//! Links by e-mail in the API: a new password after a forgotten one, and the confirmation of an
//! address.

#![allow(unused_qualifications, reason = "utoipa generates fully qualified names")]

use axum::{extract::State, http::StatusCode};
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::{
    live::Change,
    users::{
        account::{Accounts, ForgotRefused, LinkRefused},
        api::{invalid_field, taken_fields},
        links::{self, Purpose},
    },
    web::{Error, Result, json::Json, problem::Problem},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgottenPassword {
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: String,
}

/// Send a link to set a new password
///
/// The response is the same whether or not an account has the address. 404 if the site sends no
/// e-mail.
#[utoipa::path(
    post, path = "/api/v1/password/forgot", operation_id = "forgot_password", tag = "account",
    request_body = ForgottenPassword,
    responses((status = 202, description = "If an account has this address, a link has been sent to it")),
    security(),
)]
pub async fn forgot_password(
    accounts: Accounts,
    Json(typed): Json<ForgottenPassword>,
) -> Result<(Change, StatusCode)> {
    accounts.forgot_password(&typed.email)?.map_err(|reason| match reason {
        ForgotRefused::NoEmail => Error::NotFound,
        ForgotRefused::Bad(bad) => invalid_field("email", &bad),
    })?;
    Ok((Change::Nothing, StatusCode::ACCEPTED))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordReset {
    /// The last part of the link.
    #[schema(
        min_length = 22,
        max_length = 22,
        pattern = "^[A-Za-z0-9_-]+$",
        example = "f4Bz0Jq9nX2mVwYk7LdSeA"
    )]
    token: String,
    #[schema(
        format = "password",
        min_length = 10,
        max_length = 128,
        example = "silver bramble 3 canyon"
    )]
    new_password: String,
}

/// Set a new password with a link
#[utoipa::path(
    post, path = "/api/v1/password/reset", operation_id = "reset_password", tag = "account",
    request_body = PasswordReset, responses((status = 204, description = "Changed")),
    security(),
)]
pub async fn reset_password(
    accounts: Accounts,
    State(pool): State<PgPool>,
    Json(typed): Json<PasswordReset>,
) -> Result<(Change, StatusCode)> {
    let link = links::find(&pool, &typed.token, Purpose::Password).await?.ok_or(Error::NotFound)?;
    accounts.reset_password(&link, &typed.new_password).await?.map_err(|reason| match reason {
        LinkRefused::Expired => Error::NotFound,
        LinkRefused::Problem(bad) => invalid_field("new_password", &bad),
    })?;
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailConfirmation {
    /// The last part of the link.
    #[schema(
        min_length = 22,
        max_length = 22,
        pattern = "^[A-Za-z0-9_-]+$",
        example = "f4Bz0Jq9nX2mVwYk7LdSeA"
    )]
    token: String,
}

/// Confirm an e-mail address with a link
#[utoipa::path(
    post, path = "/api/v1/email/confirm", operation_id = "confirm_email", tag = "account",
    request_body = EmailConfirmation,
    responses(
        (status = 204, description = "Confirmed"),
        (status = 409, description = "The address has been taken meanwhile", body = Problem, content_type = "application/problem+json"),
    ),
    security(),
)]
pub async fn confirm_email(
    accounts: Accounts,
    State(pool): State<PgPool>,
    Json(typed): Json<EmailConfirmation>,
) -> Result<(Change, StatusCode)> {
    let link = links::find(&pool, &typed.token, Purpose::Email).await?.ok_or(Error::NotFound)?;
    accounts.confirm_email(&link).await?.map_err(|reason| match reason {
        LinkRefused::Expired => Error::NotFound,
        LinkRefused::Problem(taken) => taken_fields(&[taken]),
    })?;
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}
