//! `homing`: the program of a home. Everything is in the library.

use std::process::ExitCode;

/// The system's allocator keeps the 19 MiB that each password hash takes, once for every thread that ever
/// hashed one, and pays for them with page faults on every message: see docs/PERFORMANCE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    homing::cli::main()
}
