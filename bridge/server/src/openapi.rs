//! The OpenAPI document, from the table of HTTP calls and the types of what they take and give.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::api::{Content, HTTP, HttpAnswer, HttpCall, MEDIA, Takes};
use crate::openrpc::{definitions, generator};

/// The document that `GET /v1/openapi.json` answers: exactly the HTTP calls that are built.
pub fn openapi() -> Value {
    let mut takes = generator(SchemaSettings::for_deserialize);
    let mut gives = generator(SchemaSettings::for_serialize);
    let mut paths = Map::new();
    for call in HTTP.iter().chain(MEDIA) {
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
    match call.body {
        Takes::Nothing => {}
        Takes::Json(body) => {
            operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body(takes) } } });
        }
        Takes::Bytes(media_type) => {
            operation["requestBody"] = json!({ "content": { media_type: { "schema": {} } } });
        }
    }
    if !call.parameters.is_empty() {
        operation["parameters"] = call
            .parameters
            .iter()
            .map(|parameter| {
                json!({
                    "name": parameter.name,
                    "in": parameter.place,
                    "required": parameter.required,
                    "description": parameter.about,
                    "schema": { "type": parameter.kind },
                })
            })
            .collect();
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
        Content::File => {
            described["content"] = json!({ "*/*": { "schema": {} } });
        }
    }
    let mut headers = Map::new();
    for (name, says) in answer.headers {
        let header = json!({ "description": says, "schema": { "type": "string" } });
        headers.insert((*name).to_owned(), header);
    }
    if answer.retry_after {
        let wait = json!({
            "description": "Seconds to wait",
            "schema": { "type": "integer", "minimum": 1 },
        });
        headers.insert("Retry-After".to_owned(), wait);
    }
    if !headers.is_empty() {
        described["headers"] = headers.into();
    }
    described
}
