//! The configuration: one TOML file, every key also as `HOMING_SECTION__KEY`.
//!
//! Each section is declared once (`sections`, `limits`): its keys, their types, defaults, bounds and
//! what they are for. Reading, refusing and the sample come from that declaration.

mod limits;
mod sample;
mod sections;
mod settings;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use limits::Limits;
pub use sample::{render, sample};
pub use sections::{
    ADMIN_ADDRESS, Admin, Bridge, Engine, Federation, FederationMode, FirstContact, Format, Groups,
    HTTP_ADDRESS, Home, Level, Link, Log, Media, MediaStore, P2P_PORT, P2p, Push, Registration,
    RegistrationMode, Retention, Search, Store, Testing, p2p_listen,
};
pub use settings::Expected;
pub use values::{Age, Hidden, Identity, IdentityError, PeerAddress, Pin, PublicUrl};

use settings::{Entry, Found, Key, Section};

/// The configuration file's name in a home's directory.
pub const FILE_NAME: &str = "homing.toml";

/// The start of every variable that is a key: `HOMING_` and, later in the name, `__`.
const PREFIX: &str = "HOMING_";

/// A home's configuration, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// This home.
    pub home: Home,
    /// What clients connect to.
    pub bridge: Bridge,
    /// What other homes connect to.
    pub p2p: P2p,
    /// The operator's door.
    pub admin: Admin,
    /// Bridges that run apart.
    pub link: Link,
    /// Where messages are kept.
    pub store: Store,
    /// Finding messages.
    pub search: Search,
    /// New accounts.
    pub registration: Registration,
    /// Other homes.
    pub federation: Federation,
    /// Groups.
    pub groups: Groups,
    /// Files.
    pub media: Media,
    /// Web Push.
    pub push: Push,
    /// How long things are kept.
    pub retention: Retention,
    /// What things may cost.
    pub limits: Limits,
    /// The log.
    pub log: Log,
    /// For tests alone.
    pub testing: Testing,
}

/// Where a key was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, at that line.
    Line(PathBuf, usize),
    /// In an environment variable.
    Variable(String),
    /// Nowhere in particular in the file.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{place}: not TOML: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// No such section, or a key outside of all.
    #[error("{place}: unknown section [{name}]{hint}; expected one of {expected}")]
    UnknownSection {
        /// Where.
        place: Place,
        /// As found.
        name: String,
        /// The nearest, as a question.
        hint: String,
        /// All there are.
        expected: String,
    },
    /// No such key in that section.
    #[error("{place}: unknown key {section}.{key}{hint}")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The section.
        section: &'static str,
        /// As found.
        key: String,
        /// The nearest, as a question, or all there are.
        hint: String,
    },
    /// The value cannot be.
    #[error("{place}: {key}: expected {expected}, found {found}")]
    Wrong {
        /// Where.
        place: Place,
        /// `section.key`.
        key: String,
        /// What would do.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A key without a default is not set.
    #[error("{place}: {key} is not set; expected {expected}")]
    Missing {
        /// Where it could be set.
        place: Place,
        /// `section.key`.
        key: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// Two keys that cannot go together.
    #[error("{place}: {message}")]
    Contradiction {
        /// The file.
        place: Place,
        /// Which, and why.
        message: String,
    },
}

impl ConfigError {
    /// The stable word for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } => "config_unreadable",
            Self::Syntax { .. } => "config_syntax",
            Self::UnknownSection { .. } => "config_unknown_section",
            Self::UnknownKey { .. } => "config_unknown_key",
            Self::Wrong { .. } => "config_wrong_value",
            Self::Missing { .. } => "config_missing_key",
            Self::Contradiction { .. } => "config_contradiction",
        }
    }
}

/// Calls `$do!(field)` for every section, in the order of the sample.
macro_rules! each_section {
    ($do:ident) => {
        $do!(home);
        $do!(bridge);
        $do!(p2p);
        $do!(admin);
        $do!(link);
        $do!(store);
        $do!(search);
        $do!(registration);
        $do!(federation);
        $do!(groups);
        $do!(media);
        $do!(push);
        $do!(retention);
        $do!(limits);
        $do!(log);
        $do!(testing);
    };
}

/// Bytes in the journal of a contact or block that is removed: both names may have 64 characters.
const LISTED_BYTES: u64 = 168;

impl Config {
    /// Reads `path`, then the environment of this process, which wins.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(
            path,
            std::env::vars_os().map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            }),
        )
    }

    /// As [`Config::load`], with the variables given.
    pub fn load_with(
        path: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path, variables)
    }

    /// Reads the text of a file that stands (or will) at `path`.
    pub fn parse(
        text: &str,
        path: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut named = config.read_file(text, path)?;
        named |= config.read_variables(variables)?;
        if !named {
            return Err(ConfigError::Missing {
                place: Place::File(path.to_owned()),
                key: "home.name",
                expected: "a DNS name, such as \"acme.example\"",
            });
        }
        if config.home.data.is_relative() {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            let joined = folder.unwrap_or(Path::new(".")).join(&config.home.data);
            // Without the inner dots, so that messages name files as people would.
            config.home.data = joined.components().collect();
        }
        if let Some(media) = config.media.folder.as_mut().filter(|media| media.is_relative()) {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            *media = folder.unwrap_or(Path::new(".")).join(&*media).components().collect();
        }
        config.check(path)?;
        Ok(config)
    }

    /// The keys whose values differ, as `section.key`.
    pub fn changed_keys(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.sections(), other.sections());
        let mut changed = Vec::new();
        for (section, others) in ours.iter().zip(&theirs) {
            for (key, other) in section.keys.iter().zip(&others.keys) {
                if key.value != other.value {
                    changed.push(format!("{}.{}", section.name, key.name));
                }
            }
        }
        changed
    }

    /// The directory of the home's secret keys.
    pub fn keys_folder(&self) -> PathBuf {
        self.home.data.join("keys")
    }

    /// The directory of the store.
    pub fn store_folder(&self) -> PathBuf {
        self.home.data.join("store")
    }

    /// The directory of files.
    pub fn media_folder(&self) -> PathBuf {
        self.media.folder.clone().unwrap_or_else(|| self.home.data.join("media"))
    }

    /// The directory of the search index.
    pub fn search_folder(&self) -> PathBuf {
        self.home.data.join("search")
    }

    /// The file of the admin token.
    pub fn admin_token_file(&self) -> PathBuf {
        self.home.data.join("admin.token")
    }

    /// Returns whether the home's name is set.
    fn read_file(&mut self, text: &str, path: &Path) -> Result<bool, ConfigError> {
        let line = |at: usize| Place::Line(path.to_owned(), line_of(text, at));
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: error
                .span()
                .map_or_else(|| Place::File(path.to_owned()), |span| line(span.start)),
            message: error.message().replace('\n', ", "),
        })?;
        let mut named = false;
        for Entry { key: section, at, value } in settings::entries(table.get_ref()) {
            let place = line(at);
            let Found::Table(entries) = &value else {
                return Err(match known_section(&section, place.clone()) {
                    Ok(_) => ConfigError::Wrong {
                        place,
                        expected: format!("a section, [{section}]"),
                        found: value.shown(),
                        key: section,
                    },
                    Err(error) => error,
                });
            };
            let section = known_section(&section, place)?;
            for Entry { key, at, value } in entries {
                self.set(section, key, value, &line(*at))?;
                named |= section == Home::NAME && key == "name";
            }
        }
        Ok(named)
    }

    /// Returns whether the home's name is set.
    fn read_variables(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<bool, ConfigError> {
        // In a fixed order, so that of several mistakes the same one is named each time.
        let mut ours: Vec<(String, String)> =
            variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        ours.sort();
        let mut named = false;
        for (name, value) in ours {
            // Without the double underscore it is not ours to judge: other programs have names too.
            let Some((section, key)) = name[PREFIX.len()..].split_once("__") else { continue };
            let place = Place::Variable(name.clone());
            let section = known_section(&section.to_ascii_lowercase(), place.clone())?;
            let key = key.to_ascii_lowercase();
            self.set(section, &key, &Found::Word(value), &place)?;
            named |= section == Home::NAME && key == "name";
        }
        Ok(named)
    }

    fn set(
        &mut self,
        section: &'static str,
        key: &str,
        value: &Found,
        place: &Place,
    ) -> Result<(), ConfigError> {
        let mut done = None;
        macro_rules! set {
            ($field:ident) => {
                if stringify!($field) == section {
                    done = self.$field.set(key, value);
                }
            };
        }
        each_section!(set);
        match done {
            Some(Ok(())) => Ok(()),
            Some(Err(Expected(expected))) => Err(ConfigError::Wrong {
                place: place.clone(),
                key: format!("{section}.{key}"),
                expected,
                found: value.shown(),
            }),
            None => {
                let known: Vec<&str> = self
                    .sections()
                    .iter()
                    .filter(|s| s.name == section)
                    .flat_map(|s| s.keys.iter().map(|k| k.name))
                    .collect();
                let hint = if known.is_empty() {
                    format!("; [{section}] has no keys yet")
                } else if known.len() <= 6 {
                    format!("{}; expected one of {}", nearest(key, &known), known.join(", "))
                } else {
                    nearest(key, &known)
                };
                Err(ConfigError::UnknownKey {
                    place: place.clone(),
                    section,
                    key: key.to_owned(),
                    hint,
                })
            }
        }
    }

    /// What single keys cannot know.
    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |message: String| {
            Err(ConfigError::Contradiction { place: Place::File(path.to_owned()), message })
        };
        let l = &self.limits;
        let above = [
            ("silence_ms", l.silence_ms, "ping_ms", l.ping_ms),
            ("online_ms", l.online_ms, "ping_ms", l.ping_ms),
            ("relay_deadline_ms", l.relay_deadline_ms, "heartbeat_ms", l.heartbeat_ms),
        ];
        for (greater, more, lesser, less) in above {
            if more <= less {
                return wrong(format!(
                    "limits.{greater} ({more}) must be more than limits.{lesser} ({less})"
                ));
            }
        }
        if l.backoff_max_ms < l.backoff_min_ms {
            return wrong(format!(
                "limits.backoff_max_ms ({}) must not be less than limits.backoff_min_ms ({})",
                l.backoff_max_ms, l.backoff_min_ms
            ));
        }
        if l.relay_window_bytes < l.relay_frame_bytes {
            return wrong(format!(
                "limits.relay_window_bytes ({}) must hold a frame: at least limits.relay_frame_bytes ({})",
                l.relay_window_bytes, l.relay_frame_bytes
            ));
        }
        if ((l.gossip_bytes_per_s / 4) as usize) < l.gossip_message_bytes {
            return wrong(format!(
                "limits.gossip_bytes_per_s ({}) must hold four messages: at least 4 × limits.gossip_message_bytes ({})",
                l.gossip_bytes_per_s, l.gossip_message_bytes
            ));
        }
        if !self.store.segment_bytes.is_multiple_of(4_096) {
            return wrong(format!(
                "store.segment_bytes ({}) must be a multiple of 4096",
                self.store.segment_bytes
            ));
        }
        // Who deletes the account deletes both lists in one batch, and a batch is in one file.
        let lists = ((l.contacts + l.blocks) as u64).saturating_mul(LISTED_BYTES);
        if lists > self.store.segment_bytes / 2 {
            return wrong(format!(
                "store.segment_bytes ({}) must hold limits.contacts ({}) and limits.blocks ({}) twice: at least {}",
                self.store.segment_bytes,
                l.contacts,
                l.blocks,
                (2 * lists).next_multiple_of(4_096)
            ));
        }
        // An address of port 0 is taken by the system, so two of them never collide.
        if self.bridge.listen == self.admin.listen && self.admin.listen.port() != 0 {
            return wrong(format!(
                "bridge.listen and admin.listen are both {}: expected two addresses",
                self.admin.listen
            ));
        }
        if self.p2p.announce.len() > homing_wire::limits::NODE_ADDRESSES {
            return wrong(format!(
                "p2p.announce has {} addresses: a home record takes {}",
                self.p2p.announce.len(),
                homing_wire::limits::NODE_ADDRESSES
            ));
        }
        let pins = &self.federation.pin;
        for (n, pin) in pins.iter().enumerate() {
            if pin.home == self.home.name {
                return wrong(format!("federation.pin names {}, which is this home", pin.home));
            }
            if pins[..n].iter().any(|p| p.home == pin.home) {
                return wrong(format!("federation.pin names {} twice", pin.home));
            }
            if let Some(other) = pins[..n].iter().find(|p| p.identity == pin.identity) {
                return wrong(format!(
                    "federation.pin gives {} and {} the same identity",
                    other.home, pin.home
                ));
            }
        }
        Ok(())
    }

    fn sections(&self) -> Vec<SectionView> {
        let mut views = Vec::new();
        macro_rules! view {
            ($field:ident) => {
                views.push(SectionView::of(&self.$field));
            };
        }
        each_section!(view);
        views
    }
}

/// A section with its values, as the sample shows it.
struct SectionView {
    name: &'static str,
    about: &'static [&'static str],
    keys: Vec<Key>,
}

impl SectionView {
    fn of<S: Section>(section: &S) -> Self {
        Self { name: S::NAME, about: S::ABOUT, keys: section.keys() }
    }
}

fn known_section(name: &str, place: Place) -> Result<&'static str, ConfigError> {
    let names: Vec<&'static str> = Config::default().sections().iter().map(|s| s.name).collect();
    names.iter().find(|known| **known == name).copied().ok_or_else(|| ConfigError::UnknownSection {
        place,
        name: name.to_owned(),
        hint: nearest(name, &names),
        expected: names.join(", "),
    })
}

/// "; did you mean …?", where a known name is close.
fn nearest(name: &str, known: &[&str]) -> String {
    /// More than this many letters wrong is another word.
    const LETTERS: usize = 3;
    known
        .iter()
        .map(|k| (distance(name, k), k))
        .filter(|(d, _)| *d <= LETTERS.min(name.chars().count().saturating_sub(1)))
        .min()
        .map(|(_, k)| format!("; did you mean {k}?"))
        .unwrap_or_default()
}

/// How many letters must be changed, added or left out (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// The line of a byte, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
