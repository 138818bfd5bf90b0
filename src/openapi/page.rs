//! The description of the API as a page for people.

use std::sync::LazyLock;

use askama::Template;
use serde_json::Value;
use utoipa::OpenApi as _;

use crate::{
    openapi::Document,
    web::{Page, PageContext},
};

/// An operation.
struct Entry {
    method: String,
    path: String,
    summary: String,
    description: String,
    parameters: Vec<Parameter>,
    /// Its content type and the name of its schema.
    body: Option<(String, String)>,
    responses: Vec<ApiResponse>,
    needs_token: bool,
}

struct Parameter {
    name: String,
    /// `path`, `query` or `header`.
    location: String,
    description: String,
}

struct ApiResponse {
    status: String,
    description: String,
    schema: String,
}

struct Schema {
    name: String,
    description: String,
    properties: Vec<Property>,
}

struct Property {
    name: String,
    kind: String,
    description: String,
    is_required: bool,
}

#[derive(Template)]
#[template(path = "openapi.html")]
struct Docs {
    context: PageContext,
    entries: &'static [Entry],
    schemas: &'static [Schema],
}

/// The document as the page shows it. To make it takes milliseconds.
static DESCRIPTION: LazyLock<(Vec<Entry>, Vec<Schema>)> = LazyLock::new(|| {
    let document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let entries = members(&document["paths"]).flat_map(|(path, item)| {
        members(item).map(move |(method, operation)| entry(path, method, operation))
    });
    let schemas =
        members(&document["components"]["schemas"]).map(|(name, value)| schema(name, value));
    (entries.collect(), schemas.collect())
});

/// `/api/v1/docs`: the document as a page for people.
pub async fn show(context: PageContext) -> Page<impl Template> {
    let (entries, schemas) = &*DESCRIPTION;
    Page(Docs { context, entries, schemas })
}

/// The members of a JSON object, and none of anything else.
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn entry(path: &str, method: &str, operation: &Value) -> Entry {
    let parameters =
        operation["parameters"].as_array().into_iter().flatten().map(|parameter| Parameter {
            name: text(&parameter["name"]),
            location: text(&parameter["in"]),
            description: text(&parameter["description"]),
        });
    let body = members(&operation["requestBody"]["content"]).next();
    let responses = members(&operation["responses"]).map(|(status, response)| ApiResponse {
        status: status.clone(),
        description: text(&response["description"]),
        schema: members(&response["content"])
            .next()
            .map_or(String::new(), |(_, content)| kind(&content["schema"])),
    });
    // The token is optional where `security` is empty or has `{}` among its alternatives.
    let is_token_optional = operation["security"].as_array().is_some_and(|schemes| {
        schemes.is_empty()
            || schemes
                .iter()
                .any(|scheme| scheme.as_object().is_some_and(serde_json::Map::is_empty))
    });
    Entry {
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        description: text(&operation["description"]),
        parameters: parameters.collect(),
        body: body.map(|(content_type, content)| (content_type.clone(), kind(&content["schema"]))),
        responses: responses.collect(),
        needs_token: !is_token_optional,
    }
}

fn schema(name: &str, value: &Value) -> Schema {
    let parts: Vec<&Value> = match value["allOf"].as_array() {
        Some(parts) => parts.iter().collect(),
        None => vec![value],
    };
    let properties = parts.iter().flat_map(|part| {
        let required: Vec<&str> =
            part["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        members(&part["properties"]).map(move |(name, property)| Property {
            name: name.clone(),
            kind: kind(property),
            description: text(&property["description"]),
            is_required: required.contains(&name.as_str()),
        })
    });
    Schema {
        name: name.to_owned(),
        description: text(&value["description"]),
        properties: properties.collect(),
    }
}

/// A schema in short: `string`, `Post[]`, `integer or null`.
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
