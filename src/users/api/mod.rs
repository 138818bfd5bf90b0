//! Accounts in the API, a file for each group of operations.

pub mod account;
pub mod log_in;
pub mod recovery;
pub mod sessions;
pub mod sign_up;

use axum::{
    http::{HeaderValue, header},
    response::Response,
};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    users::{Person, Taken, account::Refused},
    web::{Error, error::Field},
};

/// A user as everyone may see them.
#[derive(Serialize, ToSchema)]
pub struct User {
    #[schema(example = 7)]
    id: i64,
    #[schema(example = "ada")]
    username: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The number of their posts, 0 included.
    #[schema(example = 3, minimum = 0)]
    post_count: i64,
}

impl From<Person> for User {
    fn from(person: Person) -> User {
        let Person { id, username, post_count, created_at } = person;
        User { id: id.0, username: username.to_string(), created_at, post_count }
    }
}

/// A 422 about one field.
fn invalid_field(field: &'static str, problem: &impl ToString) -> Error {
    Error::Fields(vec![Field::new(field, problem)])
}

/// A 409 about values that belong to another account.
fn taken_fields(taken: &[Taken]) -> Error {
    Error::Taken(taken.iter().copied().map(Field::from).collect())
}

/// The error for an action that asked for the current password; `convert` is for its own problems.
fn refused<Problem>(refused: Refused<Problem>, convert: impl FnOnce(Problem) -> Error) -> Error {
    match refused {
        Refused::WrongPassword => invalid_field("current_password", &"Wrong password."),
        Refused::LoggedOut => Error::BadToken,
        Refused::Problem(problem) => convert(problem),
    }
}

/// Forbids caches to store what only the account's owner may see.
fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
