//! A bridge over real TCP before a small home of this test's own.

// The test is what may panic here, and its futures live once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::wildcard_enum_match_arm, clippy::large_futures)]

mod documents;
mod downloads;
mod files;
mod home;
mod http;
mod rpc;
mod socket;
mod uploads;
mod ws;
