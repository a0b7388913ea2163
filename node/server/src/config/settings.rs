//! What a key's value can be: read from the file or the environment, checked, written as TOML.
//!
//! [`section!`] declares a section once; parsing, the defaults and the sample all come from it.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use homing_wire::{HomeName, HomeRef};
use toml::de::{DeTable, DeValue};

/// A value as it was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i128),
    /// A TOML float.
    Float(f64),
    /// A TOML boolean.
    Bool(bool),
    /// A TOML array.
    List(Vec<Found>),
    /// A TOML table.
    Table(Vec<Entry>),
    /// A TOML date or time, which no key takes.
    Time(String),
    /// The text of an environment variable: read as whatever the key takes.
    Word(String),
}

/// A key of a table, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key begins, in bytes from the start of the text.
    pub(crate) at: usize,
    pub(crate) value: Found,
}

/// What was expected where something else was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(pub(crate) String);

impl Expected {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The bounds of a number, both included.
pub(crate) type Bounds = Option<RangeInclusive<u64>>;

/// A value that a key can have.
pub(crate) trait Setting: Sized {
    /// Reads and checks it. `bounds` are for numbers.
    fn read(found: &Found, bounds: &Bounds) -> Result<Self, Expected>;
    /// As TOML; `None`: not set.
    fn toml(&self) -> Option<String>;
}

/// What a section can be asked about its keys.
pub(crate) trait Section: Default {
    const NAME: &'static str;
    /// What the section is for, as lines.
    const ABOUT: &'static [&'static str];
    /// All keys with what they are for and their values here.
    fn keys(&self) -> Vec<Key>;
    /// Sets a key; `None`: there is no such key.
    fn set(&mut self, key: &str, found: &Found) -> Option<Result<(), Expected>>;
}

/// A key of a section.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// What it is for, and why the default is what it is, as lines.
    pub(crate) about: &'static [&'static str],
    /// As TOML; `None`: not set.
    pub(crate) value: Option<String>,
}

/// Declares a section: `key: Type = default, in least..=greatest;`, its documentation is the sample's.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident = $section:literal {
            $(
                $(#[doc = $doc:literal])+
                $key:ident : $type:ty = $default:expr $(, in $bounds:expr)? ;
            )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $key: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $crate::config::settings::Section for $name {
            const NAME: &'static str = $section;
            const ABOUT: &'static [&'static str] = &[$($about),+];

            fn keys(&self) -> Vec<$crate::config::settings::Key> {
                vec![
                    $( $crate::config::settings::Key {
                        name: stringify!($key),
                        about: &[$($doc),+],
                        value: <$type as $crate::config::settings::Setting>::toml(&self.$key),
                    }, )*
                ]
            }

            fn set(
                &mut self,
                key: &str,
                found: &$crate::config::settings::Found,
            ) -> Option<Result<(), $crate::config::settings::Expected>> {
                let _ = found;
                match key {
                    $( stringify!($key) => {
                        #[allow(unused_mut, unused_assignments)]
                        let mut bounds: $crate::config::settings::Bounds = None;
                        $( bounds = Some($bounds); )?
                        Some(
                            <$type as $crate::config::settings::Setting>::read(found, &bounds)
                                .map(|value| self.$key = value),
                        )
                    } )*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use section;

/// Declares an enum whose values are words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// The word for it in the configuration.
            pub fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl $crate::config::settings::Setting for $name {
            fn read(
                found: &$crate::config::settings::Found,
                _bounds: &$crate::config::settings::Bounds,
            ) -> Result<Self, $crate::config::settings::Expected> {
                match found.text() {
                    $( Some($word) => Ok(Self::$variant), )+
                    Some(_) | None => Err($crate::config::settings::Expected::new(
                        format!("one of {}", [$(concat!("\"", $word, "\"")),+].join(", ")),
                    )),
                }
            }

            fn toml(&self) -> Option<String> {
                Some(format!("\"{}\"", self.word()))
            }
        }
    };
}
pub(crate) use choice;

impl Found {
    pub(crate) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Self::Time(number.to_string()), Self::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Self::Time(number.to_string()), Self::Float)
            }
            DeValue::Boolean(value) => Self::Bool(*value),
            DeValue::Datetime(time) => Self::Time(time.to_string()),
            DeValue::Array(items) => {
                Self::List(items.iter().map(|item| Self::of(item.get_ref())).collect())
            }
            DeValue::Table(table) => Self::Table(entries(table)),
        }
    }

    /// The text of a string, or of a variable.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) => Some(text),
            Self::Integer(_)
            | Self::Float(_)
            | Self::Bool(_)
            | Self::List(_)
            | Self::Table(_)
            | Self::Time(_) => None,
        }
    }

    /// As people would write it, cut where it is long.
    pub(crate) fn shown(&self) -> String {
        let text = match self {
            Self::Text(text) | Self::Word(text) => format!("\"{text}\""),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Time(text) => text.clone(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::shown).collect::<Vec<_>>().join(", "))
            }
            Self::Table(_) => "a table".to_owned(),
        };
        let mut short: String = text.chars().take(80).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        short
    }

    /// The items of an array. A variable holds them as TOML, or with commas between.
    fn items(&self) -> Result<Vec<Self>, Expected> {
        match self {
            Self::List(items) => Ok(items.clone()),
            Self::Word(text) if text.trim_start().starts_with('[') => {
                match DeValue::parse(text.trim()) {
                    Ok(value) => Self::of(value.get_ref()).items(),
                    Err(error) => Err(Expected::new(format!("a TOML array ({})", error.message()))),
                }
            }
            Self::Word(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Self::Text(item.to_owned()))
                .collect()),
            Self::Text(_)
            | Self::Integer(_)
            | Self::Float(_)
            | Self::Bool(_)
            | Self::Table(_)
            | Self::Time(_) => Err(Expected::new("an array, such as [\"a\", \"b\"]")),
        }
    }
}

/// The keys of a table in the order of the text.
pub(crate) fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            at: key.span().start,
            value: Found::of(value.get_ref()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.at);
    entries
}

/// A TOML string.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

macro_rules! whole_number {
    ($($type:ty),+) => { $(
        impl Setting for $type {
            fn read(found: &Found, bounds: &Bounds) -> Result<Self, Expected> {
                let (least, most) = bounds
                    .as_ref()
                    .map_or((0, u64::from(u32::MAX)), |b| (*b.start(), *b.end()));
                let number = match found {
                    Found::Integer(number) => Some(*number),
                    Found::Word(text) => text.trim().replace('_', "").parse().ok(),
                    Found::Text(_) | Found::Float(_) | Found::Bool(_) | Found::List(_)
                    | Found::Table(_) | Found::Time(_) => None,
                };
                number
                    .filter(|n| (i128::from(least)..=i128::from(most)).contains(n))
                    .and_then(|n| <$type>::try_from(n).ok())
                    .ok_or_else(|| Expected::new(format!("a whole number from {least} to {most}")))
            }

            fn toml(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )+ };
}
whole_number!(u32, u64, usize);

/// Within a year of zero; has no bounds of its own.
impl Setting for i64 {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        const MOST: i128 = 365 * 86_400_000;
        let number = match found {
            Found::Integer(number) => Some(*number),
            Found::Word(text) => text.trim().replace('_', "").parse().ok(),
            Found::Text(_)
            | Found::Float(_)
            | Found::Bool(_)
            | Found::List(_)
            | Found::Table(_)
            | Found::Time(_) => None,
        };
        number
            .filter(|n| (-MOST..=MOST).contains(n))
            .and_then(|n| Self::try_from(n).ok())
            .ok_or_else(|| Expected::new(format!("a whole number from -{MOST} to {MOST}")))
    }

    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A share, from above 0 to 1.
impl Setting for f64 {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        let number = match found {
            Found::Float(number) => Some(*number),
            Found::Integer(1) => Some(1.0),
            Found::Word(text) => text.trim().parse().ok(),
            Found::Integer(_)
            | Found::Text(_)
            | Found::Bool(_)
            | Found::List(_)
            | Found::Table(_)
            | Found::Time(_) => None,
        };
        number
            .filter(|n: &f64| *n > 0.0 && *n <= 1.0)
            .ok_or_else(|| Expected::new("a share above 0 and up to 1, such as 0.5"))
    }

    fn toml(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Setting for bool {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        match found {
            Found::Bool(value) => Ok(*value),
            Found::Word(text) if text == "true" => Ok(true),
            Found::Word(text) if text == "false" => Ok(false),
            Found::Word(_)
            | Found::Text(_)
            | Found::Integer(_)
            | Found::Float(_)
            | Found::List(_)
            | Found::Table(_)
            | Found::Time(_) => Err(Expected::new("true or false")),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for SocketAddr {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        found
            .text()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Expected::new("an IP address and a port, such as \"127.0.0.1:8080\""))
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Setting for String {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        found.text().map(ToOwned::to_owned).ok_or_else(|| Expected::new("a text"))
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Setting for PathBuf {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        match found.text() {
            Some(text) if !text.is_empty() => Ok(Self::from(text)),
            Some(_) | None => Err(Expected::new("a path, such as \"/var/lib/homing\"")),
        }
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Setting for HomeName {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        found.text().and_then(|text| text.parse().ok()).ok_or_else(|| {
            Expected::new("a DNS name of two labels or more, such as \"acme.example\"")
        })
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(self.as_str()))
    }
}

impl Setting for HomeRef {
    fn read(found: &Found, _bounds: &Bounds) -> Result<Self, Expected> {
        found
            .text()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Expected::new("a home's DNS name, or a home id of 52 characters"))
    }

    fn toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(found: &Found, bounds: &Bounds) -> Result<Self, Expected> {
        T::read(found, bounds).map(Some)
    }

    fn toml(&self) -> Option<String> {
        self.as_ref().and_then(T::toml)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(found: &Found, bounds: &Bounds) -> Result<Self, Expected> {
        found.items()?.iter().map(|item| T::read(item, bounds)).collect::<Result<_, _>>().map_err(
            |Expected(one)| {
                if one.starts_with("an array") {
                    Expected(one)
                } else {
                    Expected(format!("an array, each {one}"))
                }
            },
        )
    }

    fn toml(&self) -> Option<String> {
        Some(format!("[{}]", self.iter().filter_map(T::toml).collect::<Vec<_>>().join(", ")))
    }
}
