//! How things look, with colours and without.

use ratatui::style::{Color, Modifier, Style};

/// What is drawn in a way of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// Words.
    Plain,
    /// Words that are about the user.
    Loud,
    /// Times, hints, what is beside the point.
    Quiet,
    /// The user's own name.
    Me,
    /// Somebody's name: of the address.
    Name(u8),
    /// Everybody has read it.
    Read,
    /// It was refused, or does not go on.
    Bad,
    /// What is new begins here; how much is new.
    New,
    /// Under the keys.
    Chosen,
    /// A bar.
    Bar,
    /// Somebody is there.
    There,
}

/// Colours of names: readable on dark and on light. None means anything by itself.
const NAMES: [Color; 6] =
    [Color::Green, Color::Magenta, Color::Cyan, Color::Yellow, Color::LightBlue, Color::LightRed];

impl Look {
    /// Always the same for an address.
    pub(crate) fn name(address: &str) -> Self {
        let sum = address.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        Self::Name(sum)
    }

    pub(crate) fn style(self, colour: bool) -> Style {
        let plain = Style::new();
        if !colour {
            return match self {
                Self::Plain | Self::There => plain,
                Self::Quiet => plain.add_modifier(Modifier::DIM),
                Self::Loud | Self::Me | Self::Name(_) | Self::Read | Self::Bad | Self::New => {
                    plain.add_modifier(Modifier::BOLD)
                }
                Self::Chosen | Self::Bar => plain.add_modifier(Modifier::REVERSED),
            };
        }
        match self {
            Self::Plain => plain,
            Self::Loud => plain.add_modifier(Modifier::BOLD),
            Self::Quiet => plain.add_modifier(Modifier::DIM),
            Self::Me => plain.add_modifier(Modifier::BOLD),
            Self::Name(of) => {
                let colour =
                    NAMES.get(usize::from(of) % NAMES.len()).copied().unwrap_or(Color::Green);
                plain.fg(colour).add_modifier(Modifier::BOLD)
            }
            Self::Read => plain.fg(Color::Blue).add_modifier(Modifier::BOLD),
            Self::Bad => plain.fg(Color::Red),
            Self::New => plain.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            Self::Chosen | Self::Bar => plain.add_modifier(Modifier::REVERSED),
            Self::There => plain.fg(Color::Green),
        }
    }
}
