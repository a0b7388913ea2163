//! What another implementation, a peer that misbehaves and a client may bring, and what comes of it.

#![allow(clippy::unwrap_used)] // in tests, where Clippy sees only `#[test]` functions as such

mod bodies;
mod corpus;
mod decoders;
mod headers;
mod names;
mod proofs;
mod rosters;
mod signed;
mod vectors;
