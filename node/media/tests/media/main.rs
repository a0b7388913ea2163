//! Files, on real folders.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

mod blobs;
mod cache;
mod films;
mod images;
mod s3;
mod sniff;
mod speed;
mod uploads;

use std::io;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use homing_media::ByteStream;

/// Bytes that look like none of those before; the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A stream of these bytes, in pieces of `step`.
pub(crate) fn body(bytes: &[u8], step: usize) -> ByteStream {
    let pieces: Vec<_> =
        bytes.chunks(step.max(1)).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

/// These bytes, and then an error.
pub(crate) fn broken(bytes: &[u8], step: usize) -> ByteStream {
    let end = stream::iter([Err(io::ErrorKind::ConnectionReset.into())]);
    body(bytes, step).chain(end).boxed()
}

/// These bytes, and then nothing for ever.
pub(crate) fn stuck(bytes: &[u8]) -> ByteStream {
    body(bytes, bytes.len()).chain(stream::pending()).boxed()
}

/// All that a stream gives, and how it ended.
pub(crate) async fn drain(mut bytes: ByteStream) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    loop {
        match bytes.try_next().await {
            Ok(Some(piece)) => all.extend_from_slice(&piece),
            Ok(None) => return (all, Ok(())),
            Err(error) => return (all, Err(error)),
        }
    }
}

pub(crate) async fn all(bytes: ByteStream) -> Vec<u8> {
    let (all, end) = drain(bytes).await;
    end.unwrap();
    all
}

/// The names of what is in a folder, in order.
pub(crate) fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
