//! Users in the API.

#![allow(unused_qualifications, reason = "utoipa generates fully qualified names")]

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    identity::{UserId, Username},
    users::{api::User, db},
    web::{
        Error, Result, cursor,
        extract::{Path, Query, number},
        json::Json,
        list::{ListPage, Window},
        middleware::replica::ReadPool,
    },
};

#[derive(Serialize, ToSchema)]
pub struct UserPage {
    users: Vec<User>,
    /// Send it as `after` to get the next page; null on the last page.
    #[schema(required)]
    next: Option<String>,
}

/// A user
#[utoipa::path(
    get, path = "/api/v1/users/{username}", operation_id = "user", tag = "users",
    params(("username" = String, Path, description = "In any case", example = "ada")),
    responses((status = 200, body = User)),
    security((), ("token" = [])),
)]
pub async fn show(ReadPool(pool): ReadPool, Path(name): Path<String>) -> Result<Json<User>> {
    let username = Username::parse(&name).ok().filter(|username| username.as_str() == name);
    let person = db::find(&pool, &username.ok_or(Error::NotFound)?).await?;
    Ok(Json(person.ok_or(Error::NotFound)?.into()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paged {
    /// The maximum number of users.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100, default = 30)]
    limit: Option<String>,
    /// `next` of the previous page.
    #[param(min_length = 28, max_length = 28, pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
}

/// All users, newest first
#[utoipa::path(
    get, path = "/api/v1/users", operation_id = "users", tag = "users", params(Paged),
    responses((status = 200, body = UserPage)),
    security((), ("token" = [])),
)]
pub async fn index(ReadPool(pool): ReadPool, Query(query): Query<Paged>) -> Result<Json<UserPage>> {
    let limit = number("limit", query.limit.as_deref(), 30, 1, 100)?;
    let after = query.after.as_deref().map(|after| cursor::decode("people", after)).transpose()?;
    let window = Window::first(limit);
    let people = db::list(&pool, after.map(|after| UserId(after.id)), window.rows()).await?;
    let people = ListPage::new(people, window, |last| cursor::encode("people", 0, last.id.0, ""));
    let users = people.rows.into_iter().map(User::from).collect();
    Ok(Json(UserPage { users, next: people.next }))
}
