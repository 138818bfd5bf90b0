//! Logging in to the API.

#![allow(unused_qualifications, reason = "utoipa generates fully qualified names")]

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::{
    live::Change,
    users::{
        account::Accounts,
        api::{invalid_field, no_store},
        credentials::EarlierLogIn,
        tokens::{self, Tokens, bearer},
    },
    web::{Error, Result, extract::Form, json::Json},
};

/// The password form of OAuth 2 (RFC 6749, 4.3.2).
#[expect(dead_code, reason = "clients send fields that are ignored")]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// User name or e-mail address.
    #[serde(default)]
    #[schema(example = "ada", required)]
    username: String,
    #[serde(default)]
    #[schema(example = "copper willow 5 lagoon", format = "password", required)]
    password: String,
    /// `password`, if given.
    #[schema(value_type = String, required = false, pattern = "^(password)?$")]
    grant_type: Option<String>,
    /// Ignored.
    #[schema(value_type = String, required = false)]
    scope: Option<String>,
    /// Ignored.
    #[schema(value_type = String, required = false)]
    client_id: Option<String>,
    /// Ignored.
    #[schema(value_type = String, required = false)]
    client_secret: Option<String>,
}

#[expect(clippy::struct_field_names, reason = "RFC 6749, 5.1")]
#[derive(Serialize, ToSchema)]
pub struct Token {
    access_token: String,
    #[schema(example = "bearer")]
    token_type: &'static str,
    /// In seconds.
    #[schema(example = 1800)]
    expires_in: i64,
}

/// Get a token
///
/// Send your last token as `Authorization: Bearer`, even if it has expired: then nobody who guesses at
/// the account's password can delay this request. After a reset of the password, send the token of its
/// link instead. Anything else in this header is ignored.
#[utoipa::path(
    post, path = "/api/v1/login", operation_id = "log_in", tag = "users",
    request_body(content = LogIn, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Send the token as `Authorization: Bearer`", body = Token)),
    security(),
)]
pub async fn log_in(
    accounts: Accounts,
    State(db): State<PgPool>,
    State(tokens): State<Option<Tokens>>,
    headers: HeaderMap,
    Form(typed): Form<LogIn>,
) -> Result<Response> {
    if typed.grant_type.is_some_and(|kind| !kind.is_empty() && kind != "password") {
        return Err(invalid_field("grant_type", &"Only `password` is supported."));
    }
    let signer = tokens.ok_or(Error::NotFound)?;
    let now = tokens::db::now(&db).await?;
    let earlier = earlier_log_in(&signer, now, &headers);
    let authenticated = accounts.log_in(&typed.username, &typed.password, earlier.as_ref()).await?;
    let authenticated = authenticated.ok_or(Error::WrongPassword)?;
    let access_token = signer.issue(authenticated, now).map_err(Error::internal)?;
    tracing::info!(user = authenticated.user.0, "issued a token");
    let token = Token { access_token, token_type: "bearer", expires_in: signer.lifetime() };
    Ok(Change::Nothing.on(no_store(Json(token).into_response())))
}

/// What the client shows of an earlier log-in.
fn earlier_log_in(tokens: &Tokens, now: i64, headers: &HeaderMap) -> Option<EarlierLogIn> {
    let shown = bearer::token(headers).ok()??;
    match shown.parse() {
        Ok(secret) => Some(EarlierLogIn::Link(secret)),
        Err(_) => tokens.earlier_log_in(shown, now),
    }
}
