//! Addresses: what people type, and what a home holds for it. One user has one canonical form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::HomeId;

/// Why a text is no address, local part or home name. `Display` says what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The local part.
    #[error("a user name has 1 to 64 of a-z 0-9 . _ - and starts with a letter or digit")]
    Local,
    /// The home.
    #[error("a home is a DNS name such as acme.example, or a home id of 52 characters")]
    Home,
    /// No `@`, or more than one.
    #[error("an address has the form user@home")]
    Form,
}

impl AddressError {
    /// The stable word for the API, metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Local => "invalid_user",
            Self::Home => "invalid_home",
            Self::Form => "invalid_address",
        }
    }
}

/// The local part of an address: 1–64 of `a-z 0-9 . _ -`, starting with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "SmolStr", into = "SmolStr")]
pub struct Local(SmolStr);

impl Local {
    /// Checks the canonical form; upper case is refused. For what comes from peers and disks.
    pub fn canonical(text: &str) -> Result<Self, AddressError> {
        let bytes = text.as_bytes();
        let first = bytes.first().ok_or(AddressError::Local)?;
        let good = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if bytes.len() > 64 || !first.is_ascii_alphanumeric() || !bytes.iter().all(good) {
            return Err(AddressError::Local);
        }
        Ok(Self(SmolStr::new(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Local {
    type Err = AddressError;

    /// Folds ASCII upper case, as people type; refuses everything else outside the alphabet.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Self::canonical(&text.to_ascii_lowercase())
        } else {
            Self::canonical(text)
        }
    }
}

impl TryFrom<SmolStr> for Local {
    type Error = AddressError;

    fn try_from(text: SmolStr) -> Result<Self, AddressError> {
        Self::canonical(&text)
    }
}

impl From<Local> for SmolStr {
    fn from(local: Local) -> Self {
        local.0
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A home's name: a DNS name in A-label form, lower case, of at least two labels.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "SmolStr", into = "SmolStr")]
pub struct HomeName(SmolStr);

impl HomeName {
    /// Checks the canonical form; upper case is refused. For what comes from peers and disks.
    pub fn canonical(text: &str) -> Result<Self, AddressError> {
        let name: Self = text.parse()?;
        if name.as_str() == text { Ok(name) } else { Err(AddressError::Home) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HomeName {
    type Err = AddressError;

    /// Folds ASCII upper case. RFC 1123, section 2.1: labels of 1–63 letters, digits and inner hyphens,
    /// 253 characters in all. The last label is not all digits, so an IPv4 address is no name.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let folded = text.to_ascii_lowercase();
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        let Some((_, last)) = folded.rsplit_once('.') else {
            return Err(AddressError::Home);
        };
        if folded.len() > 253
            || last.bytes().all(|b| b.is_ascii_digit())
            || !folded.split('.').all(label)
        {
            return Err(AddressError::Home);
        }
        Ok(Self(SmolStr::new(folded)))
    }
}

impl TryFrom<SmolStr> for HomeName {
    type Error = AddressError;

    fn try_from(text: SmolStr) -> Result<Self, AddressError> {
        Self::canonical(&text)
    }
}

impl From<HomeName> for SmolStr {
    fn from(name: HomeName) -> Self {
        name.0
    }
}

impl fmt::Display for HomeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HomeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an address names a home: by its verified name, or by its id while no name is believed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HomeRef {
    /// A DNS name. It has a dot, so it is never taken for an id.
    Name(HomeName),
    /// A home id.
    Id(HomeId),
}

impl FromStr for HomeRef {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() == HomeId::TEXT_LEN && !text.contains('.') {
            return text.parse().map(Self::Id).map_err(|_| AddressError::Home);
        }
        text.parse().map(Self::Name)
    }
}

impl fmt::Display for HomeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Id(id) => fmt::Display::fmt(id, f),
        }
    }
}

/// What people type: `alice@acme.example`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    /// Before the `@`.
    pub local: Local,
    /// After it.
    pub home: HomeRef,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local, home) = text.split_once('@').ok_or(AddressError::Form)?;
        if home.contains('@') {
            return Err(AddressError::Form);
        }
        Ok(Self { local: local.parse()?, home: home.parse()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.home)
    }
}

/// A user as homes know one: by home id, whatever the home is called. Written `local@home-id`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserRef {
    /// The user's home.
    pub home: HomeId,
    /// The name there.
    pub local: Local,
}

impl UserRef {
    /// A user of `home`.
    pub fn new(home: HomeId, local: Local) -> Self {
        Self { home, local }
    }
}

impl FromStr for UserRef {
    type Err = AddressError;

    /// The canonical form only: what homes send each other has one spelling.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (local, home) = text.split_once('@').ok_or(AddressError::Form)?;
        let id: HomeId = home.parse().map_err(|_| AddressError::Home)?;
        if home.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(AddressError::Home);
        }
        Ok(Self { home: id, local: Local::canonical(local)? })
    }
}

impl fmt::Display for UserRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.home)
    }
}

impl fmt::Debug for UserRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
