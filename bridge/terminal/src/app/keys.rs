//! What keys do.

// Most keys do nothing in most places, and which there are is the terminal library's to say.
#![allow(clippy::wildcard_enum_match_arm)]

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::editor::Editor;
use super::{App, Confirm, Focus, Overlay};
use crate::text::harmless_line;
use crate::view;

/// Emoji that a digit stands for when reacting.
pub(crate) const QUICK: [&str; 6] = ["👍", "❤️", "😂", "😮", "😢", "🎉"];

/// Rows of the jump list.
pub(crate) const JUMPS: usize = 50;

/// Every key with what it does: the help screen shows this.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("Enter", "send; in the list: open"),
    ("Alt+Enter, Ctrl+J", "a new line"),
    ("↑ with nothing written", "edit your last message"),
    ("Tab", "go to the messages, to the list, to what you write"),
    ("Ctrl+↑ Ctrl+↓", "select a message"),
    ("r e d + h", "on it: reply, edit, delete, react, hide"),
    ("PgUp PgDn", "scroll; Ctrl+Home, Ctrl+End: to the ends"),
    ("Ctrl+K", "jump to a conversation by a part of its name"),
    ("Ctrl+N Ctrl+P", "the next conversation, the previous one"),
    ("Ctrl+G", "the next one with something new"),
    ("m p a u", "in the list: mute, pin, archive, mark as unread"),
    ("y n b", "in the list: accept, decline, block"),
    ("F2", "the archive, and back"),
    ("Esc", "back; takes back a reply, an edit, a selection"),
    ("F1, ?", "this help (? where nothing is written)"),
    ("Ctrl+Q, Ctrl+C", "quit"),
];

impl App {
    pub(super) fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (key.code, control) {
            (KeyCode::Char('c' | 'q'), true) => self.quit(),
            _ if self.overlay != Overlay::None => self.overlay_key(key),
            (KeyCode::F(1), _) => self.overlay = Overlay::Help { scroll: 0 },
            (KeyCode::F(2), _) => self.toggle_archive(),
            (KeyCode::Char('k'), true) => {
                self.overlay = Overlay::Jump { query: Editor::default(), at: 0 };
            }
            (KeyCode::Char('n'), true) => self.open_next(1),
            (KeyCode::Char('p'), true) => self.open_next(-1),
            (KeyCode::Char('g'), true) => self.open_unread(),
            (KeyCode::Home, true) => self.scroll_to_start(),
            (KeyCode::End, true) => self.scroll_to_end(),
            (KeyCode::Up, true) => self.select_message(true),
            (KeyCode::Down, true) => self.select_message(false),
            (KeyCode::Tab, _) => self.next_focus(true),
            (KeyCode::BackTab, _) => self.next_focus(false),
            _ => match self.focus {
                Focus::Input => self.input_key(key),
                Focus::Messages => self.message_key(key),
                Focus::List => self.list_key(key),
            },
        }
    }

    pub(super) fn paste(&mut self, text: &str) {
        match &mut self.overlay {
            Overlay::Jump { query, at } => {
                query.insert(text.lines().next().unwrap_or_default());
                *at = 0;
                return;
            }
            Overlay::React { emoji } => {
                emoji.insert(text.trim());
                return;
            }
            Overlay::Help { .. } | Overlay::Confirm(_) => return,
            Overlay::None => {}
        }
        if self.open.is_none() {
            return;
        }
        self.focus = Focus::Input;
        let whole = self.compose_mut().is_none_or(|compose| compose.editor.insert(text));
        if !whole {
            self.say("that is more than a message holds: the rest was left out");
        }
        self.input_changed();
    }

    fn next_focus(&mut self, forwards: bool) {
        self.focus = match (self.focus, forwards, self.open.is_some()) {
            (_, _, false) => Focus::List,
            (Focus::Input, true, _) | (Focus::List, false, _) => Focus::Messages,
            (Focus::Messages, true, _) | (Focus::Input, false, _) => Focus::List,
            (Focus::List, true, _) | (Focus::Messages, false, _) => Focus::Input,
        };
        match self.focus {
            Focus::Messages => self.select(true),
            Focus::Input | Focus::List => self.deselect(),
        }
    }

    fn deselect(&mut self) {
        if let Some(window) = self.open_window_mut() {
            window.selected = None;
        }
    }

    fn select_message(&mut self, up: bool) {
        if self.open.is_some() {
            self.focus = Focus::Messages;
            self.select(up);
        }
    }

    fn toggle_archive(&mut self) {
        self.show_archive = !self.show_archive;
        self.cursor = self.first_listed();
        self.focus = Focus::List;
        self.deselect();
    }

    fn input_key(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        let cells = view::input_cells(self);
        let Some(compose) = self.compose_mut() else {
            self.focus = Focus::List;
            return;
        };
        let editor = &mut compose.editor;
        let nothing = editor.is_empty() && compose.editing.is_none();
        let mut changed = true;
        match (key.code, control, alt) {
            (KeyCode::Enter, _, true) | (KeyCode::Char('j'), true, _) => {
                editor.insert("\n");
            }
            (KeyCode::Enter, _, _) => return self.submit(),
            (KeyCode::Esc, _, _) => return self.back_out(),
            (KeyCode::Backspace, false, false) => editor.backspace(),
            (KeyCode::Delete, true, _) => editor.delete_rest(),
            (KeyCode::Delete, _, _) | (KeyCode::Char('d'), true, _) => editor.delete(),
            (KeyCode::Char('w'), true, _) | (KeyCode::Backspace, _, _) => editor.delete_word(),
            (KeyCode::Char('h'), true, _) => editor.backspace(),
            (KeyCode::Char('u'), true, _) => editor.delete_line(),
            (KeyCode::Left, false, false) | (KeyCode::Char('b'), true, _) => editor.left(),
            (KeyCode::Right, false, false) | (KeyCode::Char('f'), true, _) => editor.right(),
            (KeyCode::Left, _, _) => editor.word_left(),
            (KeyCode::Right, _, _) => editor.word_right(),
            (KeyCode::Home, _, _) | (KeyCode::Char('a'), true, _) => editor.home(),
            (KeyCode::End, _, _) | (KeyCode::Char('e'), true, _) => editor.end(),
            (KeyCode::Up, _, _) if nothing => return self.edit_target(),
            (KeyCode::Up, _, _) => changed = editor.up(cells),
            (KeyCode::Down, _, _) => changed = editor.down(cells),
            (KeyCode::PageUp, _, _) => return self.scroll_pages(-1),
            (KeyCode::PageDown, _, _) => return self.scroll_pages(1),
            (KeyCode::Char('?'), false, false) if nothing => {
                self.overlay = Overlay::Help { scroll: 0 };
                return;
            }
            (KeyCode::Char(c), false, false) => {
                let mut utf8 = [0; 4];
                if !editor.insert(c.encode_utf8(&mut utf8)) {
                    return self.say("a message holds no more than that");
                }
            }
            _ => changed = false,
        }
        if changed {
            self.input_changed();
        }
    }

    /// One thing at a time is taken back.
    fn back_out(&mut self) {
        let Some(compose) = self.compose_mut() else { return };
        if compose.editing.take().is_some() {
            compose.editor.clear();
        } else if compose.reply.take().is_none() {
            self.focus = Focus::List;
        }
    }

    fn message_key(&mut self, key: KeyEvent) {
        let selected = self.open_window().and_then(|window| window.selected.clone());
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => self.select(true),
            KeyCode::Down | KeyCode::Char('j') => self.select(false),
            KeyCode::PageUp => self.scroll_pages(-1),
            KeyCode::PageDown => self.scroll_pages(1),
            KeyCode::Home => self.scroll_to_start(),
            KeyCode::End => self.scroll_to_end(),
            KeyCode::Char('?') => self.overlay = Overlay::Help { scroll: 0 },
            KeyCode::Esc => {
                self.deselect();
                self.focus = Focus::Input;
            }
            KeyCode::Char('y') if selected.is_none() => self.accept(),
            KeyCode::Char('n') if selected.is_none() => self.decline(),
            KeyCode::Char('r') | KeyCode::Enter => {
                if let Some(order) = selected {
                    self.reply(&order);
                    self.deselect();
                }
                self.focus = Focus::Input;
            }
            KeyCode::Char('e') => {
                self.edit_target();
                self.deselect();
                self.focus = Focus::Input;
            }
            KeyCode::Char('d') | KeyCode::Delete => self.delete_target(),
            KeyCode::Char('+' | 'x') => self.overlay = Overlay::React { emoji: Editor::default() },
            KeyCode::Char('h') => self.hide_target(),
            _ => {}
        }
    }

    fn list_key(&mut self, key: KeyEvent) {
        let page = isize::try_from(view::list_rows(self)).unwrap_or(1).max(1);
        let cursor = self.cursor.and_then(|cursor| self.channels.get(cursor));
        let (muted, pinned, archived) = cursor.map_or((false, false, false), |channel| {
            (super::channels::is_muted(channel, self.server_ms()), channel.pinned, channel.archived)
        });
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => self.move_cursor(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_cursor(1),
            KeyCode::PageUp => self.move_cursor(-page),
            KeyCode::PageDown => self.move_cursor(page),
            KeyCode::Home => self.move_cursor(isize::MIN),
            KeyCode::End => self.move_cursor(isize::MAX),
            KeyCode::Enter | KeyCode::Right => {
                if let Some(cursor) = self.cursor {
                    self.look_at(cursor);
                }
            }
            KeyCode::Char('/') => self.overlay = Overlay::Jump { query: Editor::default(), at: 0 },
            KeyCode::Char('?') => self.overlay = Overlay::Help { scroll: 0 },
            KeyCode::Char('m') if muted => {
                self.view(|update| update.muted_until = Some(None), "no longer muted");
            }
            KeyCode::Char('m') => self.mute(None),
            KeyCode::Char('p') => {
                let done = if pinned { "no longer pinned" } else { "pinned" };
                self.view(|update| update.pinned = Some(!pinned), done);
            }
            KeyCode::Char('a') => {
                let done =
                    if archived { "back in the list" } else { "archived: F2 shows the archive" };
                self.view(|update| update.archived = Some(!archived), done);
            }
            KeyCode::Char('u') => {
                self.view(|update| update.marked_unread = Some(true), "marked as unread");
            }
            KeyCode::Char('y') => self.accept(),
            KeyCode::Char('n') => self.decline(),
            KeyCode::Char('b') => self.block(),
            KeyCode::Esc if self.open.is_some() => self.focus = Focus::Input,
            _ => {}
        }
    }

    fn overlay_key(&mut self, key: KeyEvent) {
        match std::mem::replace(&mut self.overlay, Overlay::None) {
            Overlay::None => {}
            Overlay::Help { scroll } => {
                let scroll = match key.code {
                    KeyCode::Down | KeyCode::Char('j') => scroll + 1,
                    KeyCode::Up | KeyCode::Char('k') => scroll.saturating_sub(1),
                    KeyCode::PageDown => scroll + 10,
                    KeyCode::PageUp => scroll.saturating_sub(10),
                    _ => return,
                };
                self.overlay = Overlay::Help { scroll: scroll.min(view::help_rows()) };
            }
            Overlay::Confirm(what) => match key.code {
                KeyCode::Char('y' | 'Y') => self.confirmed(what),
                KeyCode::Char('n' | 'N') | KeyCode::Esc | KeyCode::Enter => {}
                _ => self.overlay = Overlay::Confirm(what),
            },
            Overlay::React { mut emoji } => match key.code {
                KeyCode::Char(c @ '1'..='6') if emoji.is_empty() => {
                    let at = usize::try_from(u32::from(c) - u32::from('1')).unwrap_or(0);
                    let quick = QUICK.get(at).copied().unwrap_or_default();
                    self.react_to_target(quick);
                }
                KeyCode::Enter => self.react_to_target(emoji.text().trim()),
                KeyCode::Esc => {}
                code => {
                    write_one_line(&mut emoji, code, key.modifiers);
                    self.overlay = Overlay::React { emoji };
                }
            },
            Overlay::Jump { mut query, at } => {
                let at = match key.code {
                    KeyCode::Esc => return,
                    KeyCode::Enter => return self.jump(query.text().trim(), at),
                    KeyCode::Up => at.saturating_sub(1),
                    KeyCode::Down => (at + 1).min(self.jumps(query.text()).len().saturating_sub(1)),
                    code => {
                        write_one_line(&mut query, code, key.modifiers);
                        0
                    }
                };
                self.overlay = Overlay::Jump { query, at };
            }
        }
    }

    /// Conversations whose name has that in it, the archived ones last.
    pub(crate) fn jumps(&self, query: &str) -> Vec<&homing_client::Channel> {
        let query = query.trim().to_lowercase();
        let fits =
            |channel: &&homing_client::Channel| channel.title().to_lowercase().contains(&query);
        let found = || self.channels.sorted().filter(fits);
        let here = found().filter(|channel| !channel.archived);
        here.chain(found().filter(|channel| channel.archived)).take(JUMPS).collect()
    }

    fn jump(&mut self, query: &str, at: usize) {
        let found = self.jumps(query).get(at).map(|channel| channel.channel);
        match found {
            Some(channel) => self.look_at(channel),
            None if query.contains('@') => self.open_address(query),
            None => self.say(format!("no conversation is called {}", harmless_line(query))),
        }
    }

    /// Whether a yes is asked for, and to what.
    pub(crate) fn asked(&self) -> Option<&Confirm> {
        match &self.overlay {
            Overlay::Confirm(what) => Some(what),
            Overlay::None | Overlay::Help { .. } | Overlay::Jump { .. } | Overlay::React { .. } => {
                None
            }
        }
    }
}

fn write_one_line(editor: &mut Editor, code: KeyCode, modifiers: KeyModifiers) {
    let control = modifiers.contains(KeyModifiers::CONTROL);
    match (code, control) {
        (KeyCode::Backspace, _) => editor.backspace(),
        (KeyCode::Char('u'), true) => editor.clear(),
        (KeyCode::Char('w'), true) => editor.delete_word(),
        (KeyCode::Char(c), false) => {
            let mut utf8 = [0; 4];
            editor.insert(c.encode_utf8(&mut utf8));
        }
        (KeyCode::Left, _) => editor.left(),
        (KeyCode::Right, _) => editor.right(),
        _ => {}
    }
}
