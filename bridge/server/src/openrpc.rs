//! The OpenRPC document, from the table of methods and the types of what they take and give.

use homing_link::Code;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api::{METHODS, Method, SHARED_ERRORS};
use crate::encode::{
    ChannelNotice, ClosingNotice, MessageNotice, PresenceNotice, ReceiptNotice, TypingNotice,
};

/// Notifications from server to client: their names, what they say, their parameters.
/// OpenRPC knows none, so they stand in `x-notifications`.
type Notification = (&'static str, &'static str, fn(&mut SchemaGenerator) -> Schema);

const NOTIFICATIONS: &[Notification] = &[
    (
        "message",
        "A message that is new or changed: replace by id and sender",
        SchemaGenerator::root_free::<MessageNotice<'static>>,
    ),
    (
        "receipt",
        "Somebody has got further; covers every message of this home at or below",
        SchemaGenerator::root_free::<ReceiptNotice<'static>>,
    ),
    (
        "presence",
        "A watched user has come or gone; gathered for a second",
        SchemaGenerator::root_free::<PresenceNotice<'static>>,
    ),
    (
        "typing",
        "Somebody types in a channel, or has stopped; forget it after eight seconds",
        SchemaGenerator::root_free::<TypingNotice<'static>>,
    ),
    (
        "channel",
        "A channel that is new or changed",
        SchemaGenerator::root_free::<ChannelNotice<'static>>,
    ),
    (
        "closing",
        "The server is about to close the socket: come back after retry_after_ms",
        SchemaGenerator::root_free::<ClosingNotice>,
    ),
];

/// The schema itself instead of a reference to it.
trait RootFree {
    fn root_free<T: schemars::JsonSchema>(&mut self) -> Schema;
}

impl RootFree for SchemaGenerator {
    fn root_free<T: schemars::JsonSchema>(&mut self) -> Schema {
        T::json_schema(self)
    }
}

/// The document that `rpc.discover` and `GET /v1/openrpc.json` answer.
pub fn openrpc() -> Value {
    let mut takes = generator(SchemaSettings::for_deserialize);
    let mut gives = generator(SchemaSettings::for_serialize);
    let methods: Vec<Value> =
        METHODS.iter().map(|method| describe(method, &mut takes, &mut gives)).collect();
    let notifications: Vec<Value> = NOTIFICATIONS
        .iter()
        .map(|(name, summary, params)| {
            json!({ "name": name, "summary": summary, "params": params(&mut gives) })
        })
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "Homing",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What clients of a home say over the WebSocket /v1/ws: one JSON-RPC 2.0 message per text frame, parameters by name.",
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "methods": methods,
        "x-notifications": notifications,
        "components": { "schemas": definitions(takes, gives) },
    })
}

/// A generator whose references point to where OpenRPC and OpenAPI keep schemas.
pub(crate) fn generator(contract: fn(SchemaSettings) -> SchemaSettings) -> SchemaGenerator {
    contract(SchemaSettings::draft2020_12())
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator()
}

/// The named schemas of both directions. A name that both have means the same type.
pub(crate) fn definitions(
    mut takes: SchemaGenerator,
    mut gives: SchemaGenerator,
) -> Map<String, Value> {
    let mut all = gives.take_definitions(true);
    all.extend(takes.take_definitions(true));
    all.sort_keys();
    all
}

fn describe(method: &Method, takes: &mut SchemaGenerator, gives: &mut SchemaGenerator) -> Value {
    let params = (method.params)(takes).to_value();
    let errors = SHARED_ERRORS
        .iter()
        .chain(method.errors)
        .map(|code| json!({ "code": code.number(), "message": sentence(*code) }));
    json!({
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": descriptors(&params),
        "result": { "name": method.result_name, "schema": (method.result)(gives) },
        "errors": errors.collect::<Vec<_>>(),
    })
}

/// One content descriptor for each property, the required ones first.
fn descriptors(params: &Value) -> Vec<Value> {
    let required = |name: &str| {
        params["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name))
    };
    let mut all: Vec<Value> = params["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let mut descriptor =
                json!({ "name": name, "required": required(name), "schema": schema });
            if let Some(text) = schema.get("description") {
                descriptor["summary"] = text.clone();
            }
            descriptor
        })
        .collect();
    all.sort_by_key(|descriptor| descriptor["required"] == json!(false));
    all
}

fn sentence(code: Code) -> &'static str {
    match code {
        Code::InvalidRequest => "Invalid request",
        Code::MethodNotFound => "Method not found",
        Code::InvalidParams => "Invalid params",
        Code::Internal => "Internal error",
        Code::Parse => "Parse error",
        Code::NotSignedIn => "Not signed in",
        Code::NotAllowed => "Not allowed",
        Code::NotFound => "Not found",
        Code::Busy => "Busy: try again after data.retry_after_ms",
        Code::TooLarge => "Too large: data.limit",
        Code::Unreachable => "The other home could not be reached; nothing was changed",
        Code::Conflict => "Conflict",
        Code::LimitReached => "Limit reached: data.limit",
    }
}
