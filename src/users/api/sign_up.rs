//! Signing up through the API.

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
    live::Change,
    users::{
        account::{Accounts, SignUpFields, SignUpRefused, SignedUp},
        api::taken_fields,
        db,
    },
    web::{Error, Result, json::Json, problem::Problem},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    /// 2 to 30 letters, digits, `-` or `_`; unique without regard to case.
    #[schema(example = "ada", min_length = 2, max_length = 30, pattern = "^[A-Za-z0-9_-]+$")]
    username: String,
    #[schema(example = "ada@example.org", format = "email", max_length = 254)]
    email: String,
    /// 10 to 128 characters that are not easy to guess.
    #[schema(
        example = "copper willow 5 lagoon",
        format = "password",
        min_length = 10,
        max_length = 128
    )]
    password: String,
}

/// A new account.
#[derive(Serialize, ToSchema)]
pub struct NewUser {
    #[schema(example = 7)]
    id: i64,
    #[schema(example = "ada")]
    username: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

/// Sign up
///
/// Makes an account. It does not log in: request a token next.
#[utoipa::path(
    post, path = "/api/v1/users", operation_id = "sign_up", tag = "users", request_body = SignUp,
    responses(
        (status = 201, description = "Created", body = NewUser, headers(("Location" = String, description = "The path of the user"))),
        (status = 409, description = "The user name or e-mail address is already taken", body = Problem, content_type = "application/problem+json"),
    ),
    security(),
)]
pub async fn sign_up(
    accounts: Accounts,
    State(pool): State<PgPool>,
    Json(typed): Json<SignUp>,
) -> Result<Response> {
    let SignUp { username, email, password } = typed;
    let fields = SignUpFields::parse(&username, &email, &password);
    let made = accounts.sign_up(fields).await?;
    let SignedUp { authenticated, username } = made.map_err(|refused| {
        let SignUpRefused { invalid, taken } = refused;
        if invalid.is_empty() { taken_fields(&taken) } else { Error::Fields(invalid) }
    })?;
    let person = db::find(&pool, &username).await?.ok_or(Error::NotFound)?;
    let location =
        HeaderValue::from_str(&format!("/api/v1/users/{username}")).map_err(Error::internal)?;
    let user = NewUser {
        id: authenticated.user.0,
        username: username.to_string(),
        created_at: person.created_at,
    };
    Ok((StatusCode::CREATED, Change::Lists, [(header::LOCATION, location)], Json(user))
        .into_response())
}
