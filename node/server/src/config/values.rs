//! Values with a meaning of their own: pins, addresses between homes, the public URL.

use std::fmt;

use homing_wire::{HomeId, HomeName};

use super::settings::{Bounds, Expected, Found, Setting, quoted};

/// A home's Ed25519 public key, written in base64 as in `/.well-known/homing`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(pub [u8; 32]);

/// A text is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identity is an Ed25519 public key in base64, 44 characters, as in /.well-known/homing")]
pub struct IdentityError;

impl Identity {
    /// The home that it is the identity of.
    pub fn home_id(&self) -> HomeId {
        HomeId::of_identity(&self.0)
    }
}

impl std::str::FromStr for Identity {
    type Err = IdentityError;

    /// Takes the standard alphabet and the one for URLs, with or without padding.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let plain = text.trim().trim_end_matches('=').replace('-', "+").replace('_', "/");
        let bytes =
            data_encoding::BASE64_NOPAD.decode(plain.as_bytes()).map_err(|_| IdentityError)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| IdentityError)?;
        ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| IdentityError)?;
        Ok(Self(key))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::BASE64.encode(&self.0))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A multiaddress that can be listened on or dialled: `/ip4|ip6|dns…/HOST/tcp/PORT` or `…/udp/PORT/quic-v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress(String);

impl PeerAddress {
    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port, for a look at whether anybody answers; `None` for other forms.
    pub fn host_and_port(&self) -> Option<(String, u16)> {
        let mut parts = self.0.split('/').skip(1);
        let (_kind, host, _transport, port) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some((host.to_owned(), port.parse().ok()?))
    }

    /// Whether it is reached by TCP.
    pub fn is_tcp(&self) -> bool {
        self.0.split('/').nth(3) == Some("tcp")
    }
}

impl std::str::FromStr for PeerAddress {
    type Err = homing_net::AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        homing_net::check_address(text).map(|()| Self(text.to_owned()))
    }
}

impl Setting for PeerAddress {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        found.text().and_then(|text| text.parse().ok()).ok_or_else(|| {
            Expected::new(
                "a multiaddress such as \"/ip4/0.0.0.0/udp/7400/quic-v1\" or \"/dns/acme.example/tcp/7400\"",
            )
        })
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// A text that stands in no log.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

impl Setting for Hidden {
    fn read(found: &Found, bounds: &Bounds) -> Result<Self, Expected> {
        String::read(found, bounds).map(Self)
    }

    fn toml(&self) -> Option<String> {
        // Only the default is ever written.
        Some(quoted(""))
    }
}

/// Where clients reach the bridge from outside: `https://HOST[:PORT]`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// As written, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for PublicUrl {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        let text = found.text().unwrap_or_default().trim_end_matches('/');
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(host)
                if !host.is_empty()
                    && host.bytes().all(|b| {
                        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']')
                    }) =>
            {
                Ok(Self(text.to_owned()))
            }
            Some(_) | None => {
                Err(Expected::new("a URL without a path, such as \"https://chat.acme.example\""))
            }
        }
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
}

/// How long something is kept: a whole number of days, hours, minutes or seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    number: u32,
    unit: char,
}

impl Age {
    /// One hour.
    pub(crate) const HOUR: Self = Self { number: 1, unit: 'h' };

    /// In milliseconds.
    pub fn ms(self) -> u64 {
        let unit = match self.unit {
            'd' => 86_400_000,
            'h' => 3_600_000,
            'm' => 60_000,
            _ => 1_000,
        };
        u64::from(self.number) * unit
    }
}

impl Setting for Age {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        let text = found.text().unwrap_or_default().trim();
        let unit = text.chars().last().filter(|unit| "dhms".contains(*unit));
        let number = text.get(..text.len().saturating_sub(1)).and_then(|n| n.parse().ok());
        match (number, unit) {
            (Some(number @ 1..=100_000), Some(unit)) => Ok(Self { number, unit }),
            (Some(_) | None, _) => Err(Expected::new(
                "an age such as \"365d\", in days, hours (h), minutes (m) or seconds (s)",
            )),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&format!("{}{}", self.number, self.unit)))
    }
}

/// A home whose name the operator vouches for.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// Its name.
    pub home: HomeName,
    /// Its identity key.
    pub identity: Identity,
    /// Where to reach it, until its record says more.
    pub addresses: Vec<PeerAddress>,
}

const PIN: &str = "a table with home (a DNS name), identity (base64, as in /.well-known/homing) and addresses (an array of multiaddresses)";

impl Setting for Pin {
    fn read(found: &Found, bounds: &Bounds) -> Result<Self, Expected> {
        let Found::Table(entries) = found else { return Err(Expected::new(PIN)) };
        let (mut home, mut identity, mut addresses) = (None, None, Vec::new());
        for entry in entries {
            let inside = |Expected(what)| Expected(format!("{} to be {what}", entry.key));
            match entry.key.as_str() {
                "home" => home = Some(HomeName::read(&entry.value, bounds).map_err(inside)?),
                "identity" => {
                    let text = entry.value.text().unwrap_or_default();
                    identity = Some(text.parse::<Identity>().map_err(|_| {
                        inside(Expected::new(
                            "an Ed25519 public key in base64, as in /.well-known/homing",
                        ))
                    })?);
                }
                "addresses" => addresses = Vec::read(&entry.value, bounds).map_err(inside)?,
                other => return Err(Expected(format!("{PIN}, and no \"{other}\""))),
            }
        }
        match (home, identity) {
            (Some(home), Some(identity)) => Ok(Self { home, identity, addresses }),
            (None, _) | (_, None) => Err(Expected::new(PIN)),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(format!(
            "{{ home = {}, identity = {}, addresses = {} }}",
            quoted(self.home.as_str()),
            quoted(&self.identity.to_string()),
            self.addresses.toml()?,
        ))
    }
}
