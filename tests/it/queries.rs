//! The checked queries: what `.sqlx` says of them is still true of the migrated schema.
//!
//! The build itself makes sure that each query of the source is in `.sqlx`; `bin/prepare` writes it.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use sqlx::{Column as _, Either, Executor as _, TypeInfo as _, postgres::PgTypeInfo};

use crate::support::database;

#[tokio::test]
async fn every_recorded_query_matches_the_current_schema() {
    let database = database().await;
    let mut connection = database.pool.acquire().await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut wrong = BTreeSet::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let recorded: Value =
            serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        let query = recorded["query"].as_str().unwrap();
        let found = connection.describe(query).await.unwrap();
        let columns: Vec<Value> = found
            .columns()
            .iter()
            .zip(&found.nullable)
            .map(|(column, nullable)| json!([column.name(), spelled(column.type_info()), nullable]))
            .collect();
        let parameters = match found.parameters() {
            Some(Either::Left(types)) => types.iter().map(|kind| json!(spelled(kind))).collect(),
            _ => Vec::new(),
        };
        let described = &recorded["describe"];
        let recorded_columns: Vec<Value> = described["columns"]
            .as_array()
            .unwrap()
            .iter()
            .zip(described["nullable"].as_array().unwrap())
            .map(|(column, nullable)| {
                json!([column["name"], lower(&column["type_info"]), nullable])
            })
            .collect();
        let recorded_parameters: Vec<Value> = described["parameters"]["Left"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kind| json!(lower(kind)))
            .collect();
        if (columns, parameters) != (recorded_columns, recorded_parameters) {
            wrong.insert(query.to_owned());
        }
        count += 1;
    }
    assert!(count > 0);
    assert!(wrong.is_empty(), "run bin/prepare; these have changed: {wrong:#?}");
}

/// A type as both sides can spell it: `int8`, `int8array`.
fn spelled(kind: &PgTypeInfo) -> String {
    kind.name().to_lowercase().replace("[]", "array")
}

fn lower(recorded: &Value) -> String {
    recorded.as_str().unwrap_or_default().to_lowercase()
}
