//! What other homes have asked users of this one, and is not answered: invitations into their groups, first contacts of their
//! users. They make as many as they like, and each is kept and shown until it is answered: so they are counted.

use std::collections::{BTreeMap, BTreeSet};

use homing_wire::{ChannelId, HomeId, Local, UserRef};

use crate::home::Home;
use crate::write::Write;

/// All of a home's.
#[derive(Default)]
pub(crate) struct Unanswered {
    pub(crate) invitations: Open,
    pub(crate) requests: Open,
    /// Invitations declined because too many are open, by this process.
    pub(crate) declined: u64,
}

/// Those of one kind, by the home that asks.
#[derive(Default)]
pub(crate) struct Open(BTreeMap<HomeId, OfHome>);

#[derive(Default)]
struct OfHome {
    of_user: BTreeMap<Local, BTreeSet<ChannelId>>,
    count: usize,
}

impl Unanswered {
    fn of(&mut self, channel: ChannelId) -> &mut Open {
        if channel.is_group() { &mut self.invitations } else { &mut self.requests }
    }

    /// Notes that a home has asked a user; answers whether that is new.
    pub(crate) fn add(&mut self, home: HomeId, user: &Local, channel: ChannelId) -> bool {
        self.of(channel).add(home, user, channel)
    }
}

impl Open {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(|of_home| of_home.count).sum()
    }

    /// Of one home: how many a user has, and all together, leaving out that channel's.
    pub(crate) fn others(&self, home: &HomeId, user: &Local, channel: ChannelId) -> (usize, usize) {
        let Some(of_home) = self.0.get(home) else { return (0, 0) };
        let channels = of_home.of_user.get(user);
        let this = usize::from(channels.is_some_and(|channels| channels.contains(&channel)));
        (channels.map_or(0, BTreeSet::len) - this, of_home.count - this)
    }

    fn add(&mut self, home: HomeId, user: &Local, channel: ChannelId) -> bool {
        let of_home = self.0.entry(home).or_default();
        let new = match of_home.of_user.get_mut(user) {
            Some(channels) => channels.insert(channel),
            None => of_home.of_user.insert(user.clone(), BTreeSet::from([channel])).is_none(),
        };
        of_home.count += usize::from(new);
        new
    }

    fn remove(&mut self, home: HomeId, user: &Local, channel: ChannelId) -> bool {
        let Some(of_home) = self.0.get_mut(&home) else { return false };
        let Some(channels) = of_home.of_user.get_mut(user) else { return false };
        let known = channels.remove(&channel);
        if channels.is_empty() {
            of_home.of_user.remove(user);
        }
        of_home.count -= usize::from(known);
        if of_home.count == 0 {
            self.0.remove(&home);
        }
        known
    }
}

impl Home {
    /// Notes whether a user of this home has still to answer what another home has asked in a channel: to be called after
    /// anything of that changed.
    pub(crate) fn note_unanswered(&mut self, channel: ChannelId, user: &UserRef) {
        let own = self.id;
        let Some(state) = self.state(channel) else { return };
        let home = match &state.group {
            Some(of) => Some(of.owner),
            None => state.other(user).map(|other| other.user.home),
        };
        let Some(home) = home.filter(|home| *home != own && user.home == own) else { return };
        let is_group = state.group.is_some();
        let open = state
            .member(user)
            .is_some_and(|m| if is_group { m.is_asked() } else { m.is_request() });
        let of = self.unanswered.of(channel);
        let changed = if open {
            of.add(home, &user.local, channel)
        } else {
            of.remove(home, &user.local, channel)
        };
        if changed {
            let user = user.local.clone();
            self.write(Write::Unanswered { home, user, channel, open });
        }
    }
}
