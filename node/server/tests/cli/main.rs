//! The command line, as an operator meets it: exit codes, and one clear line for what is wrong.

mod configuration;
mod homes;
mod people;
mod program;
