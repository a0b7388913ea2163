//! Which conversation is open, and where in it the user is.

use homing_client::{MessageRef, Uuid, ViewUpdate};

use super::channels::is_asking;
use super::editor::Editor;
use super::window::{Item, Scroll, Window};
use super::{App, Compose, Focus, WINDOWS};
use crate::ask::{Ask, PAGE, Page};
use crate::view::{self, Rows};

impl App {
    /// Opens a conversation.
    pub(crate) fn look_at(&mut self, id: Uuid) {
        self.leave();
        let Some(channel) = self.channels.get(id) else { return };
        let (marked, asking) = (channel.marked_unread, is_asking(channel));
        let draft = channel.draft.clone().unwrap_or_default();
        self.show_archive = channel.archived;
        self.open = Some(id);
        self.cursor = Some(id);
        self.focus = if asking { Focus::Messages } else { Focus::Input };
        self.compose
            .entry(id)
            .or_insert_with(|| Compose { editor: Editor::with(&draft), ..Compose::default() });
        if marked {
            let update = ViewUpdate { marked_unread: Some(false), ..ViewUpdate::default() };
            self.ask(Ask::View { channel: id, update, done: None });
        }
        self.begin(id);
    }

    /// Shows a conversation from where it is new, or its end.
    pub(super) fn begin(&mut self, id: Uuid) {
        let Some(channel) = self.channels.get(id) else { return };
        let (read, unread, head) = (channel.read, channel.unread, channel.head);
        // More than a page that is new: the user begins where it begins.
        let far = unread > 0 && head.saturating_sub(read) > PAGE;
        let new = (unread > 0).then_some(read);
        let me = self.me.clone();
        let goes_on = match self.windows.get_mut(&id) {
            Some(window) => window.begin(new, far, &me),
            None => false,
        };
        if !goes_on {
            self.new_window(id, far.then_some(read)).unread_from = new;
            return;
        }
        self.window_order.retain(|held| *held != id);
        self.window_order.push_back(id);
    }

    /// Nobody types in the open conversation any more, and what is written there is kept.
    pub(crate) fn leave(&mut self) {
        self.stop_typing();
        if let Some(open) = self.open {
            if let Some(compose) = self.compose.get_mut(&open)
                && compose.editing.take().is_some()
            {
                compose.editor.clear();
            }
            self.keep_draft(open);
            // What holds nothing is not held.
            if self.compose.get(&open).is_some_and(Compose::is_empty) {
                self.compose.remove(&open);
            }
        }
    }

    /// An empty window of a conversation, whose first page is asked for.
    pub(super) fn new_window(&mut self, channel: Uuid, after: Option<u64>) -> &mut Window {
        self.next_generation += 1;
        let generation = self.next_generation;
        let page = after.map_or(Page::Latest, Page::After);
        self.ask(Ask::Messages { channel, page, generation });
        self.window_order.retain(|held| *held != channel);
        self.window_order.push_back(channel);
        while self.window_order.len() > WINDOWS {
            if let Some(oldest) = self.window_order.pop_front() {
                self.windows.remove(&oldest);
            }
        }
        let mut window = Window::new(generation, after);
        window.asked_after = after.is_some();
        self.windows.insert(channel, window);
        self.windows.entry(channel).or_insert_with(|| Window::new(generation, after))
    }

    /// The next or the previous row of the list.
    pub(super) fn move_cursor(&mut self, by: isize) {
        let rows: Vec<Uuid> = self.list().map(|channel| channel.channel).collect();
        if rows.is_empty() {
            self.cursor = None;
            return;
        }
        let last = rows.len() - 1;
        let at = self.cursor.and_then(|cursor| rows.iter().position(|row| *row == cursor));
        let to = at.map_or(0, |at| at.saturating_add_signed(by).min(last));
        self.cursor = rows.get(to).copied();
    }

    /// Opens the conversation below or above in the list.
    pub(super) fn open_next(&mut self, by: isize) {
        self.cursor = self.open.or(self.cursor);
        self.move_cursor(by);
        if let Some(cursor) = self.cursor.filter(|cursor| Some(*cursor) != self.open) {
            self.look_at(cursor);
        }
    }

    /// Opens the first conversation of the list in which something is new.
    pub(super) fn open_unread(&mut self) {
        let open = self.open;
        let new = |channel: &&homing_client::Channel| {
            (channel.unread > 0 || channel.marked_unread) && Some(channel.channel) != open
        };
        let mut here = self.channels.sorted().filter(|channel| !channel.archived);
        let found = here.find(new).map(|channel| channel.channel);
        drop(here);
        match found {
            Some(channel) => self.look_at(channel),
            None => self.say("nothing new anywhere else"),
        }
    }

    /// Rows up (`by` below zero) or down.
    pub(super) fn scroll(&mut self, by: isize) {
        let Some(rows) = Rows::of(self) else { return };
        let scroll = rows.scrolled(by);
        if let (Some((scroll, missing)), Some(window)) = (scroll, self.open_window_mut()) {
            window.scroll = scroll;
            // Whoever is faster than the pages goes on when the next one is here.
            window.rows_owed = if window.more_before { missing } else { 0 };
        }
    }

    /// A page before what was held is here.
    pub(super) fn scroll_what_is_owed(&mut self) {
        let owed = self.open_window_mut().map_or(0, |window| std::mem::take(&mut window.rows_owed));
        if owed > 0 {
            self.scroll(isize::try_from(owed).map_or(isize::MIN, |owed| -owed));
        }
    }

    pub(super) fn scroll_pages(&mut self, pages: isize) {
        // A row of the last page stays in sight.
        let rows =
            isize::from(i16::try_from(view::areas(self).conversation.height).unwrap_or(i16::MAX));
        self.scroll(pages * (rows - 1).max(1));
    }

    pub(super) fn scroll_to_end(&mut self) {
        let Some(open) = self.open else { return };
        let Some(window) = self.open_window_mut() else { return };
        window.scroll = Scroll::Latest;
        window.selected = None;
        window.rows_owed = 0;
        if window.loaded && !window.reaches_end {
            self.read_anew(open);
        }
    }

    pub(super) fn scroll_to_start(&mut self) {
        let Some(window) = self.open_window_mut() else { return };
        let first = window.newest_first().last().map(|(order, _)| order.to_owned());
        if let Some(order) = first {
            window.scroll = Scroll::Top { item: Item::Stored(order) };
        }
    }

    /// Selects the message above (`up`) or below the selected one; the last one first.
    pub(super) fn select(&mut self, up: bool) {
        let Some(window) = self.open_window_mut() else { return };
        let next = match (&window.selected, up) {
            (None, _) => window.newest_first().next(),
            (Some(at), true) => window.before(at).next(),
            (Some(at), false) => window.after(at).next(),
        };
        let Some(order) = next.map(|(order, _)| order.to_owned()) else { return };
        window.selected = Some(order.clone());
        let Some(rows) = Rows::of(self) else { return };
        let scroll = rows.scrolled_to(&Item::Stored(order));
        if let (Some(scroll), Some(window)) = (scroll, self.open_window_mut()) {
            window.scroll = scroll;
        }
    }

    /// The message that a command is about: the selected one, else the last that `fits`.
    pub(super) fn target(
        &self,
        fits: impl Fn(&super::window::Entry) -> bool,
    ) -> Option<(String, MessageRef)> {
        let window = self.open_window()?;
        let found = match &window.selected {
            Some(order) => window.entry(order).map(|entry| (order.as_str(), entry)),
            None => window.newest_first().find(|(_, entry)| fits(entry)),
        };
        found.map(|(order, entry)| (order.to_owned(), entry.of()))
    }
}
