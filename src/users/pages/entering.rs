//! Signing up, logging in and out.

use askama::Template;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;
use tower_sessions::Session;

use crate::live::Change;
use crate::{
    config::Site,
    identity::{BadUsername, Role, UserId, Username, Viewer},
    users::{
        BadEmail, Email, NewPassword, Passwords, Taken,
        credentials::Authenticated,
        db,
        links::Links,
        log_in::LogIn,
        pages::forget_all,
        password::{BadPassword, guessable_words},
        sessions,
    },
    web::{
        Page, PageContext, Result,
        extract::{Form, Query},
        flash::Flash,
        form::{retryable, with_error_status},
        page::{LocalPath, see_other},
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignUp {
    username: String,
    email: String,
    password: String,
    next: String,
}

#[derive(Default)]
struct SignUpProblems {
    username: Option<String>,
    email: Option<String>,
    password: Option<BadPassword>,
}

#[derive(Template)]
#[template(path = "users/signup.html")]
struct SignUpPage {
    context: PageContext,
    typed: SignUp,
    problems: SignUpProblems,
    notice: Option<String>,
}

/// Where to go on afterwards.
#[derive(Deserialize)]
pub struct NextQuery {
    #[serde(default)]
    next: String,
}

pub async fn sign_up_form(context: PageContext, Query(query): Query<NextQuery>) -> Response {
    let next = afterwards(&query.next);
    if context.viewer.is_some() {
        return see_other(&next);
    }
    let typed = SignUp { next, ..SignUp::default() };
    let problems = SignUpProblems::default();
    Page(SignUpPage { context, typed, problems, notice: None }).into_response()
}

pub async fn sign_up(
    context: PageContext,
    log_in: LogIn,
    links: Links,
    State(db): State<PgPool>,
    State(passwords): State<Passwords>,
    Form(mut typed): Form<SignUp>,
) -> Result<Response> {
    typed.next = afterwards(&typed.next);
    match register(&db, &passwords, &log_in, &context.site, &typed).await {
        Ok(Ok((user, username, email))) => {
            // Nothing of theirs was ended yet.
            let authenticated = Authenticated { user, epoch: 0 };
            links.send_confirm(authenticated, username, email);
            let response = log_in.start_session(authenticated, see_other(&typed.next)).await?;
            Ok(Change::Lists.on(Flash::Welcome.on(response)))
        }
        Ok(Err(problems)) => {
            let page = SignUpPage { context, typed, problems, notice: None };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response())
        }
        Err(error) => {
            let (notice, error) = retryable(error)?;
            let (problems, notice) = (SignUpProblems::default(), Some(notice));
            let page = SignUpPage { context, typed, problems, notice };
            Ok(with_error_status(error, Page(page).into_response()))
        }
    }
}

/// Makes the account, or tells all that stands in its way at once.
async fn register(
    db: &PgPool,
    passwords: &Passwords,
    log_in: &LogIn,
    site: &Site,
    typed: &SignUp,
) -> Result<Result<(UserId, Username, Email), SignUpProblems>> {
    let username = Username::parse_unreserved(&typed.username);
    let email = Email::parse(&typed.email);
    let words = guessable_words(&site.name, username.as_ref().ok(), email.as_ref().ok());
    let password = NewPassword::parse(&typed.password, &words);
    let mut problems = SignUpProblems {
        username: username.as_ref().err().map(BadUsername::to_string),
        email: email.as_ref().err().map(BadEmail::to_string),
        ..SignUpProblems::default()
    };
    if let (Ok(username), Ok(email)) = (&username, &email) {
        log_in.authenticator.may_look()?;
        for taken in db::taken(db, username, email).await? {
            problems.add(taken);
        }
    }
    let (Ok(username), Ok(email), Ok(password), true) =
        (username, email, &password, problems.is_empty())
    else {
        problems.password = password.err();
        return Ok(Err(problems));
    };
    log_in.authenticator.may_sign_up()?;
    let hash = passwords.hash(password.clone()).await?;
    match db::sign_up(db, &username, &email, &hash, Role::Member).await? {
        Ok(user) => {
            tracing::info!(user = user.0, "signed up");
            Ok(Ok((user, username, email)))
        }
        // Somebody else was faster.
        Err(taken) => {
            problems.add(taken);
            Ok(Err(problems))
        }
    }
}

impl SignUpProblems {
    fn is_empty(&self) -> bool {
        self.username.is_none() && self.email.is_none() && self.password.is_none()
    }

    fn add(&mut self, taken: Taken) {
        match taken {
            Taken::Username => self.username = Some(taken.to_string()),
            Taken::Email => self.email = Some(taken.to_string()),
        }
    }
}

#[derive(Template)]
#[template(path = "users/login.html")]
struct LogInPage {
    context: PageContext,
    login: String,
    next: String,
    problem: Option<String>,
}

pub async fn log_in_form(context: PageContext, Query(query): Query<NextQuery>) -> Response {
    let next = afterwards(&query.next);
    if context.viewer.is_some() {
        return see_other(&next);
    }
    Page(LogInPage { context, login: String::new(), next, problem: None }).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct LogInForm {
    login: String,
    password: String,
    next: String,
}

/// The same words and the same time whether the person exists, is suspended or mistyped.
pub async fn log_in(
    context: PageContext,
    log_in: LogIn,
    Form(typed): Form<LogInForm>,
) -> Result<Response> {
    let next = afterwards(&typed.next);
    let (problem, error) = match log_in.authenticator.log_in(&typed.login, &typed.password).await {
        Ok(Some(authenticated)) => {
            let response = log_in.start_session(authenticated, see_other(&next)).await?;
            tracing::info!(user = authenticated.user.0, "logged in");
            return Ok(Change::Nothing.on(Flash::LoggedIn.on(response)));
        }
        Ok(None) => {
            tracing::info!("log-in refused");
            ("That name and password do not match.".to_owned(), None)
        }
        Err(error) => {
            let (problem, error) = retryable(error)?;
            (problem, Some(error))
        }
    };
    let page = LogInPage { context, login: typed.login, next, problem: Some(problem) };
    let page = (StatusCode::UNAUTHORIZED, Page(page)).into_response();
    Ok(match error {
        None => page,
        Some(error) => with_error_status(error, page),
    })
}

/// Nothing but the press of the button.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOut {}

pub async fn log_out(
    viewer: Viewer,
    context: PageContext,
    State(db): State<PgPool>,
    session: Session,
    Form(LogOut {}): Form<LogOut>,
) -> Result<Response> {
    if let Some(id) = session.id() {
        sessions::db::close(&db, &sessions::key(id)).await?;
    }
    tracing::info!(user = viewer.id.0, "logged out");
    Ok(Change::Nothing.on(forget_all(see_other("/"), &context.site)))
}

fn afterwards(next: &str) -> String {
    LocalPath::parse(next).map_or_else(|| "/".to_owned(), |next| next.as_str().to_owned())
}
