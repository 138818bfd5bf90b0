//! Signing up, logging in and out, and the pages about people.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use sqlx::PgPool;
use tower_sessions::Session;

use super::{
    BadEmail, BadUsername, Email, Login, NewPassword, Password, Passwords, Person, Role, Taken,
    UserId, Username, Viewer, db,
    password::{BadPassword, context},
    sessions,
};
use crate::{
    config::Site,
    posts::pages::{List, Older as OlderPosts, by_author},
    web::{
        Error, Page, Result, Shell, cursor,
        extract::{Form, Path, Query},
        filters,
        flash::Flash,
        htmx::wants_fragment,
        page::{LocalPath, see_other},
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignUp {
    username: String,
    email: String,
    password: String,
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
    shell: Shell,
    typed: SignUp,
    problems: SignUpProblems,
    notice: Option<String>,
}

pub async fn sign_up_form(shell: Shell) -> Response {
    if shell.viewer.is_some() {
        return see_other("/");
    }
    let (typed, problems) = Default::default();
    Page(SignUpPage { shell, typed, problems, notice: None }).into_response()
}

pub async fn sign_up(
    shell: Shell,
    State(db): State<PgPool>,
    State(passwords): State<Passwords>,
    session: Session,
    headers: HeaderMap,
    Form(typed): Form<SignUp>,
) -> Result<Response> {
    match register(&db, &passwords, &shell.site, &typed).await {
        Ok(Ok(user)) => {
            sessions::open(&db, &session, user, user_agent(&headers)).await?;
            Ok(Flash::Welcome.on(see_other("/")))
        }
        Ok(Err(problems)) => {
            let page = SignUpPage { shell, typed, problems, notice: None };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Page(page)).into_response())
        }
        Err(error @ (Error::Unavailable(_) | Error::Busy)) => {
            let notice = Some(error.to_string());
            let page = SignUpPage { shell, typed, problems: SignUpProblems::default(), notice };
            Ok(keeping_status(error, Page(page).into_response()))
        }
        Err(error) => Err(error),
    }
}

/// Makes the account, or tells all that stands in its way at once.
async fn register(
    db: &PgPool,
    passwords: &Passwords,
    site: &Site,
    typed: &SignUp,
) -> Result<Result<UserId, SignUpProblems>> {
    let username = Username::parse_unreserved(&typed.username);
    let email = Email::parse(&typed.email);
    let words = context(&site.name, username.as_ref().ok(), email.as_ref().ok());
    let password = NewPassword::parse(&typed.password, &words);
    let mut problems = SignUpProblems {
        username: username.as_ref().err().map(BadUsername::to_string),
        email: email.as_ref().err().map(BadEmail::to_string),
        ..SignUpProblems::default()
    };
    if let (Ok(username), Ok(email)) = (&username, &email) {
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
    let hash = passwords.hash(password.clone()).await?;
    match db::sign_up(db, &username, &email, &hash, Role::Member).await? {
        Ok(user) => {
            tracing::info!(user = user.0, "signed up");
            Ok(Ok(user))
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
    shell: Shell,
    login: String,
    next: String,
    problem: Option<String>,
}

#[derive(Deserialize)]
pub struct LogInQuery {
    #[serde(default)]
    next: String,
}

pub async fn log_in_form(shell: Shell, Query(query): Query<LogInQuery>) -> Response {
    let next = after_log_in(&query.next);
    if shell.viewer.is_some() {
        return see_other(&next);
    }
    Page(LogInPage { shell, login: String::new(), next, problem: None }).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct LogIn {
    login: String,
    password: String,
    next: String,
}

/// The same words and the same time whether the person exists, is suspended or mistyped.
pub async fn log_in(
    shell: Shell,
    State(db): State<PgPool>,
    State(passwords): State<Passwords>,
    session: Session,
    headers: HeaderMap,
    Form(typed): Form<LogIn>,
) -> Result<Response> {
    let next = after_log_in(&typed.next);
    let wrong = "That name and password do not match.".to_owned();
    let refusal = match identify(&db, &passwords, &typed).await {
        Ok(Some(user)) => {
            sessions::open(&db, &session, user, user_agent(&headers)).await?;
            tracing::info!(user = user.0, "logged in");
            return Ok(Flash::LoggedIn.on(see_other(&next)));
        }
        Ok(None) => Ok(wrong),
        Err(error @ (Error::Unavailable(_) | Error::Busy)) => Err(error),
        Err(error) => return Err(error),
    };
    let problem = Some(refusal.as_ref().map_or_else(Error::to_string, Clone::clone));
    let page = Page(LogInPage { shell, login: typed.login, next, problem }).into_response();
    Ok(match refusal {
        Ok(_) => {
            tracing::info!("log-in refused");
            (StatusCode::UNAUTHORIZED, page).into_response()
        }
        Err(error) => keeping_status(error, page),
    })
}

async fn identify(db: &PgPool, passwords: &Passwords, typed: &LogIn) -> Result<Option<UserId>> {
    let credentials = match Login::parse(&typed.login) {
        Some(login) => db::credentials(db, &login).await?,
        None => None,
    };
    let hash = credentials.as_ref().and_then(|known| known.password_hash.clone());
    let fits = passwords.verify(Password::parse(&typed.password), hash).await?;
    Ok(credentials.filter(|known| fits && !known.is_suspended).map(|known| known.id))
}

/// Nothing but the press of the button.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOut {}

pub async fn log_out(
    viewer: Viewer,
    shell: Shell,
    State(db): State<PgPool>,
    session: Session,
    Form(LogOut {}): Form<LogOut>,
) -> Result<Response> {
    if let Some(id) = session.id() {
        db::close_session(&db, &sessions::key(id)).await?;
    }
    tracing::info!(user = viewer.id.0, "logged out");
    let mut response = see_other("/");
    let headers = response.headers_mut();
    if let Ok(cookie) = HeaderValue::from_str(&sessions::clearing_cookie(&shell.site)) {
        headers.append(header::SET_COOKIE, cookie);
    }
    headers.insert(
        HeaderName::from_static("clear-site-data"),
        HeaderValue::from_static("\"cookies\", \"storage\""),
    );
    Ok(response)
}

#[derive(Template)]
#[template(path = "users/index.html")]
struct Index {
    shell: Shell,
    people: Vec<Person>,
    older: Option<String>,
}

#[derive(Template)]
#[template(path = "users/_older.html")]
struct Older {
    people: Vec<Person>,
    older: Option<String>,
}

#[derive(Deserialize)]
pub struct Paged {
    after: Option<String>,
}

pub async fn index(
    shell: Shell,
    State(db): State<PgPool>,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    let after = query.after.as_deref().map(|after| cursor::decode("people", after)).transpose()?;
    let mut people = db::list(&db, after.map(|(_, id)| UserId(id))).await?;
    let page = usize::try_from(db::PER_PAGE).unwrap_or(usize::MAX);
    let is_full = people.len() > page;
    people.truncate(page);
    let older = people.last().filter(|_| is_full);
    let older =
        older.map(|last| format!("/users?after={}", cursor::encode("people", 0, last.id.0)));
    if wants_fragment(&headers) {
        return Ok(Page(Older { people, older }).into_response());
    }
    Ok(Page(Index { shell, people, older }).into_response())
}

#[derive(Template)]
#[template(path = "users/show.html")]
struct Show {
    shell: Shell,
    person: Person,
    list: List,
    is_self: bool,
    is_continued: bool,
}

pub async fn show(
    shell: Shell,
    State(db): State<PgPool>,
    Path(name): Path<String>,
    Query(query): Query<Paged>,
    headers: HeaderMap,
) -> Result<Response> {
    let username = Username::parse(&name).ok().filter(|username| username.as_str() == name);
    let username = username.ok_or(Error::NotFound)?;
    let person = db::find(&db, &username).await?.ok_or(Error::NotFound)?;
    let address = |cursor| format!("/users/{}?after={cursor}", person.username);
    let list =
        by_author(&db, shell.viewer_id(), person.id, query.after.as_deref(), address).await?;
    if wants_fragment(&headers) {
        return Ok(Page(OlderPosts { shell, list }).into_response());
    }
    let is_self = shell.viewer_id() == Some(person.id);
    let is_continued = query.after.is_some();
    Ok(Page(Show { shell, person, list, is_self, is_continued }).into_response())
}

fn after_log_in(next: &str) -> String {
    LocalPath::parse(next).map_or_else(|| "/".to_owned(), |next| next.as_str().to_owned())
}

/// As much of it as helps a person to tell their devices apart.
fn user_agent(headers: &HeaderMap) -> &str {
    let text = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("");
    text.get(..200).unwrap_or(text)
}

/// The form again, under the status and headers of what went wrong.
fn keeping_status(error: Error, page: Response) -> Response {
    let (head, _) = error.into_response().into_parts();
    let mut response = page;
    *response.status_mut() = head.status;
    if let Some(wait) = head.headers.get(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
    }
    response
}
