//! Passwords: asked for twice at a terminal, one line of standard input elsewhere.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use crate::password;

/// A line longer than this is no password: the limit of [`password::MOST_BYTES`], and its end.
const LINE_BYTES: u64 = password::MOST_BYTES as u64 + 2;

/// A new password, checked. Nothing is asked where standard input is no terminal.
pub(super) fn new_password(user: &str) -> anyhow::Result<Zeroizing<String>> {
    let secret = if io::stdin().is_terminal() {
        let first = ask(&format!("Password for {user}: "))?;
        let second = ask("Once more: ")?;
        if first != second {
            bail!("the two passwords differ: nothing was changed");
        }
        first
    } else {
        first_line().context("cannot read the password from standard input")?
    };
    password::check(&secret)?;
    Ok(secret)
}

fn ask(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).context("cannot ask for the password")
}

fn first_line() -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES as usize + 1));
    io::stdin().lock().take(LINE_BYTES).read_line(&mut line)?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}
