//! Names and versions of the protocols between homes. Their frames are in [`crate::proto`].

/// The first exchange on every connection.
pub const HELLO: &str = "/homing/hello/1";
/// The long-lived stream that carries events, marks and their acknowledgements.
pub const RELAY: &str = "/homing/relay/1";
/// One question, one answer.
pub const QUERY: &str = "/homing/query/1";
/// One file, one stream.
pub const MEDIA: &str = "/homing/media/1";
