//! `roster` of `node/wire/tests/wire/decoders.rs`.
#![no_main]
#![allow(dead_code)]

#[path = "../../tests/wire/decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decoders::roster(data));
