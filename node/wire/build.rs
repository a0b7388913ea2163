//! Compiles the protocol files with protox, so that no system `protoc` is needed.

use std::error::Error;

const FILES: [&str; 7] = [
    "homing/event/v1/event.proto",
    "homing/group/v1/group.proto",
    "homing/record/v1/record.proto",
    "homing/hello/v1/hello.proto",
    "homing/relay/v1/relay.proto",
    "homing/query/v1/query.proto",
    "homing/media/v1/media.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    prost_build::Config::new().bytes(["."]).include_file("homing.rs").compile_fds(files)?;
    Ok(())
}
