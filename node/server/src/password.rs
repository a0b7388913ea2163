//! Passwords: Argon2id. Everything here blocks for about 20 ms: run it in a bounded pool.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::token::{NoRandomness, random};

/// Memory of one hash in KiB. With [`PASSES`] and [`LANES`] the second of the equally strong choices of
/// the OWASP Password Storage Cheat Sheet ("Argon2id": m=19456, t=2, p=1).
pub const MEMORY_KIB: u32 = 19_456;
/// Passes over the memory.
pub const PASSES: u32 = 2;
/// Lanes: one, so that the pool alone decides how many processors are used.
pub const LANES: u32 = 1;
/// Salt, as RFC 9106 (section 3.1) recommends.
const SALT_BYTES: usize = 16;

/// Characters a password has at least (NIST SP 800-63B, section 5.1.1.1).
pub const LEAST_CHARS: usize = 8;
/// Bytes it has at most: a passphrase fits, a flood does not.
pub const MOST_BYTES: usize = 1_024;

/// Why a password is not taken, or could not be hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short, too long, or holds a NUL.
    #[error("a password has {LEAST_CHARS} characters at least and {MOST_BYTES} bytes at most")]
    Weak,
    /// No salt could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The hash failed.
    #[error("cannot hash a password: {0}")]
    Hash(String),
}

impl PasswordError {
    /// The stable word for the API and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Weak => "weak_password",
            Self::NoRandomness(e) => e.reason(),
            Self::Hash(_) => "password_hash",
        }
    }
}

/// Whether a password may be chosen.
pub fn check(password: &str) -> Result<(), PasswordError> {
    let chars = password.chars().count();
    if chars < LEAST_CHARS || password.len() > MOST_BYTES || password.contains('\0') {
        return Err(PasswordError::Weak);
    }
    Ok(())
}

/// Checks and hashes a password; the answer is a PHC string with its own salt and parameters. Blocks.
pub fn hash(password: &str) -> Result<String, PasswordError> {
    check(password)?;
    let wrong = |e: argon2::password_hash::Error| PasswordError::Hash(e.to_string());
    let salt = SaltString::encode_b64(&random::<SALT_BYTES>()?).map_err(wrong)?;
    Ok(argon2id().hash_password(password.as_bytes(), &salt).map_err(wrong)?.to_string())
}

/// Whether `password` is the one of `stored`. For a user that does not exist (`None`), or whose hash is
/// empty, the same work is done and the answer is no. Blocks.
pub fn verify(password: &str, stored: Option<&str>) -> bool {
    // What no password can be costs no work, whoever the user is.
    if password.len() > MOST_BYTES {
        return false;
    }
    let known = stored.and_then(|text| PasswordHash::new(text).ok());
    let is_known = known.is_some();
    let hash = match known {
        Some(hash) => Some(hash),
        None => DUMMY.as_deref().and_then(|text| PasswordHash::new(text).ok()),
    };
    let matches =
        hash.is_some_and(|hash| argon2id().verify_password(password.as_bytes(), &hash).is_ok());
    matches && is_known
}

/// Whether a text is a hash made here: an Argon2id PHC string with all its parts.
pub fn is_hash(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| {
        hash.algorithm == Algorithm::Argon2id.ident() && hash.salt.is_some() && hash.hash.is_some()
    })
}

/// What is verified for users that do not exist.
static DUMMY: LazyLock<Option<String>> = LazyLock::new(|| hash("nobody has this password").ok());

fn argon2id() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .expect("the parameters are constants within the bounds of RFC 9106");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_alone() {
        let stored = hash("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(is_hash(&stored));
        assert!(verify("correct horse", Some(&stored)));
        assert!(!verify("correct horsf", Some(&stored)));
        assert_ne!(hash("correct horse").unwrap(), stored, "salted");
    }

    #[test]
    fn nobody_gets_in_without_an_account() {
        assert!(!verify("nobody has this password", None));
        assert!(!verify("nobody has this password", Some("")));
        assert!(DUMMY.is_some(), "the work is done for unknown users too");
    }

    #[test]
    fn weak_passwords_are_refused() {
        for weak in ["", "1234567", "nul\0inside", &"x".repeat(1_025)] {
            assert_eq!(check(weak), Err(PasswordError::Weak));
        }
        for good in ["12345678", "äöüäöüäö", &"x".repeat(1_024)] {
            assert_eq!(check(good), Ok(()));
        }
    }

    #[test]
    fn other_hashes_are_not_taken_for_ours() {
        for other in [
            "",
            "plain text",
            "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
            "$argon2id$v=19$m=8,t=1,p=1",
        ] {
            assert!(!is_hash(other), "{other}");
        }
    }
}
