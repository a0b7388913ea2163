//! The state: what has happened makes a new one, and wishes. Nothing here asks a clock, a terminal or a network.

mod answers;
pub(crate) mod channels;
mod commands;
mod compose;
mod conversation;
pub(crate) mod editor;
mod keys;
mod marks;
pub(crate) mod outbox;
mod told;
pub(crate) mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crossterm::event::KeyEvent;
use homing_client::{Channel, Error, Event, Limits, MessageRef, Opened, Presence, Uuid};

use crate::ask::{Answer, Ask};
use crate::text::harmless_line;
use crate::time::Moment;
use crate::view::Shown;
use channels::Channels;
pub(crate) use commands::COMMANDS;
pub(crate) use editor::Editor;
pub(crate) use keys::{KEYS, QUICK};
use outbox::Outbox;
use window::Window;

/// Everything that can happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A key was pressed.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size.
    Resize { columns: u16, rows: u16 },
    /// The terminal has got or lost the focus.
    Focus(bool),
    /// The home, or the connection, says something of its own accord.
    Home(Box<Event>),
    /// The home has answered.
    Answered(Ask, Box<Result<Answer, Error>>),
    /// This was drawn.
    Shown(Box<Shown>),
    /// It is later.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    /// Call the home.
    Ask(Ask),
    /// End.
    Quit,
}

/// How it stands with the home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Connection {
    Online,
    /// It comes back by itself.
    Lost,
    /// It does not.
    Ended(String),
}

/// What the keys go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Focus {
    Input,
    Messages,
    List,
}

/// What is in front of everything else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Overlay {
    None,
    Help {
        scroll: usize,
    },
    Jump {
        query: Editor,
        at: usize,
    },
    Confirm(Confirm),
    /// An emoji for the selected message.
    React {
        emoji: Editor,
    },
}

/// What asks for a yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Confirm {
    Delete { channel: Uuid, of: MessageRef },
    Block { user: String },
    Decline { channel: Uuid },
    Leave { channel: Uuid },
    QuitUnsent { count: usize },
}

/// What one is writing in a conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compose {
    pub(crate) editor: Editor,
    /// The message that it answers.
    pub(crate) reply: Option<MessageRef>,
    /// The message whose words it replaces.
    pub(crate) editing: Option<MessageRef>,
    /// Since when it differs from the draft that the home has; counted anew with each key.
    changed_ms: Option<u64>,
    /// Drafts on their way to the home: until they are there, what it says of the draft is old.
    drafts_asked: u32,
    /// The last one.
    kept: Option<String>,
}

impl Compose {
    /// Nothing is being written, and nothing on its way.
    fn is_empty(&self) -> bool {
        self.editor.is_empty()
            && self.reply.is_none()
            && self.editing.is_none()
            && self.drafts_asked == 0
    }
}

/// Conversations whose messages are held: going back and forth between a few costs nothing.
const WINDOWS: usize = 6;

/// How long a line for the user stands.
const NOTICE_MS: u64 = 8_000;

/// A user who types and says nothing more is forgotten after so long, as the contract has it.
const TYPING_FORGOTTEN_MS: u64 = 8_000;

/// People whose typing is remembered: more than a screen shows.
const TYPING_HELD: usize = 200;

/// Calls that are to be made again later. Beyond it they are dropped: the next change asks anew.
const LATER: usize = 200;

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) me: String,
    pub(crate) colour: bool,
    /// Columns and rows.
    pub(crate) size: (u16, u16),
    pub(crate) now: Moment,
    /// What the home's clock is ahead, in milliseconds.
    server_ahead_ms: i64,
    pub(crate) limits: Limits,
    life: String,
    pub(crate) connection: Connection,
    pub(crate) channels: Channels,
    /// All pages of the list are here.
    pub(crate) listed: bool,
    pub(crate) show_archive: bool,
    /// Where the keys are in the list.
    pub(crate) cursor: Option<Uuid>,
    pub(crate) open: Option<Uuid>,
    windows: HashMap<Uuid, Window>,
    /// The last one was looked at last.
    window_order: VecDeque<Uuid>,
    next_generation: u64,
    pub(crate) compose: HashMap<Uuid, Compose>,
    pub(crate) outbox: Outbox,
    pub(crate) presence: HashMap<String, Presence>,
    watched: BTreeSet<String>,
    watch_due_ms: Option<u64>,
    /// Addresses of which the home has said that they cannot be watched.
    unwatchable: BTreeSet<String>,
    /// Who types where, and until when that is believed.
    typing: BTreeMap<(Uuid, String), u64>,
    /// Where this user was last said to type, and when.
    said_typing: Option<(Uuid, u64)>,
    last_key_ms: u64,
    reading: HashMap<Uuid, marks::Reading>,
    delivered: BTreeMap<Uuid, u64>,
    delivered_due_ms: Option<u64>,
    refreshing: HashMap<Uuid, bool>,
    later: Vec<(u64, Ask)>,
    pub(crate) overlay: Overlay,
    pub(crate) focus: Focus,
    /// `None`: the terminal does not tell.
    pub(crate) focused: Option<bool>,
    pub(crate) notice: Option<(String, u64)>,
    pub(crate) shown: Shown,
    /// The address whose chat was asked for, to be shown when it is there.
    opening: HashSet<String>,
    /// The channel to begin with, until it is known.
    open_first: Option<Uuid>,
    wishes: Vec<Wish>,
}

impl App {
    /// Signed in, with nothing known yet.
    pub(crate) fn new(opened: &Opened, now: Moment, size: (u16, u16), colour: bool) -> Self {
        let mut app = Self {
            me: opened.user.address.clone(),
            colour,
            size,
            now,
            server_ahead_ms: 0,
            limits: opened.limits.clone(),
            life: opened.life.clone(),
            connection: Connection::Online,
            channels: Channels::default(),
            listed: false,
            show_archive: false,
            cursor: None,
            open: None,
            windows: HashMap::new(),
            window_order: VecDeque::new(),
            next_generation: 0,
            compose: HashMap::new(),
            outbox: Outbox::default(),
            presence: HashMap::new(),
            watched: BTreeSet::new(),
            watch_due_ms: None,
            unwatchable: BTreeSet::new(),
            typing: BTreeMap::new(),
            said_typing: None,
            last_key_ms: 0,
            reading: HashMap::new(),
            delivered: BTreeMap::new(),
            delivered_due_ms: None,
            refreshing: HashMap::new(),
            later: Vec::new(),
            overlay: Overlay::None,
            focus: Focus::List,
            focused: None,
            notice: None,
            shown: Shown::default(),
            opening: HashSet::new(),
            open_first: None,
            wishes: Vec::new(),
        };
        app.set_clock(opened.server_time);
        app.ask(Ask::Channels { cursor: None });
        app
    }

    /// Something has happened.
    pub(crate) fn happen(&mut self, happening: Happening, now: Moment) {
        self.now = Moment { ms: now.ms.max(self.now.ms), ..now };
        match happening {
            Happening::Key(key) => self.key(key),
            Happening::Paste(text) => self.paste(&text),
            Happening::Resize { columns, rows } => self.size = (columns, rows),
            Happening::Focus(focused) => self.focused = Some(focused),
            Happening::Home(event) => self.told(*event),
            Happening::Answered(ask, answer) => self.answered(ask, *answer),
            Happening::Shown(shown) => self.was_shown(*shown),
            Happening::Tick => {}
        }
        self.tick();
        self.channels.sort();
        self.settle_cursor();
    }

    /// What is to be done now.
    pub(crate) fn wishes(&mut self) -> Vec<Wish> {
        for outgoing in self.outbox.due(self.now.ms) {
            let (channel, id, body) = (outgoing.channel, outgoing.id, outgoing.body);
            self.ask(Ask::Send { channel, id, body });
        }
        std::mem::take(&mut self.wishes)
    }

    /// When time alone changes something, in milliseconds of [`Moment::ms`].
    pub(crate) fn deadline(&self) -> Option<u64> {
        let notice = self.notice.as_ref().map(|(_, until)| *until);
        let typing = self.typing.values().min().copied();
        let later = self.later.iter().map(|(at, _)| *at).min();
        let times = [
            notice,
            typing,
            later,
            self.delivered_due_ms.filter(|_| self.is_online()),
            self.watch_due_ms.filter(|_| self.is_online()),
            self.outbox.deadline(),
            self.typing_deadline(),
            self.draft_deadline(),
            self.reading_deadline(),
        ];
        times.into_iter().flatten().min()
    }

    fn tick(&mut self) {
        let now = self.now.ms;
        if self.notice.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.notice = None;
        }
        self.typing.retain(|_, until| *until > now);
        if self.later.iter().any(|(at, _)| *at <= now) {
            let all = std::mem::take(&mut self.later).into_iter();
            let (due, later): (Vec<_>, Vec<_>) = all.partition(|(at, _)| *at <= now);
            self.later = later;
            for (_, ask) in due {
                self.ask(ask);
            }
        }
        self.deliver();
        self.say_read();
        self.watch();
        self.stop_typing_when_idle();
        self.keep_drafts();
    }

    pub(crate) fn open_channel(&self) -> Option<&Channel> {
        self.channels.get(self.open?)
    }

    pub(crate) fn window(&self, channel: Uuid) -> Option<&Window> {
        self.windows.get(&channel)
    }

    pub(crate) fn open_window(&self) -> Option<&Window> {
        self.windows.get(&self.open?)
    }

    fn open_window_mut(&mut self) -> Option<&mut Window> {
        self.windows.get_mut(&self.open?)
    }

    pub(crate) fn open_compose(&self) -> Option<&Compose> {
        self.compose.get(&self.open?)
    }

    /// Who types in a channel.
    pub(crate) fn typing_in(&self, channel: Uuid) -> impl Iterator<Item = &str> {
        let from = (channel, String::new());
        let of = self
            .typing
            .range(from..)
            .take_while(move |((in_channel, _), _)| *in_channel == channel);
        of.map(|((_, user), _)| user.as_str())
    }

    /// Unix milliseconds by the home's clock.
    pub(crate) fn server_ms(&self) -> u64 {
        self.now.unix_ms.saturating_add_signed(self.server_ahead_ms)
    }

    fn set_clock(&mut self, server_ms: u64) {
        let ahead = i128::from(server_ms) - i128::from(self.now.unix_ms);
        self.server_ahead_ms = i64::try_from(ahead).unwrap_or(0);
    }

    pub(crate) fn is_online(&self) -> bool {
        self.connection == Connection::Online
    }

    /// How a sender is called: short where there can be one alone.
    pub(crate) fn name_of(&self, address: &str) -> String {
        if address == self.me {
            return "you".to_owned();
        }
        let home = |address: &str| address.split_once('@').map(|(_, home)| home.to_owned());
        let in_chat =
            self.open_channel().is_some_and(|channel| channel.with.as_deref() == Some(address));
        let name = match address.split_once('@') {
            Some((local, _)) if in_chat || home(address) == home(&self.me) => local,
            Some(_) | None => address,
        };
        harmless_line(name).into_owned()
    }

    /// The rows of the list, with or without those out of sight.
    pub(crate) fn list(&self) -> impl Iterator<Item = &Channel> {
        self.channels.sorted().filter(|channel| channel.archived == self.show_archive)
    }

    /// The keys of the list are always about a row of it, where there is one.
    fn settle_cursor(&mut self) {
        let here = |channel: &Channel| channel.archived == self.show_archive;
        let stands = self.cursor.and_then(|cursor| self.channels.get(cursor)).is_some_and(here);
        if !stands {
            self.cursor = self.first_listed();
        }
    }

    fn first_listed(&self) -> Option<Uuid> {
        self.list().next().map(|channel| channel.channel)
    }

    /// Begins with a channel, as soon as it is known.
    pub(crate) fn open_first(&mut self, channel: Uuid) {
        self.open_first = Some(channel);
        self.refresh(channel);
    }

    fn ask(&mut self, ask: Ask) {
        if matches!(self.connection, Connection::Ended(_)) {
            return;
        }
        self.wishes.push(Wish::Ask(ask));
    }

    fn ask_later(&mut self, wait_ms: u64, ask: Ask) {
        if self.later.len() < LATER {
            self.later.push((self.now.ms.saturating_add(wait_ms), ask));
        }
    }

    fn say(&mut self, text: impl Into<String>) {
        self.notice = Some((text.into(), self.now.ms + NOTICE_MS));
    }
}
