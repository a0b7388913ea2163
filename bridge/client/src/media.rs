//! Files: what is asked of the home about them, and what they may be called here.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::types::{Media, MessageRef};

/// A file's name is no longer, in bytes: what file systems take, less an ending such as `.part`.
const NAME_BYTES: usize = 240;

/// What a file is called whose name leaves nothing.
const NO_NAME: &str = "file";

/// Answer of `media.url`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MediaUrl {
    /// Whoever has it may read the file; it may be relative to the server's address.
    pub url: String,
    /// Until then, in Unix milliseconds.
    pub expires_at: u64,
}

#[derive(Deserialize)]
struct Named {
    media: Media,
}

impl Client {
    /// A file that the user has uploaded, as a body of type `media` names it.
    pub async fn media_get(&self, id: Uuid) -> Result<Media, Error> {
        let named: Named = self.call("media.get", &serde_json::json!({ "id": id })).await?;
        Ok(named.media)
    }

    /// The file of a message once more under the user's own home, to be sent on.
    pub async fn media_copy(&self, channel: Uuid, of: &MessageRef) -> Result<Media, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            channel: Uuid,
            #[serde(flatten)]
            of: &'a MessageRef,
            op: Uuid,
        }
        let params = Params { channel, of, op: Uuid::now_v7() };
        let named: Named = self.call("media.copy", &params).await?;
        Ok(named.media)
    }

    /// Where the file of a message, or a smaller image of it of about so many pixels, can be read for some minutes
    /// without a token.
    pub async fn media_url(
        &self,
        channel: Uuid,
        id: Uuid,
        sender: Option<&str>,
        thumbnail: Option<u32>,
    ) -> Result<MediaUrl, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            channel: Uuid,
            id: Uuid,
            #[serde(skip_serializing_if = "Option::is_none")]
            sender: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            thumbnail: Option<u32>,
        }
        self.call("media.url", &Params { channel, id, sender, thumbnail }).await
    }
}

/// A name that somebody gave a file, as it may be written into a folder of one's own: one part of a path, at most 240
/// bytes, that does not begin with a dot or end with one, without control characters and without those that turn the
/// direction of writing (by which an `exe` passes for a `png`). Never empty.
pub fn harmless_file_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    // The colon names a stream beside a file on some systems.
    let is_plain = |c: &char| !c.is_control() && !turns(*c) && *c != ':';
    let plain: String = last.chars().filter(is_plain).collect();
    let mut plain = plain.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
    if plain.len() > NAME_BYTES {
        // What follows the last dot says how the file is opened: it is kept where it is short.
        let (stem, ending) = match plain.rsplit_once('.') {
            Some((_, ending)) if ending.len() <= 16 => {
                (&plain[..plain.len() - ending.len() - 1], &plain[plain.len() - ending.len() - 1..])
            }
            Some(_) | None => (plain, ""),
        };
        let mut end = NAME_BYTES - ending.len();
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        return format!("{}{ending}", &stem[..end]);
    }
    plain = plain.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    if plain.is_empty() { NO_NAME.to_owned() } else { plain.to_owned() }
}

/// Characters that say in which direction others are written, or that nobody sees.
fn turns(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_stay_in_their_folder() {
        for (given, harmless) in [
            ("cat.png", "cat.png"),
            ("Jahresbericht 2025 – Entwurf.pdf", "Jahresbericht 2025 – Entwurf.pdf"),
            ("../../etc/passwd", "passwd"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            ("a/", "file"),
            ("C:\\Windows\\system.ini", "system.ini"),
            ("c:evil", "cevil"),
            (".bashrc", "bashrc"),
            (" . .ssh", "ssh"),
            ("a\0b\u{1b}[31m\n.txt", "ab[31m.txt"),
            ("gnp.\u{202e}exe", "gnp.exe"),
            ("end. . ", "end"),
            ("/", "file"),
        ] {
            assert_eq!(harmless_file_name(given), harmless, "{given:?}");
        }
        let long = harmless_file_name(&format!("{}.tar", "é".repeat(500)));
        assert!(long.len() <= NAME_BYTES && long.ends_with("é.tar"), "{long}");
        assert!(harmless_file_name(&"x".repeat(9_000)).len() <= NAME_BYTES);
    }
}
