//! The OpenAPI document, from the table of HTTP calls and the types of what they take and give.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::api::{Content, HTTP, HttpAnswer, HttpCall};
use crate::openrpc::{definitions, generator};

/// The document that `GET /v1/openapi.json` answers: exactly the HTTP calls that are built.
pub fn openapi() -> Value {
    let mut takes = generator(SchemaSettings::for_deserialize);
    let mut gives = generator(SchemaSettings::for_serialize);
    let mut paths = Map::new();
    for call in HTTP {
        let operations = paths.entry(call.path).or_insert_with(|| json!({}));
        operations[call.method] = describe(call, &mut takes, &mut gives);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Homing",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What clients of a home ask over HTTP. Chat itself goes over the WebSocket /v1/ws: see /v1/openrpc.json.",
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": definitions(takes, gives),
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn describe(call: &HttpCall, takes: &mut SchemaGenerator, gives: &mut SchemaGenerator) -> Value {
    let answers: Map<String, Value> = call
        .answers
        .iter()
        .map(|answer| (answer.status.to_string(), describe_answer(answer, gives)))
        .collect();
    let mut operation = json!({
        "operationId": call.name,
        "summary": call.summary,
        "responses": answers,
        "security": [],
    });
    if let Some(body) = call.body {
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body(takes) } } });
    }
    if call.bearer {
        operation["security"] = json!([{ "bearer": [] }]);
    }
    operation
}

fn describe_answer(answer: &HttpAnswer, gives: &mut SchemaGenerator) -> Value {
    let mut described = json!({ "description": answer.when });
    match answer.content {
        Content::Empty => {}
        Content::Json(schema) => {
            described["content"] = json!({ "application/json": { "schema": schema(gives) } });
        }
        Content::Html => {
            described["content"] = json!({ "text/html": { "schema": { "type": "string" } } });
        }
    }
    if answer.retry_after {
        described["headers"] = json!({
            "Retry-After": {
                "description": "Seconds to wait",
                "schema": { "type": "integer", "minimum": 1 },
            }
        });
    }
    described
}
