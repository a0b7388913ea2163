//! What a file is, by its first bytes.

/// How many of a file's first bytes [`sniff`] looks at; more change nothing.
pub const SNIFF_BYTES: usize = 8 * 1024;

/// What nobody knows.
const UNKNOWN: &str = "application/octet-stream";

/// What a browser takes for a page where a file begins so (<https://mimesniff.spec.whatwg.org/#identifying-a-resource-with-an-unknown-mime-type>).
const PAGE: [&str; 17] = [
    "<!doctype html",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<h1",
    "<div",
    "<font",
    "<table",
    "<a",
    "<style",
    "<title",
    "<b",
    "<body",
    "<br",
    "<p",
    "<!--",
];

/// The media type of a file that begins with `bytes`; `application/octet-stream` where nothing says what it is.
///
/// Text is text only where it is UTF-8 without control characters and not markup: a page that somebody calls a note is
/// `text/html` here, which [`is_safe_inline`] refuses.
pub fn sniff(bytes: &[u8]) -> &'static str {
    let first = &bytes[..bytes.len().min(SNIFF_BYTES)];
    match infer::get(first) {
        // Its rules for text are looser than ours.
        Some(known) if known.matcher_type() != infer::MatcherType::Text => {
            standard(known.mime_type())
        }
        Some(_) | None => text(first, bytes.len() > SNIFF_BYTES).unwrap_or(UNKNOWN),
    }
}

/// Whether a browser may show a file of this type in place: pictures, sound and film that carry no script. All else is served as
/// an attachment.
pub fn is_safe_inline(mime: &str) -> bool {
    matches!(
        mime,
        "image/jpeg"
            | "image/png"
            | "image/gif"
            | "image/webp"
            | "image/avif"
            | "audio/mpeg"
            | "audio/mp4"
            | "audio/ogg"
            | "audio/opus"
            | "audio/aac"
            | "audio/flac"
            | "audio/wav"
            | "audio/webm"
            | "video/mp4"
            | "video/webm"
            | "video/ogg"
            | "video/quicktime"
    )
}

/// The registered name, or the one that browsers know, of what `infer` calls otherwise.
fn standard(mime: &'static str) -> &'static str {
    match mime {
        "audio/m4a" => "audio/mp4",
        "audio/x-wav" => "audio/wav",
        "audio/x-flac" => "audio/flac",
        "video/x-m4v" => "video/mp4",
        other => other,
    }
}

fn text(first: &[u8], cut: bool) -> Option<&'static str> {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        // A character that the end of what we look at cuts in two is none of the file's faults.
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(&first[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}');
    if text.is_empty() || text.chars().any(is_control) {
        return None;
    }
    Some(markup(&text.trim_start().to_ascii_lowercase()).unwrap_or("text/plain"))
}

/// What kind of markup lower-case text is, in doubt the more dangerous one.
fn markup(text: &str) -> Option<&'static str> {
    if !text.starts_with('<') {
        return None;
    }
    if text.starts_with("<svg") || text.contains("<svg") && !begins_page(text) {
        Some("image/svg+xml")
    } else if begins_page(text) || text.contains("<html") || text.contains("<script") {
        Some("text/html")
    } else if text.starts_with("<?")
        || text.starts_with("<!")
        || text[1..].starts_with(char::is_alphabetic)
    {
        Some("application/xml")
    } else {
        None
    }
}

/// Whether one of the tags of a page stands first; a tag's name ends there.
fn begins_page(text: &str) -> bool {
    PAGE.iter().any(|tag| {
        text.strip_prefix(tag).is_some_and(|rest| {
            tag.ends_with("--")
                || rest.is_empty()
                || rest.starts_with([' ', '>', '/', '\n', '\r', '\t', '\u{c}'])
        })
    })
}
