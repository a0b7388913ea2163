//! `homing`: the program of a home. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    homing::cli::main()
}
