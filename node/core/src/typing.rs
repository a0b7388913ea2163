//! Who is told that somebody types. Nothing of it is stored, and nothing waits for whoever is away.

use std::collections::{BTreeMap, BTreeSet};

use homing_wire::{ChannelId, HomeId, Local, Pos, UserRef};

use crate::home::Home;
use crate::reader::{Fault, Reader};
use crate::state::{ChannelState, Member};

/// In one channel others are told at most once in so long, in milliseconds, that a user types, or has stopped.
const PACE_MS: u64 = 1_000;
/// Channels in which one user types at once: people write in one, and look at another.
const CHANNELS: usize = 4;

/// A pace for everybody who types. In one channel the first word goes at once; what follows within a second is told at
/// its end, if it still differs: so the last word is never lost, however fast a client is.
#[derive(Default)]
pub struct Typing {
    told: BTreeMap<(Local, ChannelId), Told>,
}

struct Told {
    typing: bool,
    at_ms: u64,
    /// To be told at the end of the second.
    later: Option<bool>,
}

/// What becomes of a word that somebody types, or has stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// It is told now.
    Now,
    /// It is told within a second, unless it is news no more by then.
    Kept,
    /// The user types in too many channels; try again after so many milliseconds.
    TooMany(u64),
}

impl Typing {
    /// `now_ms`: of a clock that only goes forward.
    pub fn set(&mut self, now_ms: u64, user: &Local, channel: ChannelId, typing: bool) -> Pace {
        let key = (user.clone(), channel);
        if let Some(told) = self.told.get_mut(&key) {
            if now_ms < told.at_ms + PACE_MS {
                told.later = (typing != told.typing).then_some(typing);
                return Pace::Kept;
            }
        } else {
            let first = (user.clone(), ChannelId(uuid::Uuid::nil()));
            let others = self.told.range(first..).take_while(|((who, _), _)| who == user);
            let at: Vec<u64> = others.map(|(_, told)| told.at_ms).collect();
            if at.len() >= CHANNELS {
                let oldest = at.into_iter().min().unwrap_or(now_ms);
                return Pace::TooMany((oldest + PACE_MS).saturating_sub(now_ms).max(1));
            }
        }
        self.told.insert(key, Told { typing, at_ms: now_ms, later: None });
        Pace::Now
    }

    /// What is told now that a second is over; called about once a second.
    pub fn tick(&mut self, now_ms: u64) -> Vec<(Local, ChannelId, bool)> {
        let mut due = Vec::new();
        self.told.retain(|(user, channel), told| {
            if now_ms < told.at_ms + PACE_MS {
                return true;
            }
            let Some(typing) = told.later.take() else { return false };
            (told.typing, told.at_ms) = (typing, now_ms);
            due.push((user.clone(), *channel, typing));
            true
        });
        due
    }
}

/// Who is told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audience {
    /// Users of this home.
    pub users: Vec<Local>,
    /// Other homes.
    pub homes: BTreeSet<HomeId>,
}

impl Home {
    /// Who is told that a user of this home types in a channel; `None`: the user is not in it.
    pub fn typing_audience(
        &mut self,
        reader: &dyn Reader,
        user: &Local,
        channel: ChannelId,
    ) -> Result<Option<Audience>, Fault> {
        let (me, home) = (self.user(user), self.id);
        let Some(state) = self.channel(reader, channel)? else { return Ok(None) };
        let Some(member) = state.member(&me).filter(|member| is_inside(state, member)) else {
            return Ok(None);
        };
        if state.group.is_none() && (!member.accepted || member.blocking) {
            // Whoever has not accepted a first contact, or has blocked the other, gives no sign.
            return Ok(Some(Audience::default()));
        }
        let told = |member: &&Member| {
            let heard = state.group.is_some() || has_answered(state, member);
            member.user.home != home && is_inside(state, member) && heard
        };
        let homes = state.members.iter().filter(told).map(|member| member.user.home).collect();
        let users = self.typing_users(reader, channel, &me)?;
        Ok(Some(Audience { users, homes }))
    }

    /// Users of this home who are told that a user of another one types in a channel; `None`: that one is not in it.
    pub fn typing_heard(
        &mut self,
        reader: &dyn Reader,
        user: &UserRef,
        channel: ChannelId,
    ) -> Result<Option<Vec<Local>>, Fault> {
        let home = self.id;
        let Some(state) = self.channel(reader, channel)? else { return Ok(None) };
        if user.home == home || !state.member(user).is_some_and(|m| is_inside(state, m)) {
            return Ok(None);
        }
        self.typing_users(reader, channel, user).map(Some)
    }

    /// Users of this home in a channel who are to see that `typist` types: nobody who has blocked the typist, or has
    /// not accepted the conversation.
    fn typing_users(
        &mut self,
        reader: &dyn Reader,
        channel: ChannelId,
        typist: &UserRef,
    ) -> Result<Vec<Local>, Fault> {
        let home = self.id;
        let Some(state) = self.channel(reader, channel)? else { return Ok(Vec::new()) };
        let group = state.group.is_some();
        let wanted = |member: &&Member| {
            member.user.home == home
                && member.user != *typist
                && is_inside(state, member)
                && member.accepted
                && member.is_listed()
                && !member.blocking
        };
        let users = state.members.iter().filter(wanted).map(|member| member.user.local.clone());
        let mut users: Vec<Local> = users.collect();
        if group {
            // In chats that is noted in the chat itself.
            let mut hearing = Vec::with_capacity(users.len());
            for user in users {
                if !self.has_blocked(reader, &user, typist)? {
                    hearing.push(user);
                }
            }
            users = hearing;
        }
        Ok(users)
    }
}

/// Whether a member is in the channel now, not only asked or gone.
fn is_inside(state: &ChannelState, member: &Member) -> bool {
    !member.left && (state.group.is_none() || member.accepted)
}

/// Whether the home of the other party of a chat has said anything in it: until it does, a first contact may not have
/// been accepted.
fn has_answered(state: &ChannelState, other: &Member) -> bool {
    other.mark.delivered > Pos(0)
        || state.chains.iter().any(|chain| chain.origin == other.user.home)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn user(name: &str) -> Local {
        Local::canonical(name).unwrap()
    }

    fn channel(n: u128) -> ChannelId {
        ChannelId(Uuid::from_u128(n))
    }

    #[test]
    fn the_first_word_goes_at_once_and_the_last_is_never_lost() {
        let mut typing = Typing::default();
        let alice = user("alice");
        let mut set = |ms, on| typing.set(ms, &alice, channel(1), on);
        assert_eq!(set(0, true), Pace::Now);
        assert_eq!(set(10, true), Pace::Kept);
        assert_eq!(set(20, false), Pace::Kept);
        assert_eq!(typing.tick(900), []);
        assert_eq!(typing.tick(1_000), [(alice.clone(), channel(1), false)]);
        // That was the last: there is nothing to tell, and nothing is left.
        assert_eq!(typing.tick(2_000), []);
        assert!(typing.told.is_empty());
        // What is as it was told is told no more.
        let mut set = |ms, on| typing.set(ms, &alice, channel(1), on);
        assert_eq!(
            [set(3_000, true), set(3_001, false), set(3_002, true)].map(|p| p == Pace::Now),
            [true, false, false]
        );
        assert_eq!(typing.tick(4_000), []);
        // Renewed by whoever goes on.
        assert_eq!(typing.set(5_000, &alice, channel(1), true), Pace::Now);
    }

    #[test]
    fn ten_thousand_words_in_ten_seconds_are_ten() {
        let mut typing = Typing::default();
        let mut told = 0;
        for ms in 0..10_000 {
            told +=
                usize::from(typing.set(ms, &user("alice"), channel(1), ms % 2 == 0) == Pace::Now);
            told += if ms % 1_000 == 999 { typing.tick(ms).len() } else { 0 };
        }
        assert!((5..=11).contains(&told), "{told}");
        assert_eq!(typing.told.len(), 1);
    }

    #[test]
    fn nobody_types_everywhere() {
        let mut typing = Typing::default();
        let set =
            |typing: &mut Typing, ms, name: &str, n| typing.set(ms, &user(name), channel(n), true);
        for n in 1..=4 {
            assert_eq!(set(&mut typing, u64::try_from(n).unwrap(), "bob", n), Pace::Now);
        }
        assert_eq!(set(&mut typing, 401, "bob", 5), Pace::TooMany(600));
        assert_eq!(set(&mut typing, 401, "alice", 5), Pace::Now);
        assert_eq!(set(&mut typing, 401, "carol", 5), Pace::Now);
        assert_eq!(set(&mut typing, 402, "bob", 4), Pace::Kept);
        typing.tick(1_001);
        assert_eq!(set(&mut typing, 1_001, "bob", 5), Pace::Now);
    }
}
