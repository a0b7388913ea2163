//! The state against a small home that keeps to the contract: what is shown agrees with what the home has, whatever
//! happens in between.

use std::collections::{BTreeMap, VecDeque};

use crossterm::event::{KeyCode, KeyModifiers};
use homing_client::{Channel, ChannelsPage, Error, Event, Message, MessagesPage, Sent, Uuid};
use proptest::prelude::*;
use serde_json::json;

use crate::app::{App, Happening};
use crate::ask::{Answer, Ask, PAGE, Page};
use crate::scene::{ME, asks, channel, draw, opened, order, press, type_in, with_body};
use crate::time::Moment;

const BOB: &str = "bob@globex.test";

/// A place of a log: a message, with who wrote it and whether it is still there, or something that changed another.
#[derive(Clone)]
enum Place {
    Message { sender: &'static str, text: String, deleted: bool, mentions: bool, id: Option<Uuid> },
    Fold,
}

#[derive(Default)]
struct Log {
    places: Vec<Place>,
    read: u64,
}

/// What is on the way to the client, in the order in which the home said it.
enum OnTheWay {
    Told(Box<Event>),
    Answered(Ask, Box<Answer>),
}

struct Home {
    logs: BTreeMap<u128, Log>,
    line: VecDeque<OnTheWay>,
    online: bool,
    /// Asked and lost with the connection: asked again when there is one.
    again: Vec<Ask>,
}

impl Home {
    fn head(&self, of: u128) -> u64 {
        self.logs[&of].places.len() as u64
    }

    fn message(&self, of: u128, pos: u64) -> Option<Message> {
        match &self.logs[&of].places[pos as usize - 1] {
            Place::Fold => None,
            Place::Message { sender, text, deleted, mentions, id } => {
                let body = match (deleted, mentions) {
                    (true, _) => json!({"type": "deleted"}),
                    (false, true) => json!({"type": "text", "text": text, "mentions": [ME]}),
                    (false, false) => json!({"type": "text", "text": text}),
                };
                let mut message = with_body(of, sender, pos, body);
                message.id = id.unwrap_or(message.id);
                Some(message)
            }
        }
    }

    fn unread(&self, of: u128) -> (u64, u64) {
        let log = &self.logs[&of];
        let above = log.places.iter().skip(log.read as usize);
        above.fold((0, 0), |(unread, named), place| match place {
            Place::Message { sender, deleted: false, mentions, .. } if *sender != ME => {
                (unread + 1, named + u64::from(*mentions))
            }
            Place::Message { .. } | Place::Fold => (unread, named),
        })
    }

    fn channel(&self, of: u128) -> Channel {
        let (unread, mentions) = self.unread(of);
        let last = (1..=self.head(of)).rev().find_map(|pos| self.message(of, pos));
        channel(
            of,
            json!({
                "head": self.head(of), "read": self.logs[&of].read, "unread": unread, "mentions": mentions, "last": last,
                "with": format!("user{of}@globex.test"),
            }),
        )
    }

    fn tell(&mut self, event: Event) {
        if self.online {
            self.line.push_back(OnTheWay::Told(Box::new(event)));
        }
    }

    fn write(&mut self, of: u128, sender: &'static str, mentions: bool) {
        let text = format!("number {}", self.head(of) + 1);
        let log = self.logs.get_mut(&of).unwrap();
        log.places.push(Place::Message { sender, text, deleted: false, mentions, id: None });
        if sender == ME {
            // Another device of the user: writing reads.
            log.read = log.places.len() as u64;
        }
        let message = self.message(of, self.head(of)).unwrap();
        self.tell(Event::Message(Box::new(message)));
        if sender == ME {
            let told = self.channel(of);
            self.tell(Event::Channel(Box::new(told)));
        }
    }

    fn delete(&mut self, of: u128, pos: u64) {
        let log = self.logs.get_mut(&of).unwrap();
        match log.places.get_mut(pos as usize) {
            Some(Place::Message { deleted, .. }) => *deleted = true,
            Some(Place::Fold) | None => return,
        }
        log.places.push(Place::Fold);
        let mut message = self.message(of, pos + 1).unwrap();
        message.at = Some(self.head(of));
        self.tell(Event::Message(Box::new(message)));
    }

    fn read(&mut self, of: u128, pos: u64) {
        let log = self.logs.get_mut(&of).unwrap();
        log.read = log.read.max(pos.min(log.places.len() as u64));
        let told = self.channel(of);
        self.tell(Event::Channel(Box::new(told)));
    }

    /// Everything on the way is lost, and everything that has changed comes with the next connection.
    fn outage(&mut self) {
        self.online = false;
        let lost = std::mem::take(&mut self.line);
        self.again.extend(lost.into_iter().filter_map(|what| match what {
            OnTheWay::Answered(ask, _) => Some(ask),
            OnTheWay::Told(_) => None,
        }));
        self.line.push_back(OnTheWay::Told(Box::new(Event::Lost(Error::Stopped))));
    }

    fn back(&mut self) {
        if std::mem::replace(&mut self.online, true) {
            return;
        }
        let mut opened = opened();
        opened.channels = self.logs.keys().map(|of| self.channel(*of)).collect();
        self.tell(Event::Opened(Box::new(opened)));
        for ask in std::mem::take(&mut self.again) {
            self.asked(ask);
        }
    }

    fn asked(&mut self, ask: Ask) {
        if !self.online {
            return self.again.push(ask);
        }
        let answer = match &ask {
            Ask::Channels { .. } => Answer::Channels(ChannelsPage {
                channels: self.logs.keys().map(|of| self.channel(*of)).collect(),
                cursor: None,
                sync: None,
            }),
            Ask::Channel(of) | Ask::View { channel: of, .. } => {
                Answer::Channel(Box::new(self.channel(of.as_u128())))
            }
            Ask::Messages { channel, page, .. } => {
                Answer::Messages(self.page(channel.as_u128(), *page))
            }
            Ask::Message { channel, of, .. } => {
                let found = (1..=self.head(channel.as_u128()))
                    .filter_map(|pos| self.message(channel.as_u128(), pos))
                    .find(|message| message.id == of.id);
                Answer::Message(Box::new(found.unwrap()))
            }
            Ask::Send { channel, id, body } => self.stored(channel.as_u128(), *id, body),
            Ask::Read { channel, pos } => {
                self.line.push_back(OnTheWay::Answered(ask.clone(), Box::new(Answer::Done)));
                return self.read(channel.as_u128(), *pos);
            }
            Ask::Watch(_) => Answer::Presence(Vec::new()),
            _ => Answer::Done,
        };
        self.line.push_back(OnTheWay::Answered(ask, Box::new(answer)));
    }

    /// Once, however often it is sent.
    fn stored(&mut self, of: u128, new: Uuid, body: &serde_json::Value) -> Answer {
        let is_it =
            |place: &Place| matches!(place, Place::Message { id: Some(id), .. } if *id == new);
        let log = self.logs.get_mut(&of).unwrap();
        let pos = match log.places.iter().position(is_it) {
            Some(at) => at as u64 + 1,
            None => {
                let text = body["text"].as_str().unwrap().to_owned();
                log.places.push(Place::Message {
                    sender: ME,
                    text,
                    deleted: false,
                    mentions: false,
                    id: Some(new),
                });
                log.read = log.places.len() as u64;
                log.read
            }
        };
        Answer::Sent(Sent {
            id: new,
            channel: Uuid::from_u128(of),
            pos,
            order: order(pos),
            sent_at: 1,
        })
    }

    fn page(&self, of: u128, page: Page) -> MessagesPage {
        let head = self.head(of);
        let messages =
            |from: u64, to: u64| (from..=to).filter_map(|pos| self.message(of, pos)).collect();
        match page {
            Page::After(after) => {
                let to = (after + PAGE).min(head);
                MessagesPage {
                    messages: messages(after + 1, to),
                    more: to < head,
                    next: to.max(after),
                    changed: {
                        // Whatever a fold of this page was about: all that are gone, which is more than that.
                        (1..=after.min(head))
                            .filter_map(|pos| self.message(of, pos))
                            .filter(|m| m.body() == homing_client::Body::Deleted)
                            .collect()
                    },
                }
            }
            Page::Latest | Page::Before(_) => {
                let to =
                    if let Page::Before(before) = page { before.min(head + 1) - 1 } else { head };
                let from = to.saturating_sub(PAGE - 1).max(1);
                MessagesPage {
                    messages: messages(from, to),
                    more: from > 1,
                    next: from,
                    changed: Vec::new(),
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Write { of: u8, mine: bool, mentions: bool, count: u8 },
    Delete { of: u8, pos: u16 },
    ReadElsewhere { of: u8, pos: u16 },
    Outage,
    Back,
    Deliver(u8),
    Open(u8),
    Type,
    Scroll(bool),
    Focus(bool),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1_u8..4, prop::bool::weighted(0.2), any::<bool>(), 1_u8..5)
            .prop_map(|(of, mine, mentions, count)| Deed::Write { of, mine, mentions, count }),
        1 => (1_u8..4, 0_u8..2).prop_map(|(of, many)| Deed::Write { of, mine: false, mentions: false, count: many * 250 }),
        2 => (1_u8..4, 0_u16..40).prop_map(|(of, pos)| Deed::Delete { of, pos }),
        1 => (1_u8..4, 0_u16..40).prop_map(|(of, pos)| Deed::ReadElsewhere { of, pos }),
        1 => Just(Deed::Outage),
        2 => Just(Deed::Back),
        6 => (1_u8..6).prop_map(Deed::Deliver),
        2 => (1_u8..4).prop_map(Deed::Open),
        2 => Just(Deed::Type),
        1 => any::<bool>().prop_map(Deed::Scroll),
        1 => any::<bool>().prop_map(Deed::Focus),
    ]
}

fn deliver(app: &mut App, home: &mut Home, count: usize) {
    for _ in 0..count {
        let Some(what) = home.line.pop_front() else { return };
        let now = app.now;
        match what {
            OnTheWay::Told(event) => app.happen(Happening::Home(event), now),
            OnTheWay::Answered(ask, answer) => {
                app.happen(Happening::Answered(ask, Box::new(Ok(*answer))), now);
            }
        }
        ask(app, home);
    }
}

fn ask(app: &mut App, home: &mut Home) {
    for ask in asks(app) {
        home.asked(ask);
    }
}

/// Until nothing happens any more, time included.
fn settle(app: &mut App, home: &mut Home) {
    home.back();
    for _ in 0..2_000 {
        draw(app);
        ask(app, home);
        if home.line.is_empty() {
            let Some(at) = app.deadline() else { return };
            app.happen(Happening::Tick, Moment { ms: at, ..app.now });
            ask(app, home);
        }
        deliver(app, home, 1);
    }
    panic!("it does not come to rest");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_shown_is_what_the_home_has(deeds in proptest::collection::vec(deed(), 1..50)) {
        let logs = (1..4).map(|of| (of, Log::default())).collect();
        let mut home = Home { logs, line: VecDeque::new(), online: true, again: Vec::new() };
        let mut app = App::new(&opened(), Moment { ms: 0, unix_ms: 0 }, (80, 24), false);
        let mut typed = 0;
        ask(&mut app, &mut home);
        for deed in deeds {
            match deed {
                Deed::Write { of, mine, mentions, count } => for _ in 0..count {
                    home.write(of.into(), if mine { ME } else { BOB }, mentions);
                },
                Deed::Delete { of, pos } => home.delete(of.into(), pos.into()),
                Deed::ReadElsewhere { of, pos } => home.read(of.into(), pos.into()),
                Deed::Outage => home.outage(),
                Deed::Back => home.back(),
                Deed::Deliver(count) => deliver(&mut app, &mut home, count.into()),
                Deed::Open(of) => app.look_at(Uuid::from_u128(of.into())),
                Deed::Type if app.open.is_some() => {
                    typed += 1;
                    app.focus = crate::app::Focus::Input;
                    type_in(&mut app, &format!("mine {typed}"));
                    press(&mut app, KeyCode::Enter, KeyModifiers::NONE);
                }
                Deed::Type => {}
                Deed::Scroll(up) => press(&mut app, if up { KeyCode::PageUp } else { KeyCode::PageDown }, KeyModifiers::NONE),
                Deed::Focus(focused) => app.happen(Happening::Focus(focused), app.now),
            }
            draw(&mut app);
            ask(&mut app, &mut home);
        }
        settle(&mut app, &mut home);
        // What was typed is there once each, in the order in which it was typed.
        prop_assert_eq!(app.outbox.unsent(), 0);
        for of in 1..4 {
            let mine = home.logs[&of].places.iter().filter_map(|place| match place {
                Place::Message { text, id: Some(_), .. } => Some(text.trim_start_matches("mine ").parse::<u32>().unwrap()),
                Place::Message { .. } | Place::Fold => None,
            });
            let mine: Vec<u32> = mine.collect();
            prop_assert!(mine.is_sorted(), "{:?}", mine);
            typed -= mine.len() as u32;
            let shown = app.channels.get(Uuid::from_u128(of)).unwrap();
            let real = home.channel(of);
            prop_assert_eq!((shown.head, shown.read), (real.head, real.read), "of {}", of);
            prop_assert_eq!((shown.unread, shown.mentions), (real.unread, real.mentions), "of {}", of);
            let id = |message: &Message| (message.id, message.body.get().to_owned());
            prop_assert_eq!(shown.last.as_ref().map(id), real.last.as_ref().map(id));
        }
        prop_assert_eq!(typed, 0);
        // What is held of the open conversation is what the home has between its ends.
        if let Some(window) = app.open_window() {
            let of = app.open.unwrap().as_u128();
            let high = if window.reaches_end { home.head(of) } else { window.high() };
            let real: Vec<_> = (window.low()..=high)
                .filter_map(|pos| home.message(of, pos))
                .map(|message| (message.order.clone(), message.body.get().to_owned()))
                .collect();
            let held: Vec<_> = window.newest_first()
                .map(|(order, entry)| (order.to_owned(), entry.message.body.get().to_owned()))
                .collect();
            prop_assert_eq!(held.into_iter().rev().collect::<Vec<_>>(), real);
        }
    }
}
