//! What goes to another home and is not kept for it: who watches whom, how people are, who types. Here it waits for its
//! turn on the stream, merged, so that a slow home makes nothing grow; and here it is read when it comes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use homing_core::presence::{Update, Watchers, Watches};
use homing_wire::limits::{PRESENCE_NAMES, TYPING};
use homing_wire::proto::relay::v1 as pb;
use homing_wire::{ChannelId, Local};

/// What waited longer is not told any more that somebody types: it may be over.
const TYPING_HOLDS: Duration = Duration::from_secs(5);

/// What waits for one home.
#[derive(Default)]
pub(super) struct Fleeting {
    anew: bool,
    watches: BTreeMap<Local, Vec<Local>>,
    updates: BTreeMap<Local, Update>,
    typing: BTreeMap<(ChannelId, Local), (bool, Instant)>,
}

/// What has come from another home.
#[derive(Debug)]
pub(super) enum Came {
    /// Whom it watches.
    Watches(Watches),
    /// How its users are.
    Updates(Vec<Update>),
    /// Who of it types, or has stopped.
    Typing(Vec<(ChannelId, Local, bool)>),
}

impl Fleeting {
    pub(super) fn is_empty(&self) -> bool {
        !self.anew && self.watches.is_empty() && self.updates.is_empty() && self.typing.is_empty()
    }

    /// Whom this home watches there. Bounded by what one home is asked in all.
    pub(super) fn watch(&mut self, watches: Watches) {
        if watches.anew {
            self.anew = true;
            self.watches.clear();
        }
        self.watches.extend(watches.users.into_iter().map(|one| (one.user, one.watchers)));
    }

    /// How users of this home are. Bounded by what that home may watch.
    pub(super) fn update(&mut self, updates: Vec<Update>) {
        for mut update in updates {
            if update.seers.is_none() {
                // Those that were named before have still to be named.
                update.seers = self.updates.remove(&update.user).and_then(|before| before.seers);
            }
            self.updates.insert(update.user.clone(), update);
        }
    }

    /// Who types. False: as many wait as a frame holds.
    pub(super) fn typing(
        &mut self,
        channel: ChannelId,
        user: Local,
        typing: bool,
        now: Instant,
    ) -> bool {
        let key = (channel, user);
        if self.typing.len() >= TYPING && !self.typing.contains_key(&key) {
            return false;
        }
        self.typing.insert(key, (typing, now));
        true
    }

    /// What goes now: frames, none too long, and how many users' presence and typing are in them.
    pub(super) fn frames(&mut self, now: Instant) -> (Vec<pb::Frame>, u64, u64) {
        let mut frames = Vec::new();
        if self.anew || !self.watches.is_empty() {
            let mut anew = std::mem::take(&mut self.anew);
            let watched = std::mem::take(&mut self.watches).into_iter();
            let watched = watched.map(|(user, watchers)| pb::Watched {
                user: user.to_string(),
                watchers: texts(&watchers),
            });
            for watched in parts(watched, |one| one.watchers.len()) {
                let anew = std::mem::take(&mut anew);
                frames.push(pb::frame::Frame::Watch(pb::Watch { anew, watched }));
            }
        }
        let updates = std::mem::take(&mut self.updates);
        let told = updates.len() as u64;
        let users = updates.into_values().map(|update| pb::PresenceOf {
            user: update.user.to_string(),
            online: update.online,
            last_seen: update.last_ms.unwrap_or(0),
            seers: update.seers.map(|seers| pb::Seers { users: texts(&seers) }),
        });
        if told > 0 {
            let seers = |one: &pb::PresenceOf| one.seers.as_ref().map_or(0, |s| s.users.len());
            for users in parts(users, seers) {
                frames.push(pb::frame::Frame::Presence(pb::Presence { users }));
            }
        }
        let typing = std::mem::take(&mut self.typing).into_iter();
        let typing: Vec<_> = typing
            .filter(|(_, (_, since))| now.duration_since(*since) < TYPING_HOLDS)
            .map(|((channel, user), (typing, _))| pb::TypingIn {
                channel: Bytes::copy_from_slice(channel.as_bytes()),
                user: user.to_string(),
                typing,
            })
            .collect();
        let typed = typing.len() as u64;
        if typed > 0 {
            frames.push(pb::frame::Frame::Typing(pb::Typing { typing }));
        }
        let frames = frames.into_iter().map(|frame| pb::Frame { frame: Some(frame) });
        (frames.collect(), told, typed)
    }
}

/// In parts of so many names at most; at least one part, which may be empty.
fn parts<T>(all: impl Iterator<Item = T>, names: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut named = 0;
    for one in all {
        let more = 1 + names(&one);
        if named + more > PRESENCE_NAMES && named > 0 {
            parts.push(Vec::new());
            named = 0;
        }
        named += more;
        if let Some(part) = parts.last_mut() {
            part.push(one);
        }
    }
    parts
}

fn texts(users: &[Local]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

fn locals(texts: Vec<String>) -> Result<Vec<Local>, &'static str> {
    texts.iter().map(|text| local(text)).collect()
}

fn local(text: &str) -> Result<Local, &'static str> {
    Local::canonical(text).map_err(|_| "presence_malformed")
}

/// Reads whom a home watches.
pub(super) fn watches_in(watch: pb::Watch) -> Result<Came, &'static str> {
    let one = |watched: pb::Watched| {
        Ok(Watchers { user: local(&watched.user)?, watchers: locals(watched.watchers)? })
    };
    let users = watch.watched.into_iter().map(one).collect::<Result<_, &'static str>>()?;
    Ok(Came::Watches(Watches { anew: watch.anew, users }))
}

/// Reads how users of a home are.
pub(super) fn updates_in(presence: pb::Presence) -> Result<Came, &'static str> {
    let one = |of: pb::PresenceOf| {
        Ok(Update {
            user: local(&of.user)?,
            online: of.online,
            last_ms: (of.last_seen > 0).then_some(of.last_seen),
            seers: of.seers.map(|seers| locals(seers.users)).transpose()?,
        })
    };
    let users = presence.users.into_iter().map(one).collect::<Result<_, &'static str>>()?;
    Ok(Came::Updates(users))
}

/// Reads who of a home types.
pub(super) fn typing_in(typing: pb::Typing) -> Result<Came, &'static str> {
    let one = |one: pb::TypingIn| {
        let channel = ChannelId::from_slice(&one.channel).map_err(|_| "typing_malformed")?;
        let user = Local::canonical(&one.user).map_err(|_| "typing_malformed")?;
        Ok((channel, user, one.typing))
    };
    Ok(Came::Typing(typing.typing.into_iter().map(one).collect::<Result<_, &'static str>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn user(name: &str) -> Local {
        Local::canonical(name).unwrap()
    }

    fn update(name: &str, online: bool, seers: Option<&[&str]>) -> Update {
        let seers = seers.map(|seers| seers.iter().map(|seer| user(seer)).collect());
        Update { user: user(name), online, last_ms: Some(7), seers }
    }

    fn came(frames: Vec<pb::Frame>) -> Vec<Came> {
        frames
            .into_iter()
            .map(|frame| match frame.frame {
                Some(pb::frame::Frame::Watch(watch)) => watches_in(watch).unwrap(),
                Some(pb::frame::Frame::Presence(presence)) => updates_in(presence).unwrap(),
                Some(pb::frame::Frame::Typing(typing)) => typing_in(typing).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn channel(n: u128) -> ChannelId {
        ChannelId(Uuid::from_u128(n))
    }

    #[test]
    fn what_waits_is_merged_and_comes_as_it_was_meant() {
        let (mut waits, now) = (Fleeting::default(), Instant::now());
        assert!(waits.is_empty());
        let watch = |anew, name: &str, watchers: &[&str]| Watches {
            anew,
            users: vec![Watchers {
                user: user(name),
                watchers: watchers.iter().map(|watcher| user(watcher)).collect(),
            }],
        };
        waits.watch(watch(false, "gone", &["x"]));
        waits.watch(watch(true, "bob", &["alice"]));
        waits.watch(watch(false, "bob", &["alice", "dave"]));
        waits.update(vec![update("alice", true, Some(&["bob"])), update("dave", true, None)]);
        waits.update(vec![update("alice", false, None)]);
        assert!(waits.typing(channel(1), user("alice"), true, now));
        assert!(waits.typing(channel(1), user("alice"), false, now));
        let (frames, told, typed) = waits.frames(now);
        assert_eq!((frames.len(), told, typed), (3, 2, 1));
        assert!(waits.is_empty());
        let mut came = came(frames).into_iter();
        let Some(Came::Watches(watches)) = came.next() else { panic!("no watches") };
        assert_eq!(watches, watch(true, "bob", &["alice", "dave"]));
        let Some(Came::Updates(updates)) = came.next() else { panic!("no updates") };
        let expected = [update("alice", false, Some(&["bob"])), update("dave", true, None)];
        assert_eq!(updates, expected);
        let Some(Came::Typing(typing)) = came.next() else { panic!("nobody types") };
        assert_eq!(typing, [(channel(1), user("alice"), false)]);
        assert_eq!(waits.frames(now).0.len(), 0);
        // That nobody is watched any more is said, too.
        waits.watch(Watches { anew: true, users: Vec::new() });
        assert!(!waits.is_empty());
        assert_eq!(waits.frames(now).0.len(), 1);
    }

    #[test]
    fn ten_thousand_who_type_are_as_many_as_a_frame_holds_and_none_when_it_is_late() {
        let (mut waits, now) = (Fleeting::default(), Instant::now());
        let taken = (0..10_000).filter(|n| waits.typing(channel(*n), user("alice"), true, now));
        assert_eq!(taken.count(), TYPING);
        assert!(waits.typing(channel(5), user("alice"), false, now), "that waits already");
        let (frames, _, typed) = waits.frames(now + TYPING_HOLDS);
        assert_eq!((frames.len(), typed), (0, 0));
        assert!(waits.is_empty());
    }

    #[test]
    fn no_frame_names_more_than_one_may() {
        let mut waits = Fleeting::default();
        let watchers: Vec<Local> = (0..5_000).map(|n| user(&format!("w{n}"))).collect();
        for n in 0..7 {
            let users = vec![Watchers { user: user(&format!("u{n}")), watchers: watchers.clone() }];
            waits.watch(Watches { anew: n == 0, users });
            let seers = Some(watchers.clone());
            let user = user(&format!("u{n}"));
            waits.update(vec![Update { user, online: true, last_ms: None, seers }]);
        }
        let (frames, told, _) = waits.frames(Instant::now());
        assert_eq!(told, 7);
        assert_eq!(frames.len(), 8, "two of five thousand fit one");
        let longest = frames.iter().map(prost::Message::encoded_len).max().unwrap();
        assert!(longest < homing_wire::limits::RELAY_FRAME_BYTES, "{longest}");
        let anew = came(frames).into_iter().filter(|came| match came {
            Came::Watches(watches) => watches.anew,
            Came::Updates(_) | Came::Typing(_) => false,
        });
        assert_eq!(anew.count(), 1, "the first alone begins anew");
    }

    #[test]
    fn what_names_nobody_is_malformed() {
        let bad = ["", "Bob", "bob@globex.test", "a b"].map(str::to_owned);
        for name in bad {
            let of = |name: &str| pb::PresenceOf { user: name.into(), ..Default::default() };
            let presence = pb::Presence { users: vec![of("bob"), of(&name)] };
            assert_eq!(updates_in(presence).unwrap_err(), "presence_malformed");
            let seers = Some(pb::Seers { users: vec![name.clone()] });
            let presence = pb::Presence { users: vec![pb::PresenceOf { seers, ..of("bob") }] };
            assert_eq!(updates_in(presence).unwrap_err(), "presence_malformed");
            let watched = pb::Watched { user: "bob".into(), watchers: vec![name.clone()] };
            let watch = pb::Watch { anew: false, watched: vec![watched] };
            assert_eq!(watches_in(watch).unwrap_err(), "presence_malformed");
            let channel = Bytes::copy_from_slice(&[7; 16]);
            let one = pb::TypingIn { channel, user: name, typing: true };
            assert_eq!(
                typing_in(pb::Typing { typing: vec![one] }).unwrap_err(),
                "typing_malformed"
            );
        }
        let channel = Bytes::copy_from_slice(&[7; 15]);
        let one = pb::TypingIn { channel, user: "bob".into(), typing: true };
        assert_eq!(typing_in(pb::Typing { typing: vec![one] }).unwrap_err(), "typing_malformed");
    }
}
