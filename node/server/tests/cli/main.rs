//! The command line, as an operator meets it: exit codes, and one clear line for what is wrong.

#![allow(clippy::unwrap_used)]

mod configuration;
mod homes;
mod people;
mod program;
mod running;
