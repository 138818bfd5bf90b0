//! People and one's own account, for programs.

#![allow(unused_qualifications, reason = "utoipa names what it is given in full")]

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::live::Change;
use crate::{
    config::Site,
    identity::{Role, Username, Viewer},
    users::{
        Email, NewPassword, Passwords, Person,
        credentials::{Authenticated, Authenticator},
        db,
        links::{self, Links, Purpose, emails},
        password::guessable_words,
        secret::Secret,
        sessions::{self, device::in_words},
        tokens::{self, Tokens},
    },
    web::{
        Error, Result,
        error::Field,
        extract::{Form, Path},
        json::Json,
        problem::Problem,
    },
};

/// An account that was just made.
#[derive(Serialize, ToSchema)]
pub struct NewUser {
    #[schema(example = 7)]
    id: i64,
    #[schema(example = "ada")]
    username: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

/// A person as everyone may see them.
#[derive(Serialize, ToSchema)]
pub struct User {
    #[schema(example = 7)]
    id: i64,
    #[schema(example = "ada")]
    username: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// How many posts they have, 0 included.
    #[schema(example = 3, minimum = 0)]
    post_count: i64,
}

impl From<Person> for User {
    fn from(person: Person) -> User {
        let Person { id, username, post_count, created_at } = person;
        User { id: id.0, username: username.to_string(), created_at, post_count }
    }
}

/// Oneself.
#[derive(Serialize, ToSchema)]
pub struct Me {
    #[serde(flatten)]
    user: User,
    #[schema(example = "ada@example.org", required)]
    email: Option<String>,
    /// Whether a link sent to the address was followed.
    email_confirmed: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    /// 2 to 30 of emails, digits, `-` and `_`; unique without regard to case.
    #[schema(example = "ada", min_length = 2, max_length = 30, pattern = "^[A-Za-z0-9_-]+$")]
    username: String,
    #[schema(example = "ada@example.org", format = "email", max_length = 254)]
    email: String,
    /// 10 to 128 characters that are not easily guessed.
    #[schema(
        example = "copper willow 5 lagoon",
        format = "password",
        min_length = 10,
        max_length = 128
    )]
    password: String,
}

/// Makes an account
///
/// It does not log in: ask for a token next.
#[utoipa::path(
    post, path = "/api/v1/users", operation_id = "sign_up", tag = "users", request_body = SignUp,
    responses(
        (status = 201, description = "The account is there", body = NewUser, headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "The name or the address is taken", body = Problem, content_type = "application/problem+json"),
    ),
    security(),
)]
pub async fn sign_up(
    authenticator: Authenticator,
    links: Links,
    State(pool): State<PgPool>,
    State(passwords): State<Passwords>,
    State(site): State<Arc<Site>>,
    Json(typed): Json<SignUp>,
) -> Result<Response> {
    let username = Username::parse_unreserved(&typed.username);
    let email = Email::parse(&typed.email);
    let words = guessable_words(&site.name, username.as_ref().ok(), email.as_ref().ok());
    let password = NewPassword::parse(&typed.password, &words);
    let (username, email, password) = match (username, email, password) {
        (Ok(username), Ok(email), Ok(password)) => (username, email, password),
        (username, email, password) => {
            let problems = [
                username.err().map(|bad| Field::new("username", &bad)),
                email.err().map(|bad| Field::new("email", &bad)),
                password.err().map(|bad| Field::new("password", &bad)),
            ];
            return Err(Error::Fields(problems.into_iter().flatten().collect()));
        }
    };
    authenticator.may_look()?;
    let taken = db::taken(&pool, &username, &email).await?;
    if !taken.is_empty() {
        return Err(Error::Taken(taken.iter().map(|taken| taken_field(*taken)).collect()));
    }
    authenticator.may_sign_up()?;
    let hash = passwords.hash(password).await?;
    let id = db::sign_up(&pool, &username, &email, &hash, Role::Member)
        .await?
        .map_err(|taken| Error::Taken(vec![taken_field(taken)]))?;
    let person = db::find(&pool, &username).await?.ok_or(Error::NotFound)?;
    // Nothing of theirs was ended yet.
    links.send_confirm(Authenticated { user: id, epoch: 0 }, username.clone(), email);
    let user = NewUser { id: id.0, username: username.to_string(), created_at: person.created_at };
    let place =
        HeaderValue::from_str(&format!("/api/v1/users/{username}")).map_err(Error::internal)?;
    Ok((StatusCode::CREATED, Change::Lists, [(header::LOCATION, place)], Json(user))
        .into_response())
}

fn taken_field(taken: super::Taken) -> Field {
    let field = match taken {
        super::Taken::Username => "username",
        super::Taken::Email => "email",
    };
    Field::new(field, &taken)
}

/// The password form of OAuth 2 (RFC 6749, 4.3.2).
#[expect(dead_code, reason = "clients send fields that nobody looks at")]
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// Name or address.
    #[serde(default)]
    #[schema(example = "ada", required)]
    username: String,
    #[serde(default)]
    #[schema(example = "copper willow 5 lagoon", format = "password", required)]
    password: String,
    /// `password`, where given.
    #[schema(value_type = String, required = false, pattern = "^(password)?$")]
    grant_type: Option<String>,
    /// Not looked at.
    #[schema(value_type = String, required = false)]
    scope: Option<String>,
    /// Not looked at.
    #[schema(value_type = String, required = false)]
    client_id: Option<String>,
    /// Not looked at.
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

/// Gives a token
#[utoipa::path(
    post, path = "/api/v1/login", operation_id = "log_in", tag = "users",
    request_body(content = LogIn, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Show it as `Authorization: Bearer`", body = Token)),
    security(),
)]
pub async fn log_in(
    authenticator: Authenticator,
    State(tokens): State<Option<Tokens>>,
    Form(typed): Form<LogIn>,
) -> Result<Response> {
    if typed.grant_type.is_some_and(|kind| !kind.is_empty() && kind != "password") {
        return Err(Error::Fields(vec![Field::new(
            "grant_type",
            &"Only `password` is known here.",
        )]));
    }
    let tokens = tokens.ok_or(Error::NotFound)?;
    let authenticated =
        authenticator.log_in(&typed.username, &typed.password).await?.ok_or_else(|| {
            tracing::info!("log-in refused");
            Error::WrongPassword
        })?;
    let access_token = tokens.make(authenticated).map_err(Error::internal)?;
    tracing::info!(user = authenticated.user.0, "gave a token");
    let token = Token { access_token, token_type: "bearer", expires_in: tokens.lifetime() };
    Ok(Change::Nothing.on(not_stored(Json(token).into_response())))
}

/// What only the account's owner may see stays nowhere on the way.
fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Oneself
#[utoipa::path(
    get, path = "/api/v1/users/me", operation_id = "me", tag = "account",
    responses((status = 200, body = Me)),
)]
pub async fn me(viewer: Viewer, State(pool): State<PgPool>) -> Result<Json<Me>> {
    let person = db::find(&pool, &viewer.username).await?.ok_or(Error::BadToken)?;
    let own = db::own(&pool, viewer.id).await?.ok_or(Error::BadToken)?;
    Ok(Json(Me { user: person.into(), email: own.email, email_confirmed: own.is_email_confirmed }))
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

/// Changes the password
///
/// Ends every session and every token, this one included: ask for a new one.
#[utoipa::path(
    put, path = "/api/v1/users/me/password", operation_id = "change_password", tag = "account",
    request_body = PasswordChange, responses((status = 204, description = "It is changed")),
)]
pub async fn change_password(
    viewer: Viewer,
    authenticator: Authenticator,
    links: Links,
    State(pool): State<PgPool>,
    State(passwords): State<Passwords>,
    State(site): State<Arc<Site>>,
    Json(typed): Json<PasswordChange>,
) -> Result<(Change, StatusCode)> {
    let own = db::own(&pool, viewer.id).await?.ok_or(Error::BadToken)?;
    let email = own.email.as_deref().and_then(|email| Email::parse(email).ok());
    let words = guessable_words(&site.name, Some(&viewer.username), email.as_ref());
    let new = NewPassword::parse(&typed.new_password, &words)
        .map_err(|bad| Error::Fields(vec![Field::new("new_password", &bad)]))?;
    let authenticated = really(&authenticator, &viewer, &typed.current_password).await?;
    let hash = passwords.hash(new).await?;
    db::change_password(&pool, authenticated, &hash).await?.ok_or(Error::BadToken)?;
    tracing::info!(user = viewer.id.0, "changed the password");
    if let Some(email) = &own.email {
        links.send(emails::password_changed(&site, &viewer.username, email));
    }
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

async fn really(
    authenticator: &Authenticator,
    viewer: &Viewer,
    password: &str,
) -> Result<Authenticated> {
    authenticator.reauthenticate(viewer.id, password).await?.ok_or_else(|| {
        Error::Fields(vec![Field::new("current_password", &"That is not your password.")])
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailChange {
    #[schema(format = "password", example = "copper willow 5 lagoon")]
    current_password: String,
    #[schema(format = "email", max_length = 254, example = "countess@example.org")]
    email: String,
}

/// Changes the address
///
/// Where the site sends mail, the address counts once the link sent to it was followed (202).
#[utoipa::path(
    put, path = "/api/v1/users/me/email", operation_id = "change_email", tag = "account",
    request_body = EmailChange,
    responses(
        (status = 202, description = "A link is on its way"),
        (status = 204, description = "It is changed"),
        (status = 409, description = "Somebody has it", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn change_email(
    viewer: Viewer,
    authenticator: Authenticator,
    links: Links,
    State(pool): State<PgPool>,
    Json(typed): Json<EmailChange>,
) -> Result<(Change, StatusCode)> {
    let new =
        Email::parse(&typed.email).map_err(|bad| Error::Fields(vec![Field::new("email", &bad)]))?;
    let authenticated = really(&authenticator, &viewer, &typed.current_password).await?;
    if links.are_on() {
        authenticator.may_mail(new.canonical())?;
        links.send_confirm(authenticated, viewer.username.clone(), new);
        return Ok((Change::Nothing, StatusCode::ACCEPTED));
    }
    authenticator.may_look()?;
    match db::change_email(&pool, authenticated, &new).await? {
        Ok(true) => Ok((Change::Nothing, StatusCode::NO_CONTENT)),
        Ok(false) => Err(Error::BadToken),
        Err(taken) => Err(Error::Taken(vec![taken_field(taken)])),
    }
}

/// All that is mine, as the database writes it down.
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

/// All that is mine
///
/// Profile, posts and votes as one document.
#[utoipa::path(
    get, path = "/api/v1/users/me/export", operation_id = "export", tag = "account",
    responses((status = 200, body = Export)),
)]
pub async fn export(viewer: Viewer, State(pool): State<PgPool>) -> Result<Response> {
    let document = db::export(&pool, viewer.id).await?.ok_or(Error::BadToken)?;
    let kind = HeaderValue::from_static("application/json");
    Ok(not_stored(([(header::CONTENT_TYPE, kind)], document).into_response()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    #[schema(format = "password", example = "copper willow 5 lagoon")]
    current_password: String,
}

/// Deletes the account, for good
///
/// Its posts and votes go with it.
#[utoipa::path(
    post, path = "/api/v1/users/me/deletion", operation_id = "delete_account", tag = "account",
    request_body = Leaving,
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "The only admin stays", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn delete_account(
    viewer: Viewer,
    authenticator: Authenticator,
    State(pool): State<PgPool>,
    Json(typed): Json<Leaving>,
) -> Result<(Change, StatusCode)> {
    let authenticated = really(&authenticator, &viewer, &typed.current_password).await?;
    match db::delete_account(&pool, authenticated).await? {
        Ok(()) => {
            tracing::info!(user = viewer.id.0, "deleted the account");
            Ok((Change::All, StatusCode::NO_CONTENT))
        }
        Err(db::DeleteRefused::NotProven) => Err(Error::BadToken),
        Err(last @ db::DeleteRefused::LastAdmin) => Err(Error::Conflict(last.to_string().into())),
    }
}

/// A browser that is logged in.
#[derive(Serialize, ToSchema)]
pub struct Session {
    id: Uuid,
    /// Browser and system in words.
    #[schema(example = "Firefox on Linux")]
    device: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    last_seen_at: OffsetDateTime,
}

#[derive(Serialize, ToSchema)]
pub struct SessionList {
    sessions: Vec<Session>,
}

/// Where I am logged in with a browser
#[utoipa::path(
    get, path = "/api/v1/users/me/sessions", operation_id = "sessions", tag = "account",
    responses((status = 200, body = SessionList)),
)]
pub async fn sessions(
    viewer: Viewer,
    State(pool): State<PgPool>,
    State(site): State<Arc<Site>>,
) -> Result<Json<SessionList>> {
    let places = sessions::db::places(&pool, viewer.id, "", &site).await?;
    let sessions = places.into_iter().map(|place| Session {
        id: place.handle,
        device: in_words(&place.user_agent),
        created_at: place.created_at,
        last_seen_at: place.last_seen_at,
    });
    Ok(Json(SessionList { sessions: sessions.collect() }))
}

/// Ends one of my sessions
#[utoipa::path(
    delete, path = "/api/v1/users/me/sessions/{id}", operation_id = "end_session", tag = "account",
    params(("id" = Uuid, Path)), responses((status = 204, description = "It is over")),
)]
pub async fn end_session(
    viewer: Viewer,
    State(pool): State<PgPool>,
    Path(id): Path<Uuid>,
) -> Result<(Change, StatusCode)> {
    sessions::db::revoke(&pool, viewer.id, id).await?.ok_or(Error::NotFound)?;
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

/// Logs me out everywhere
///
/// Ends every session and every token, this one included.
#[utoipa::path(
    delete, path = "/api/v1/users/me/sessions", operation_id = "end_sessions", tag = "account",
    responses((status = 204, description = "All are over")),
)]
pub async fn end_sessions(
    viewer: Viewer,
    State(pool): State<PgPool>,
) -> Result<(Change, StatusCode)> {
    sessions::db::revoke_others(&pool, viewer.id, "").await?;
    tracing::info!(user = viewer.id.0, "ended all sessions and tokens");
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

/// Ends all my tokens
///
/// This one included; sessions of browsers go on.
#[utoipa::path(
    delete, path = "/api/v1/users/me/tokens", operation_id = "end_tokens", tag = "account",
    responses((status = 204, description = "All are over")),
)]
pub async fn end_tokens(
    viewer: Viewer,
    State(pool): State<PgPool>,
) -> Result<(Change, StatusCode)> {
    tokens::db::end_all(&pool, viewer.id).await?;
    tracing::info!(user = viewer.id.0, "ended all tokens");
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Forgetful {
    #[schema(format = "email", max_length = 254, example = "ada@example.org")]
    email: String,
}

/// Sends a link to a new password
///
/// The same answer whoever has the address, or nobody. 404 where the site sends no mail.
#[utoipa::path(
    post, path = "/api/v1/password/forgot", operation_id = "forgot_password", tag = "account",
    request_body = Forgetful,
    responses((status = 202, description = "If somebody has the address, a link is on its way there")),
    security(),
)]
pub async fn forgot_password(
    authenticator: Authenticator,
    links: Links,
    Json(typed): Json<Forgetful>,
) -> Result<(Change, StatusCode)> {
    if !links.are_on() {
        return Err(Error::NotFound);
    }
    let email =
        Email::parse(&typed.email).map_err(|bad| Error::Fields(vec![Field::new("email", &bad)]))?;
    authenticator.may_look()?;
    authenticator.may_mail(email.canonical())?;
    links.send_reset(email);
    Ok((Change::Nothing, StatusCode::ACCEPTED))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// The last part of the link's address.
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

/// Uses a link to choose a new password
#[utoipa::path(
    post, path = "/api/v1/password/reset", operation_id = "reset_password", tag = "account",
    request_body = Reset, responses((status = 204, description = "It is changed")),
    security(),
)]
pub async fn reset_password(
    links: Links,
    State(pool): State<PgPool>,
    State(passwords): State<Passwords>,
    State(site): State<Arc<Site>>,
    Json(typed): Json<Reset>,
) -> Result<(Change, StatusCode)> {
    let secret: Secret = typed.token.parse().map_err(|_| Error::NotFound)?;
    let of =
        links::db::look(&pool, &secret.key(), Purpose::Password).await?.ok_or(Error::NotFound)?;
    let email = of.email.as_deref().and_then(|email| Email::parse(email).ok());
    let words = guessable_words(&site.name, Some(&of.username), email.as_ref());
    let new = NewPassword::parse(&typed.new_password, &words)
        .map_err(|bad| Error::Fields(vec![Field::new("new_password", &bad)]))?;
    let hash = passwords.hash(new).await?;
    let email =
        links::db::set_password(&pool, &secret.key(), &hash).await?.ok_or(Error::NotFound)?;
    tracing::info!("a password was reset by a link");
    if let Some(email) = email {
        links.send(emails::password_changed(&site, &of.username, &email));
    }
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The last part of the link's address.
    #[schema(
        min_length = 22,
        max_length = 22,
        pattern = "^[A-Za-z0-9_-]+$",
        example = "f4Bz0Jq9nX2mVwYk7LdSeA"
    )]
    token: String,
}

/// Uses a link to prove an address
#[utoipa::path(
    post, path = "/api/v1/email/confirm", operation_id = "confirm_email", tag = "account",
    request_body = Proof,
    responses(
        (status = 204, description = "It is confirmed"),
        (status = 409, description = "Somebody has the address by now", body = Problem, content_type = "application/problem+json"),
    ),
    security(),
)]
pub async fn confirm_email(
    links: Links,
    State(pool): State<PgPool>,
    State(site): State<Arc<Site>>,
    Json(typed): Json<Proof>,
) -> Result<(Change, StatusCode)> {
    let secret: Secret = typed.token.parse().map_err(|_| Error::NotFound)?;
    let of = links::db::look(&pool, &secret.key(), Purpose::Email).await?.ok_or(Error::NotFound)?;
    let confirmed = links::db::confirm_email(&pool, &secret.key()).await?.ok_or(Error::NotFound)?;
    let before = confirmed.map_err(|taken| Error::Taken(vec![taken_field(taken)]))?;
    if let Some(before) = before.filter(|before| of.email.as_ref() != Some(before)) {
        links.send(emails::email_changed(&site, &of.username, &before));
    }
    Ok((Change::Nothing, StatusCode::NO_CONTENT))
}
