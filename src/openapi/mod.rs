//! The description of the API (OpenAPI 3.1), generated from its handlers.

mod page;

use std::sync::LazyLock;

use axum::{
    body::Bytes,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, Ref, RefOr, Required, Response as ApiResponse, ResponseBuilder,
        extensions::Extensions,
        header::HeaderBuilder,
        path::{Operation, ParameterIn},
        schema::{ObjectBuilder, Schema, SchemaType, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

pub use page::show as docs;

use crate::{
    posts, profiles, search, users, votes,
    web::{
        Error,
        error::{Field, PROBLEM},
        problem::Problem,
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Social Post",
        description = "Share links and short texts, vote for what you like, find things again.\n\nLog in with the password form and send the token as `Authorization: Bearer`. Errors are problem documents (RFC 9457). An empty parameter counts as absent.",
        version = env!("CARGO_PKG_VERSION"),
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This site")),
    paths(
        users::api::sign_up::sign_up,
        users::api::log_in::log_in,
        profiles::api::index,
        profiles::api::show,
        users::api::account::me,
        users::api::account::change_password,
        users::api::account::change_email,
        users::api::account::export,
        users::api::account::delete_account,
        users::api::sessions::index,
        users::api::sessions::end,
        users::api::sessions::end_all,
        users::api::sessions::end_tokens,
        users::api::recovery::forgot_password,
        users::api::recovery::reset_password,
        users::api::recovery::confirm_email,
        search::api::index,
        posts::api::publish,
        posts::api::show,
        posts::api::rank,
        posts::api::replace,
        posts::api::change,
        posts::api::delete,
        posts::api::preview,
        votes::api::cast,
        votes::api::take_back,
    ),
    components(schemas(Problem, Field)),
    tags(
        (name = "posts", description = "Posts"),
        (name = "votes", description = "Votes, at most one for each member and post"),
        (name = "users", description = "Members and their profiles, and signing up"),
        (name = "account", description = "Your account"),
    ),
    security(("token" = [])),
    modifiers(&Common),
)]
pub struct Document;

/// Adds what is the same for every operation.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("From `POST /api/v1/login`"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        for (path, item) in &mut document.paths.paths {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            for operation in operations.into_iter().flatten() {
                complete(path, operation);
            }
        }
    }
}

/// Adds the error responses that follow from the operation's path, parameters and body.
fn complete(path: &str, operation: &mut Operation) {
    let mut failures = vec![
        ("400", "The request is malformed"),
        (
            "401",
            "There is no token, it is invalid or has expired, or the user name and password are wrong",
        ),
        ("429", "Too many requests; `Retry-After` says how long to wait"),
        ("500", "A fault of the server; `X-Request-Id` identifies it in the log"),
        (
            "503",
            "The site is busy or its database unreachable; `Retry-After` says how long to wait",
        ),
    ];
    if path.contains('{') || path.contains("/password/") || path.contains("/email/") {
        failures.push(("404", "Not found"));
    }
    let parameters = operation.parameters.as_deref_mut().unwrap_or_default();
    let mut has_query = false;
    for parameter in parameters {
        let RefOr::T(parameter) = parameter else { continue };
        if parameter.parameter_in == ParameterIn::Query {
            has_query = true;
            // utoipa has no field for this, and writes an extension under the name it is given.
            let empty = Extensions::from_iter([("allowEmptyValue", true)]);
            parameter.extensions.get_or_insert_default().merge(empty);
        }
        if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
            without_null(&mut schema.schema_type);
        }
    }
    if has_query {
        failures.push(("414", "The address is too long"));
    }
    if operation.request_body.is_some() {
        failures.push(("408", "The request took too long to arrive"));
        failures.push(("413", "The body is too large"));
        failures.push(("415", "The body is not of the content type named here"));
    }
    if operation.request_body.is_some() || has_query {
        failures.push(("422", "Some fields are not valid; `errors` says what is wrong with each"));
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.required = Some(Required::True);
    }
    for (status, description) in failures {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| failure(status, description));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            "Success".clone_into(&mut response.description);
        }
    }
}

/// Removes `null` from the types of a parameter: it may be absent, but never null.
fn without_null(kind: &mut SchemaType) {
    if let SchemaType::Array(kinds) = kind {
        kinds.retain(|kind| *kind != Type::Null);
        if let [only] = kinds.as_slice() {
            *kind = SchemaType::Type(only.clone());
        }
    }
}

/// A response with a problem document.
fn failure(status: &str, description: &str) -> RefOr<ApiResponse> {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    let mut response = ResponseBuilder::new().description(description);
    let header = match status {
        "401" => {
            Some(("WWW-Authenticate", Type::String, "`Bearer`, and the error if a token was sent"))
        }
        "429" | "503" => Some(("Retry-After", Type::Integer, "In seconds")),
        _ => None,
    };
    if let Some((name, kind, description)) = header {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description));
        response = response.header(name, header.build());
    }
    RefOr::T(response.content(PROBLEM, problem).build())
}

/// The document as JSON.
///
/// # Errors
///
/// If it cannot be serialized.
pub fn json() -> serde_json::Result<String> {
    Document::openapi().to_pretty_json()
}

/// `/api/v1/openapi.json`.
pub async fn document() -> Response {
    // To make it takes milliseconds.
    static JSON: LazyLock<Option<Bytes>> = LazyLock::new(|| json().ok().map(Bytes::from));
    match JSON.clone() {
        Some(json) => {
            let kind = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, kind)], json).into_response()
        }
        None => Error::internal("the description cannot be written").into_response(),
    }
}
