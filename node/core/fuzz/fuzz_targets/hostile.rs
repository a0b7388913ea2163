//! `hostile::meets` of `node/core/tests/core`.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../tests/core/node.rs"]
mod node;
#[path = "../../tests/core/store.rs"]
mod store;
#[path = "../../tests/core/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::meets(data));
