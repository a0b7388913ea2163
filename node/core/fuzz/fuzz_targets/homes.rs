//! `model::runs` of `node/core/tests/core`.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../tests/core/node.rs"]
mod node;
#[path = "../../tests/core/store.rs"]
mod store;
#[path = "../../tests/core/model.rs"]
mod model;

libfuzzer_sys::fuzz_target!(|data: &[u8]| model::runs(data));
