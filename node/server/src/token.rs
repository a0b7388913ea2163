//! Secrets that stand for somebody: bearer tokens, invites, the operator's token. Stored hashed.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use homing_core::TokenHash;
use rand::TryRngCore as _;
use rand::rngs::OsRng;

/// Random bytes of a token: 256 bits are beyond guessing and need no slow hash.
const TOKEN_BYTES: usize = 32;
/// Random bytes of an invite, of which 100 bits are used.
const INVITE_BYTES: usize = 13;
/// Characters of an invite, 5 bits each, in groups of five: 100 bits that people can read out.
const INVITE_CHARS: usize = 20;
const GROUP: usize = 5;

/// The operating system gave no randomness: nothing secret can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no randomness: {0}")]
pub struct NoRandomness(String);

impl NoRandomness {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        "no_randomness"
    }
}

/// `N` bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|e| NoRandomness(e.to_string()))?;
    Ok(bytes)
}

/// A fresh bearer token, 43 characters.
pub fn new_token() -> Result<String, NoRandomness> {
    Ok(BASE64URL_NOPAD.encode(&random::<TOKEN_BYTES>()?))
}

/// What is stored of a token. Looked up by hash, so no comparison can be timed.
pub fn token_hash(token: &str) -> TokenHash {
    TokenHash(*blake3::hash(token.as_bytes()).as_bytes())
}

/// A fresh invite, such as `kq3mz-7xw2a-bn4ce-tv5pd`.
pub fn new_invite() -> Result<String, NoRandomness> {
    let text = BASE32_NOPAD.encode(&random::<INVITE_BYTES>()?).to_ascii_lowercase();
    let groups: Vec<&str> =
        (0..INVITE_CHARS).step_by(GROUP).map(|at| &text[at..at + GROUP]).collect();
    Ok(groups.join("-"))
}

/// What is stored of an invite, however it was typed: hyphens, blanks and upper case do not matter.
pub fn invite_hash(invite: &str) -> TokenHash {
    let plain: String = invite
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    token_hash(&plain)
}

/// The part of an invite by which an operator tells it from others: 25 of its 100 bits.
pub fn invite_hint(invite: &str) -> String {
    invite.chars().take(GROUP).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_have_256_bits() {
        let (a, b) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(a, b);
        assert_eq!(BASE64URL_NOPAD.decode(a.as_bytes()).unwrap().len(), 32);
        assert_ne!(token_hash(&a), token_hash(&b));
    }

    #[test]
    fn an_invite_may_be_typed_carelessly() {
        let invite = new_invite().unwrap();
        assert_eq!(invite.len(), 23);
        let typed = format!(" {} ", invite.to_uppercase().replace('-', " "));
        assert_eq!(invite_hash(&typed), invite_hash(&invite));
        assert_ne!(invite_hash(&invite), invite_hash(&new_invite().unwrap()));
        assert_eq!(invite_hint(&invite), invite[..5]);
    }
}
