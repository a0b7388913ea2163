//! The loop.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossterm::event::{Event as TerminalEvent, EventStream};
use futures::StreamExt as _;
use homing_client::{Client, Error, Event, Events, Options, Ticket, Uuid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::app::{App, Happening, Wish};
use crate::ask::Ask;
use crate::terminal::{self, Screen};
use crate::time::Moment;

/// Calls that wait for their answers: half of what a home reads at once, so that a message never waits behind pages.
const CALLS: usize = 64;

/// Calls that wait for their turn. The state asks for nothing twice; beyond it what is asked is refused here.
const CALLS_WAITING: usize = 1_000;

/// What has happened before the screen is drawn again: a busy group does not cost a frame a message.
const AT_ONCE: usize = 256;

/// Keys that wait to be dealt with. Nobody types so fast; a terminal that is pasted into without saying so waits itself.
const KEYS_WAITING: usize = 256;

/// How long the home has to take what waits, and to answer what is under way, when the user goes.
const FAREWELL: Duration = Duration::from_secs(2);

/// What to begin with.
pub struct Chat {
    /// Where, and as whom.
    pub options: Options,
    /// Use colours.
    pub colour: bool,
    /// A conversation to begin with.
    pub open: Option<Open>,
}

/// Names a conversation.
pub enum Open {
    /// By its id.
    Channel(Uuid),
    /// The chat with an address, made if new.
    Address(String),
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// There is nobody to look at it.
    #[error(
        "chat needs a terminal: standard input and output are not one (for scripts: `homing client tail`, `send`)"
    )]
    NoTerminal,
    /// The home, or the way there.
    #[error(transparent)]
    Home(#[from] Error),
    /// The terminal.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
    /// It was told to end at once, and some messages had not reached the home.
    #[error("{0} messages were not sent")]
    Unsent(usize),
}

/// Chats until the user has enough. Signs in before it takes the screen, so that what is wrong is said where one types.
pub async fn run(chat: Chat) -> Result<(), ChatError> {
    if !terminal::is_one() {
        return Err(ChatError::NoTerminal);
    }
    let (client, events) = Client::connect(chat.options).await?;
    let mut begun = Begun {
        started: Instant::now(),
        keys: Keys::read(),
        events,
        stop: [
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ],
        // Before the size is asked for: what changes afterwards is not missed.
        resized: signal(SignalKind::window_change())?,
        calls: Calls { client: client.clone(), asked: HashMap::new(), waiting: VecDeque::new() },
        over: false,
    };
    let size = crossterm::terminal::size()?;
    let mut app = App::new(client.opened(), begun.now(), size, chat.colour);
    match chat.open {
        Some(Open::Channel(channel)) => app.open_first(channel),
        Some(Open::Address(address)) => app.open_address(&address),
        None => {}
    }
    let mut screen = Screen::open()?;
    let ended = begun.until_ended(&mut app, &mut screen).await;
    // The user has the terminal back while the home is told.
    drop(screen);
    let until = tokio::time::Instant::now() + FAREWELL;
    let ended = match ended {
        Ok(Ended::Quit) => Ok(()),
        Ok(Ended::Stopped) => begun.send_out(&mut app, until).await,
        Err(error) => Err(error),
    };
    let Begun { calls, .. } = begun;
    drop(calls);
    // What is under way is sent once more by nobody.
    let _closed_or_late = tokio::time::timeout_at(until, client.close()).await;
    ended
}

/// How the loop ended.
enum Ended {
    /// The user wanted it, and was asked about what would be lost.
    Quit,
    /// Somebody wanted it at once, and nobody was asked.
    Stopped,
}

struct Begun {
    started: Instant,
    keys: Keys,
    events: Events,
    stop: [Signal; 3],
    resized: Signal,
    calls: Calls,
    /// The home says nothing any more.
    over: bool,
}

/// What comes from the terminal. Read by a task of its own: the stream wakes whoever polled it first, so one who only looks
/// whether something is there would take the wake-up from the one who waits.
struct Keys {
    waiting: mpsc::Receiver<io::Result<TerminalEvent>>,
    reading: JoinHandle<()>,
}

impl Keys {
    fn read() -> Self {
        let (found, waiting) = mpsc::channel(KEYS_WAITING);
        let reading = tokio::spawn(async move {
            let mut stream = EventStream::new();
            while let Some(event) = stream.next().await {
                if found.send(event).await.is_err() {
                    return;
                }
            }
        });
        Self { waiting, reading }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// What wakes the loop.
enum Woken {
    Happened(Happening),
    /// A call of [`Calls`] was answered.
    Answered(Ticket, Result<homing_client::Reply, Error>),
    /// Somebody wants this to end at once.
    Stopped,
    /// Nothing that matters.
    Nothing,
}

impl Begun {
    async fn until_ended(
        &mut self,
        app: &mut App,
        screen: &mut Screen,
    ) -> Result<Ended, ChatError> {
        loop {
            if self.calls.make(app, self.started) {
                return Ok(Ended::Quit);
            }
            let shown = screen.draw(app)?;
            app.happen(Happening::Shown(Box::new(shown)), self.now());
            if self.calls.make(app, self.started) {
                return Ok(Ended::Quit);
            }
            let mut woken = self.wake(app.deadline()).await?;
            for _ in 0..AT_ONCE {
                if self.take(app, woken) {
                    return Ok(Ended::Stopped);
                }
                if self.calls.make(app, self.started) {
                    return Ok(Ended::Quit);
                }
                match self.more()? {
                    Some(next) => woken = next,
                    None => break,
                }
            }
        }
    }

    /// Tells the state. `true`: this is to end at once.
    fn take(&mut self, app: &mut App, woken: Woken) -> bool {
        match woken {
            Woken::Stopped => return true,
            Woken::Happened(happening) => app.happen(happening, self.now()),
            Woken::Answered(ticket, answer) => {
                if let Some(ask) = self.calls.asked.remove(&ticket) {
                    let answer = answer.and_then(|reply| ask.read(&reply));
                    app.happen(Happening::Answered(ask, Box::new(answer)), self.now());
                }
            }
            Woken::Nothing => {}
        }
        false
    }

    /// Drafts are kept, and what waits is sent, each after the answer to the one before it: what the home has not taken by
    /// then is told.
    async fn send_out(
        &mut self,
        app: &mut App,
        until: tokio::time::Instant,
    ) -> Result<(), ChatError> {
        app.end();
        loop {
            self.calls.make(app, self.started);
            if app.outbox.unsent() == 0 {
                return Ok(());
            }
            if self.over || tokio::time::Instant::now() >= until {
                return Err(ChatError::Unsent(app.outbox.unsent()));
            }
            let again = app.outbox.deadline().map_or(until, |ms| self.at(ms).min(until));
            let woken = tokio::select! {
                event = self.events.next() => heard(event, &mut self.over),
                () = tokio::time::sleep_until(again) => Woken::Happened(Happening::Tick),
            };
            self.take(app, woken);
        }
    }

    async fn wake(&mut self, deadline: Option<u64>) -> Result<Woken, ChatError> {
        let until = deadline.map(|ms| self.at(ms));
        let [terminate, interrupt, hangup] = &mut self.stop;
        tokio::select! {
            biased;
            _ = terminate.recv() => Ok(Woken::Stopped),
            _ = interrupt.recv() => Ok(Woken::Stopped),
            _ = hangup.recv() => Ok(Woken::Stopped),
            _ = self.resized.recv() => {
                let (columns, rows) = crossterm::terminal::size()?;
                Ok(Woken::Happened(Happening::Resize { columns, rows }))
            }
            key = self.keys.waiting.recv() => typed(key),
            event = self.events.next(), if !self.over => Ok(heard(event, &mut self.over)),
            () = tokio::time::sleep_until(until.unwrap_or_else(tokio::time::Instant::now)), if until.is_some() => {
                Ok(Woken::Happened(Happening::Tick))
            }
        }
    }

    /// What is here already.
    fn more(&mut self) -> Result<Option<Woken>, ChatError> {
        if let Ok(key) = self.keys.waiting.try_recv() {
            return typed(Some(key)).map(Some);
        }
        Ok(self.events.try_next().map(|event| heard(Some(event), &mut self.over)))
    }

    fn at(&self, ms: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started + Duration::from_millis(ms))
    }

    fn now(&self) -> Moment {
        now(self.started)
    }
}

fn now(started: Instant) -> Moment {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms);
    Moment { ms: ms(started.elapsed()), unix_ms }
}

fn typed(event: Option<io::Result<TerminalEvent>>) -> Result<Woken, ChatError> {
    Ok(match event {
        Some(Ok(TerminalEvent::Key(key))) => Woken::Happened(Happening::Key(key)),
        Some(Ok(TerminalEvent::Paste(text))) => Woken::Happened(Happening::Paste(text)),
        Some(Ok(TerminalEvent::FocusGained)) => Woken::Happened(Happening::Focus(true)),
        Some(Ok(TerminalEvent::FocusLost)) => Woken::Happened(Happening::Focus(false)),
        // The signal itself is waited for: it may come before the first key is.
        Some(Ok(TerminalEvent::Mouse(_) | TerminalEvent::Resize(..))) => Woken::Nothing,
        Some(Err(error)) => return Err(error.into()),
        // The terminal is gone.
        None => Woken::Stopped,
    })
}

fn heard(event: Option<Event>, over: &mut bool) -> Woken {
    match event {
        Some(Event::Answered { ticket, answer }) => Woken::Answered(ticket, answer),
        Some(event) => {
            *over |= matches!(event, Event::Ended(_));
            Woken::Happened(Happening::Home(Box::new(event)))
        }
        None => {
            *over = true;
            Woken::Nothing
        }
    }
}

/// Calls under way and those that wait for their turn.
struct Calls {
    client: Client,
    asked: HashMap<Ticket, Ask>,
    waiting: VecDeque<Ask>,
}

impl Calls {
    /// Does what the state wishes. `true`: it wishes to end.
    fn make(&mut self, app: &mut App, started: Instant) -> bool {
        let mut end = false;
        loop {
            for wish in app.wishes() {
                match wish {
                    Wish::Quit => end = true,
                    Wish::Ask(ask) if self.waiting.len() < CALLS_WAITING => {
                        self.waiting.push_back(ask)
                    }
                    Wish::Ask(ask) => {
                        let error = Error::Unsendable("too much is asked for at once".to_owned());
                        app.happen(Happening::Answered(ask, Box::new(Err(error))), now(started));
                    }
                }
            }
            if !end && self.asked.len() >= CALLS {
                return false;
            }
            let Some(ask) = self.waiting.pop_front() else { return end };
            let (method, params) = ask.call();
            match self.client.ask(method, &params) {
                Ok(ticket) => {
                    self.asked.insert(ticket, ask);
                }
                Err(error) => {
                    app.happen(Happening::Answered(ask, Box::new(Err(error))), now(started));
                }
            }
        }
    }
}
