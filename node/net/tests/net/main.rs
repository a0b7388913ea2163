//! Homes that talk over real sockets on loopback, and peers that break the rules.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::large_futures,
    clippy::result_large_err,
    reason = "a test panics where something is wrong, and picks the events it waits for"
)]

mod clones;
mod dialling;
mod gossip;
mod hello;
mod media;
mod misbehaviour;
mod query;
mod relay;
mod support;
