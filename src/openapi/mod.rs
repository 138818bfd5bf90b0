//! The API described (OpenAPI 3.1), from the code that answers it.

use askama::Template;
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, Ref, RefOr, Required, Response as Answer, ResponseBuilder,
        extensions::Extensions,
        header::HeaderBuilder,
        path::{Operation, ParameterIn},
        schema::{ObjectBuilder, Schema, SchemaType, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{
    posts, profiles, search, users, votes,
    web::{
        Error, Page, PageContext, Result,
        error::{Field, PROBLEM},
        problem::Problem,
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Social Post",
        description = "Share links and short texts, vote for what you like, find things again.\n\nLog in with the password form and show the token as `Authorization: Bearer`. Errors are problem documents (RFC 9457). A parameter that is empty is as good as none.",
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
        (name = "posts", description = "What people share"),
        (name = "votes", description = "One for each person and post"),
        (name = "users", description = "People, and how one becomes one of them"),
        (name = "account", description = "One's own account"),
    ),
    security(("token" = [])),
    modifiers(&Common),
)]
pub struct Document;

/// What holds of every operation, said once.
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

fn complete(path: &str, operation: &mut Operation) {
    let mut may = vec![
        ("400", "The request makes no sense"),
        (
            "401",
            "There is no token, or it is not good any more, or a name and a password do not match",
        ),
        ("429", "Too often; `Retry-After` says when to come back"),
        ("500", "Our fault; `X-Request-Id` names it in the log"),
        ("503", "The site is busy or its database away; `Retry-After` says when to come back"),
    ];
    if path.contains('{') || path.contains("/password/") || path.contains("/email/") {
        may.push(("404", "There is no such thing"));
    }
    let parameters = operation.parameters.as_deref_mut().unwrap_or_default();
    let mut has_query = false;
    for parameter in parameters {
        let RefOr::T(parameter) = parameter else { continue };
        if parameter.parameter_in == ParameterIn::Query {
            has_query = true;
            // utoipa has no field for it and writes an extension down under the name it is given.
            let empty = Extensions::from_iter([("allowEmptyValue", true)]);
            parameter.extensions.get_or_insert_default().merge(empty);
        }
        if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
            without_null(&mut schema.schema_type);
        }
    }
    if has_query {
        may.push(("414", "The address is too long"));
    }
    if operation.request_body.is_some() {
        may.push(("408", "It took too long to arrive"));
        may.push(("413", "More than fits"));
        may.push(("415", "Another type than the one named here"));
    }
    if operation.request_body.is_some() || has_query {
        may.push(("422", "Fields that do not hold, each with what is wrong with it"));
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.required = Some(Required::True);
    }
    for (status, description) in may {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| failure(status, description));
    }
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer
            && answer.description.is_empty()
        {
            "Here it is".clone_into(&mut answer.description);
        }
    }
}

/// What is asked for in an address is there or not, but never null.
fn without_null(kind: &mut SchemaType) {
    if let SchemaType::Array(kinds) = kind {
        kinds.retain(|kind| *kind != Type::Null);
        if let [only] = kinds.as_slice() {
            *kind = SchemaType::Type(only.clone());
        }
    }
}

fn failure(status: &str, description: &str) -> RefOr<Answer> {
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    let mut answer = ResponseBuilder::new().description(description);
    let header = match status {
        "401" => {
            Some(("WWW-Authenticate", Type::String, "`Bearer`, and what is wrong with a token"))
        }
        "429" | "503" => Some(("Retry-After", Type::Integer, "In so many seconds")),
        _ => None,
    };
    if let Some((name, kind, description)) = header {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description));
        answer = answer.header(name, header.build());
    }
    RefOr::T(answer.content(PROBLEM, problem).build())
}

/// The document as JSON.
pub fn json() -> serde_json::Result<String> {
    Document::openapi().to_pretty_json()
}

pub async fn document() -> Response {
    match json() {
        Ok(json) => {
            let kind = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, kind)], json).into_response()
        }
        Err(err) => Error::internal(err).into_response(),
    }
}

/// An operation as a reader looks it up.
struct Entry {
    method: String,
    path: String,
    summary: String,
    description: String,
    parameters: Vec<Named>,
    /// Content type and the name of what it holds.
    body: Option<(String, String)>,
    answers: Vec<Answered>,
    needs_token: bool,
}

struct Named {
    name: String,
    place: String,
    description: String,
}

struct Answered {
    status: String,
    description: String,
    holds: String,
}

struct Shape {
    name: String,
    description: String,
    members: Vec<Member>,
}

struct Member {
    name: String,
    kind: String,
    description: String,
    is_required: bool,
}

#[derive(Template)]
#[template(path = "openapi.html")]
struct Docs {
    context: PageContext,
    entries: Vec<Entry>,
    shapes: Vec<Shape>,
}

/// The document as a page, for people.
pub async fn docs(context: PageContext) -> Result<Page<impl Template>> {
    let document = serde_json::to_value(Document::openapi()).map_err(Error::internal)?;
    let entries = members(&document["paths"])
        .flat_map(|(path, item)| {
            members(item).map(move |(method, operation)| entry(path, method, operation))
        })
        .collect();
    let shapes =
        members(&document["components"]["schemas"]).map(|(name, schema)| shape(name, schema));
    Ok(Page(Docs { context, entries, shapes: shapes.collect() }))
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn entry(path: &str, method: &str, operation: &Value) -> Entry {
    let parameters =
        operation["parameters"].as_array().into_iter().flatten().map(|parameter| Named {
            name: text(&parameter["name"]),
            place: text(&parameter["in"]),
            description: text(&parameter["description"]),
        });
    let body = members(&operation["requestBody"]["content"]).next();
    let answers = members(&operation["responses"]).map(|(status, answer)| Answered {
        status: status.clone(),
        description: text(&answer["description"]),
        holds: members(&answer["content"])
            .next()
            .map_or(String::new(), |(_, content)| kind(&content["schema"])),
    });
    // An operation with no securities, or with `{}` among them, may do without.
    let may_do_without = operation["security"].as_array().is_some_and(|ways| {
        ways.is_empty()
            || ways.iter().any(|way| way.as_object().is_some_and(serde_json::Map::is_empty))
    });
    Entry {
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        description: text(&operation["description"]),
        parameters: parameters.collect(),
        body: body.map(|(content_type, content)| (content_type.clone(), kind(&content["schema"]))),
        answers: answers.collect(),
        needs_token: !may_do_without,
    }
}

fn shape(name: &str, schema: &Value) -> Shape {
    let parts: Vec<&Value> = match schema["allOf"].as_array() {
        Some(parts) => parts.iter().collect(),
        None => vec![schema],
    };
    let own = parts.iter().flat_map(|part| {
        let required: Vec<&str> =
            part["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        members(&part["properties"]).map(move |(name, member)| Member {
            name: name.clone(),
            kind: kind(member),
            description: text(&member["description"]),
            is_required: required.contains(&name.as_str()),
        })
    });
    Shape {
        name: name.to_owned(),
        description: text(&schema["description"]),
        members: own.collect(),
    }
}

/// A schema in a word or two: `string`, `Post[]`, `integer or null`.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("{}[]", kind(&schema["items"])),
        Value::String(name) => name.clone(),
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}
