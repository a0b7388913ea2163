//! What a file is.

use homing_media::{is_safe_inline, sniff};
use proptest::prelude::*;

#[test]
fn files_are_what_their_bytes_say() {
    let long = "é".repeat(5000);
    let files: [(&[u8], &str, bool); 22] = [
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg", true),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png", true),
        (b"GIF89a\x01\0\x01\0", "image/gif", true),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp", true),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "image/avif", true),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video/mp4", true),
        (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg", true),
        (b"fLaC\0\0\0\x22", "audio/flac", true),
        (b"OggS\0\x02\0\0\0\0\0\0\0\0", "audio/ogg", true),
        (b"RIFF\x10\0\0\0WAVEfmt ", "audio/wav", true),
        (b"%PDF-1.7\n", "application/pdf", false),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "application/zip", false),
        (b"", "application/octet-stream", false),
        (b"\0\x01\x02\x03", "application/octet-stream", false),
        (b"hello \x07", "application/octet-stream", false),
        (b"Hello,\n\tworld\r\n", "text/plain", false),
        (long.as_bytes(), "text/plain", false),
        (b"<3 you", "text/plain", false),
        (b"\xef\xbb\xbf \n<!DOCTYPE HTML><p>", "text/html", false),
        (b"<x><script>alert(1)</script>", "text/html", false),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", false),
        (b"<?xml version='1.0'?><note/>", "application/xml", false),
    ];
    for (bytes, mime, safe) in files {
        assert_eq!((sniff(bytes), is_safe_inline(sniff(bytes))), (mime, safe), "{bytes:?}");
    }
    assert!(!is_safe_inline("image/svg+xml") && !is_safe_inline("image/tiff"));
}

proptest! {
    #[test]
    fn anything_is_something(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[<!?a-z é\u{0}]*") {
        sniff(&bytes);
        sniff(text.as_bytes());
    }
}
