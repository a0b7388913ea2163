//! Names of files, made harmless, and how they are said in HTTP (RFC 6266, RFC 8187).

use http::HeaderValue;
use uuid::Uuid;

/// Bytes of a name: what common file systems take.
const NAME_BYTES: usize = 255;
/// Bytes of an ending that is kept where a name is cut; what is longer is no ending.
const ENDING_BYTES: usize = 32;

/// What a file may be called on somebody's disk: the last part of a path, without what cannot be seen or turns text around.
pub(crate) fn harmless(name: Option<&str>, id: Uuid) -> String {
    let parts = name.unwrap_or_default().rsplit(['/', '\\']);
    parts.map(visible).find(|name| !name.is_empty()).unwrap_or_else(|| id.to_string())
}

/// Empty where nothing is left; so `.` and `..` are.
fn visible(part: &str) -> String {
    let name: String = part.chars().filter(|c| !is_hidden(*c)).collect();
    // Windows takes dots and spaces off the end, and with them the ending that somebody saw.
    let name = name.trim_end_matches(|c: char| c == '.' || c.is_whitespace()).trim_start();
    cut(name)
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Marks, embeddings, overrides and isolates of direction: `gpj.exe` reads as `exe.jpg`.
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
            // Without width, and ends of lines.
            | '\u{00AD}' | '\u{180E}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}'
            | '\u{2028}' | '\u{2029}')
}

fn cut(name: &str) -> String {
    if name.len() <= NAME_BYTES {
        return name.to_owned();
    }
    let ending = name.rfind('.').filter(|dot| *dot > 0).map_or("", |dot| &name[dot..]);
    let ending = if ending.len() <= ENDING_BYTES { ending } else { "" };
    let mut end = NAME_BYTES - ending.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ending}", &name[..end])
}

/// Types that a browser may show in a page: none of them can hold a script.
fn is_shown(mime: &str) -> bool {
    matches!(mime, "image/jpeg" | "image/png" | "image/gif" | "image/webp" | "image/avif")
        || mime.starts_with("audio/")
        || mime.starts_with("video/")
}

/// `Content-Disposition` of a file of this type and harmless name.
pub(crate) fn disposition(mime: &str, name: &str) -> HeaderValue {
    let how = if is_shown(mime) { "inline" } else { "attachment" };
    // What older clients read. A `%` would be decoded by some of them, and `\` is read in two ways.
    let plain: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' | '%' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    let mut value = format!("{how}; filename=\"{plain}\"; filename*=UTF-8''");
    for byte in name.bytes() {
        // attr-char of RFC 8187.
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            value.push(char::from(byte));
        } else {
            value.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderValue::from_str(&value).expect("every character of it is visible ASCII or a space")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(name: &str) -> String {
        harmless(Some(name), Uuid::nil())
    }

    #[test]
    fn only_the_last_part_of_a_path() {
        assert_eq!(clean("../../x"), "x");
        assert_eq!(clean(r"C:\Users\a\x.txt"), "x.txt");
        assert_eq!(clean("a/b\\c"), "c");
        assert_eq!(clean("folder/"), "folder");
        for nothing in ["", ".", "..", "../..", "/", "\\", " ", "\u{202E}", "\0", "..."] {
            assert_eq!(clean(nothing), Uuid::nil().to_string(), "{nothing:?}");
        }
        assert_eq!(harmless(None, Uuid::nil()), Uuid::nil().to_string());
        assert_eq!(clean(".profile"), ".profile");
    }

    #[test]
    fn nothing_hidden() {
        assert_eq!(clean("a\u{202E}gpj.exe"), "agpj.exe");
        assert_eq!(clean("in\r\nvoice\u{7f}\u{85}.pdf"), "invoice.pdf");
        assert_eq!(clean("\u{2066}x\u{2069}\u{200F}\u{061C}\u{FEFF}\u{200B}y"), "xy");
        assert_eq!(clean("run.exe. . "), "run.exe");
        assert_eq!(clean("שלום עולם.txt"), "שלום עולם.txt");
    }

    #[test]
    fn cut_at_a_character_and_the_ending_stays() {
        let long = clean(&format!("{}.jpeg", "é".repeat(150)));
        assert_eq!(long, format!("{}.jpeg", "é".repeat(125)));
        assert!(clean(&"👋".repeat(100)).len() <= NAME_BYTES);
        assert_eq!(clean(&format!("a.{}", "x".repeat(300))).len(), NAME_BYTES);
        assert_eq!(clean(&"x".repeat(255)).len(), 255);
    }

    #[test]
    fn said_twice() {
        let said = |mime, name| disposition(mime, name).to_str().unwrap().to_owned();
        assert_eq!(
            said("image/svg+xml", "a;b \"c\".svg"),
            "attachment; filename=\"a;b _c_.svg\"; filename*=UTF-8''a%3Bb%20%22c%22.svg"
        );
        assert_eq!(
            said("image/png", "naïve 100%.png"),
            "inline; filename=\"na_ve 100_.png\"; filename*=UTF-8''na%C3%AFve%20100%25.png"
        );
        assert!(said("text/html", "x.png").starts_with("attachment; "));
        assert!(said("application/pdf", "x.pdf").starts_with("attachment; "));
        assert!(said("video/mp4", "x").starts_with("inline; "));
    }

    #[test]
    fn whatever_somebody_calls_it() {
        // A small generator, the same each time.
        let mut seed = 7_u32;
        let mut next = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed >> 8
        };
        for _ in 0..20_000 {
            let chars = next() % 400;
            let name: String = (0..chars)
                .filter_map(|_| match next() % 4 {
                    0 => char::from_u32(next() % 0x80),
                    1 => char::from_u32(0x2000 + next() % 0x70),
                    2 => char::from_u32(next() % 0x11_0000),
                    _ => char::from_u32(u32::from(b"a./\\\" "[(next() % 6) as usize])),
                })
                .collect();
            let clean = clean(&name);
            assert!(!clean.is_empty() && clean.len() <= NAME_BYTES, "{name:?}");
            assert!(!clean.contains(['/', '\\', '\0', '\n', '\u{202E}']), "{name:?}");
            assert!(clean != "." && clean != "..");
            let said = disposition("text/plain", &clean);
            let said = said.to_str().unwrap();
            assert_eq!(said.matches('"').count(), 2, "{said}");
        }
    }
}
