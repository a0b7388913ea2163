//! A conversation as rows: only those are made that are on the screen.

use homing_client::Channel;
use ratatui::text::{Line, Span};

use super::message;
use crate::app::App;
use crate::app::outbox::Outgoing;
use crate::app::window::{Entry, Item, Scroll, Window};

/// Messages beyond the screen that are held ready, before the next page is asked for.
const NEAR: usize = 30;

/// The open conversation, to be laid out in a width.
pub(crate) struct Rows<'a> {
    app: &'a App,
    channel: &'a Channel,
    window: &'a Window,
    first_unread: Option<String>,
    cells: usize,
    height: usize,
}

/// A row on the screen.
pub(crate) struct Row {
    pub(crate) line: Line<'static>,
    pub(crate) item: Item,
    /// Which of the item's rows.
    at: usize,
    of: usize,
}

/// What is to be drawn, from the top.
pub(crate) struct Viewport {
    pub(crate) rows: Vec<Row>,
    pub(crate) near_top: bool,
    pub(crate) near_end: bool,
    /// The last row there is is on the screen.
    pub(crate) at_end: bool,
}

impl<'a> Rows<'a> {
    /// Of the open conversation, as large as it is drawn.
    pub(crate) fn of(app: &'a App) -> Option<Self> {
        let area = super::areas(app).conversation;
        let (channel, window) = (app.open_channel()?, app.open_window()?);
        let first_unread = window.first_unread(&app.me).map(str::to_owned);
        let (cells, height) = (usize::from(area.width), usize::from(area.height));
        Some(Self { app, channel, window, first_unread, cells, height })
    }

    /// What is on the screen.
    pub(crate) fn viewport(&self) -> Viewport {
        let rows = match &self.window.scroll {
            Scroll::Latest => self.up_from_end(),
            Scroll::Bottom { item, above } => match self.rows_of(item) {
                Some(own) => self.up_from(item, own.len().saturating_sub(*above)),
                // It was taken out of sight: the reader stays at what stood above it.
                None => match self.previous(item) {
                    Some(above) => self.up_from(&above, usize::MAX),
                    None => self.up_from_end(),
                },
            },
            Scroll::Top { item } => {
                let down = self.down_from(item);
                if down.len() < self.height { self.up_from_end() } else { down }
            }
        };
        let near = |item: &Item, up: bool| match item {
            Item::Outgoing(_) => true,
            Item::Stored(order) if up => self.window.before(order).take(NEAR).count() < NEAR,
            Item::Stored(order) => self.window.after(order).take(NEAR).count() < NEAR,
        };
        Viewport {
            near_top: rows.first().is_none_or(|row| near(&row.item, true)),
            near_end: rows.last().is_none_or(|row| near(&row.item, false)),
            at_end: rows.last().is_none_or(|row| {
                row.at + 1 == row.of
                    && self.next(&row.item).is_none_or(|next| matches!(next, Item::Outgoing(_)))
            }),
            rows,
        }
    }

    /// The greatest place of those that are on the screen down to their last row.
    pub(crate) fn seen_pos(&self, viewport: &Viewport) -> u64 {
        let whole = viewport.rows.iter().filter(|row| row.at + 1 == row.of);
        let places = whole.filter_map(|row| match &row.item {
            Item::Stored(order) => self.window.entry(order).map(|entry| entry.message.pos),
            Item::Outgoing(_) => None,
        });
        places.max().unwrap_or(0)
    }

    /// Where the reader is so many rows further down, or up, and how many rows are missing above for that. `None`: there is
    /// nothing.
    pub(crate) fn scrolled(&self, by: isize) -> Option<(Scroll, usize)> {
        let viewport = self.viewport();
        let last = viewport.rows.last()?;
        if by < 0 {
            let (item, at, short) = self.walk_up(&last.item, last.at, by.unsigned_abs());
            let rows = self.up_from(&item, at + 1);
            let missing = self.height - rows.len();
            return Some(match rows.first().filter(|_| missing > 0) {
                Some(first) => (Scroll::Top { item: first.item.clone() }, short + missing),
                None => (self.bottom(item, at), 0),
            });
        }
        let (item, at) = self.walk_down(&last.item, last.at, by.unsigned_abs());
        let is_last = self.next(&item).is_none()
            && self.rows_of(&item).is_none_or(|rows| at + 1 >= rows.len());
        let at_end = is_last && self.window.reaches_end;
        Some((if at_end { Scroll::Latest } else { self.bottom(item, at) }, 0))
    }

    /// Where the reader has to be to see a message; `None`: it is on the screen.
    pub(crate) fn scrolled_to(&self, item: &Item) -> Option<Scroll> {
        let viewport = self.viewport();
        let (first, last) = (viewport.rows.first()?, viewport.rows.last()?);
        if *item < first.item || (*item == first.item && first.at > 0) {
            return Some(Scroll::Top { item: item.clone() });
        }
        if *item > last.item || (*item == last.item && last.at + 1 < last.of) {
            return Some(Scroll::Bottom { item: item.clone(), above: 0 });
        }
        None
    }

    fn bottom(&self, item: Item, at: usize) -> Scroll {
        let above = self.rows_of(&item).map_or(0, |rows| rows.len().saturating_sub(at + 1));
        Scroll::Bottom { item, above }
    }

    /// The row that is so many above; the third: how many of them there are not.
    fn walk_up(&self, item: &Item, at: usize, mut by: usize) -> (Item, usize, usize) {
        let (mut item, mut at) = (item.clone(), at);
        while by > at {
            let Some(above) = self.previous(&item) else { return (item, 0, by - at) };
            by -= at + 1;
            at = self.rows_of(&above).map_or(0, |rows| rows.len().saturating_sub(1));
            item = above;
        }
        (item, at - by, 0)
    }

    fn walk_down(&self, item: &Item, at: usize, mut by: usize) -> (Item, usize) {
        let (mut item, mut at) = (item.clone(), at);
        loop {
            let left = self.rows_of(&item).map_or(0, |rows| rows.len().saturating_sub(at + 1));
            if by <= left {
                return (item, at + by);
            }
            let Some(below) = self.next(&item) else { return (item, at + left) };
            by -= left + 1;
            (item, at) = (below, 0);
        }
    }

    fn up_from_end(&self) -> Vec<Row> {
        let Some(last) = self.last() else { return Vec::new() };
        self.up_from(&last, usize::MAX)
    }

    /// A screen whose last row is the `rows`th of that item.
    fn up_from(&self, item: &Item, rows: usize) -> Vec<Row> {
        let mut from_below: Vec<Row> = Vec::with_capacity(self.height);
        let (mut item, mut take) = (Some(item.clone()), rows);
        while let Some(at) = item.filter(|_| from_below.len() < self.height) {
            let mut own = self.numbered(&at);
            own.truncate(take);
            let room = self.height - from_below.len();
            from_below.extend(own.into_iter().rev().take(room));
            take = usize::MAX;
            item = self.previous(&at);
        }
        from_below.reverse();
        from_below
    }

    /// A screen whose first row is the first of that item.
    fn down_from(&self, item: &Item) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::with_capacity(self.height);
        let mut item = Some(item.clone());
        while let Some(at) = item.filter(|_| rows.len() < self.height) {
            let room = self.height - rows.len();
            rows.extend(self.numbered(&at).into_iter().take(room));
            item = self.next(&at);
        }
        rows
    }

    fn numbered(&self, item: &Item) -> Vec<Row> {
        let lines = self.rows_of(item).unwrap_or_default();
        let of = lines.len();
        let lines = lines.into_iter().enumerate();
        lines.map(|(at, line)| Row { line, item: item.clone(), at, of }).collect()
    }

    /// The rows of an item, those above it that begin a day or what is new among them. `None`: it is not there any more.
    fn rows_of(&self, item: &Item) -> Option<Vec<Line<'static>>> {
        match item {
            Item::Stored(order) => {
                let entry = self.window.entry(order)?;
                let above = self.window.before(order).next().map(|(_, above)| above);
                let begins_new = self.first_unread.as_deref() == Some(order);
                Some(self.stored(entry, above, begins_new))
            }
            Item::Outgoing(id) => {
                let outgoing = self.outgoing().find(|outgoing| outgoing.id == *id)?;
                Some(message::outgoing(self.app, outgoing, self.cells))
            }
        }
    }

    fn stored(&self, entry: &Entry, above: Option<&Entry>, begins_new: bool) -> Vec<Line<'static>> {
        let mut rows = Vec::new();
        let day = |entry: &Entry| crate::time::day(entry.message.sent_at);
        // Above the oldest that is held there may be others of its day: a line that goes when they come would move what is read.
        let begins_day = match above {
            Some(above) => day(above) != day(entry),
            None => !self.window.more_before,
        };
        if begins_day {
            rows.push(message::day_line(self.app, entry.message.sent_at, self.cells));
        }
        if begins_new {
            rows.push(message::new_line(self.app, self.cells));
        }
        rows.extend(message::stored(self.app, self.channel, self.window, entry, self.cells));
        if rows.is_empty() {
            rows.push(Line::from(Span::raw("")));
        }
        rows
    }

    fn outgoing(&self) -> impl DoubleEndedIterator<Item = &Outgoing> {
        // Those come after all that is stored, which must be at hand therefore.
        let shows = self.window.reaches_end;
        let of = self.app.outbox.of(self.channel.channel);
        of.filter(move |outgoing| shows && outgoing.text.is_some())
    }

    fn last(&self) -> Option<Item> {
        let waiting = self.outgoing().next_back().map(|outgoing| Item::Outgoing(outgoing.id));
        waiting.or_else(|| self.last_stored())
    }

    fn last_stored(&self) -> Option<Item> {
        self.window.newest_first().next().map(|(order, _)| Item::Stored(order.to_owned()))
    }

    fn previous(&self, item: &Item) -> Option<Item> {
        match item {
            Item::Stored(order) => {
                self.window.before(order).next().map(|(order, _)| Item::Stored(order.to_owned()))
            }
            Item::Outgoing(id) => {
                let mut before = self.outgoing().take_while(|outgoing| outgoing.id != *id);
                let mut last = None;
                for outgoing in &mut before {
                    last = Some(Item::Outgoing(outgoing.id));
                }
                last.or_else(|| self.last_stored())
            }
        }
    }

    fn next(&self, item: &Item) -> Option<Item> {
        let mut outgoing = self.outgoing().map(|outgoing| Item::Outgoing(outgoing.id));
        match item {
            Item::Stored(order) => match self.window.after(order).next() {
                Some((order, _)) => Some(Item::Stored(order.to_owned())),
                None => outgoing.next(),
            },
            Item::Outgoing(_) => {
                outgoing.find(|other| other == item)?;
                outgoing.next()
            }
        }
    }
}
