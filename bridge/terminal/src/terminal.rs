//! The terminal: taken over, and given back as it was, however this ends.

use std::io::{self, IsTerminal as _, Stdout, Write as _};

use crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange,
};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use crate::app::App;
use crate::view::{self, Shown};

/// Whether a person is there to look and to type.
pub(crate) fn is_one() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The whole screen, as long as this lives.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(crate) fn open() -> io::Result<Self> {
        // A panic says why on the screen that was there before, not on one that is about to vanish.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enable_raw_mode()?;
        // From here on whatever fails gives back what was taken.
        let taken =
            execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange);
        let terminal = taken.and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match terminal {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    pub(crate) fn draw(&mut self, app: &App) -> io::Result<Shown> {
        let mut shown = Shown::default();
        self.terminal.draw(|frame| shown = view::draw(app, frame))?;
        Ok(shown)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Twice is harmless. What cannot be written is not to be mended here: the terminal may be gone.
fn give_back() {
    let mut out = io::stdout();
    let _gone = execute!(
        out,
        DisableFocusChange,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        cursor::Show
    );
    let _gone = out.flush();
    let _gone = disable_raw_mode();
}
