//! The generated documents: the copies under `docs/` are what the code says, and the code does it.

use std::path::PathBuf;

use serde_json::Value;

use crate::home::Home;
use crate::ws::bridge;

/// Set to write the copies anew.
const REGENERATE: &str = "HOMING_REGENERATE";

fn assert_copy(name: &str, document: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let text = serde_json::to_string_pretty(document).unwrap() + "\n";
    if std::env::var_os(REGENERATE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let copy = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(copy == text, "docs/{name} is not what the code says; {REGENERATE}=1 writes it anew");
}

#[test]
fn copies_are_what_the_code_says() {
    assert_copy("openrpc.json", &homing_bridge::openrpc());
    assert_copy("openapi.json", &homing_bridge::openapi());
}

/// Every `$ref` in a document leads somewhere.
fn assert_references(root: &Value, node: &Value) {
    match node {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(root.pointer(pointer).is_some(), "{reference}");
            }
            members.values().for_each(|value| assert_references(root, value));
        }
        Value::Array(items) => items.iter().for_each(|item| assert_references(root, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn references_lead_somewhere() {
    for document in [homing_bridge::openrpc(), homing_bridge::openapi()] {
        assert_references(&document, &document);
    }
}

#[test]
fn methods_are_described() {
    let document = homing_bridge::openrpc();
    for method in document["methods"].as_array().unwrap() {
        let name = &method["name"];
        assert_eq!(method["paramStructure"], "by-name");
        assert!(!method["summary"].as_str().unwrap().is_empty());
        assert!(method["result"]["schema"].is_object(), "{name}");
        for param in method["params"].as_array().unwrap() {
            assert!(param["summary"].is_string(), "{name}: {param}");
            assert!(param["schema"].is_object(), "{name}: {param}");
        }
    }
    let send = document["methods"]
        .as_array()
        .unwrap()
        .iter()
        .find(|method| method["name"] == "messages.send")
        .unwrap();
    let required: Vec<&Value> = send["params"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|param| param["required"] == true)
        .map(|param| &param["name"])
        .collect();
    assert_eq!(required, ["body"]);
    let message = &document["components"]["schemas"]["Message"];
    assert!(message["required"].as_array().unwrap().iter().all(|name| name != "late"));
    let notifications: Vec<&Value> =
        document["x-notifications"].as_array().unwrap().iter().map(|n| &n["name"]).collect();
    assert_eq!(notifications, ["message", "receipt", "presence", "typing", "channel", "closing"]);
}

#[tokio::test]
async fn documented_calls_are_served_and_their_statuses_documented() {
    let home = Home::start();
    let bridge = bridge(&home);
    let document = homing_bridge::openapi();
    let client = reqwest::Client::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            let url = format!("http://{}{path}", bridge.local_addr());
            let response = client.request(method, url).send().await.unwrap();
            let status = response.status().as_u16();
            let documented = &operation["responses"][status.to_string()];
            assert!(documented.is_object(), "{path} {status}");
            if let Some(content) = documented["content"].as_object() {
                let media_type = response.headers()["content-type"].to_str().unwrap();
                let essence = media_type.split(';').next().unwrap();
                assert!(content.contains_key(essence), "{path} {media_type}");
            }
        }
    }
    for name in ["openrpc", "openapi"] {
        let url = format!("http://{}/v1/{name}.json", bridge.local_addr());
        let served: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let own = if name == "openrpc" { homing_bridge::openrpc() } else { document.clone() };
        assert_eq!(served, own);
    }
}
