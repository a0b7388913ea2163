//! The program of a home: configuration, command line, keys, the operator's door, and the node itself.
//! The only place where everything meets.

// The words of the sample configuration are documentation here and TOML comments there, where <…> would be wrong.
#![allow(rustdoc::bare_urls)]

pub mod admin;
pub mod backup;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod export;
pub mod init;
pub mod jobs;
pub mod keys;
pub mod logs;
mod media;
pub mod metrics;
pub mod node;
pub mod operator;
pub mod password;
pub mod record;
pub mod restore;
mod search;
mod tidy;
pub mod token;
pub mod wiring;
