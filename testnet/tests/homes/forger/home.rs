//! The forging home: it takes and answers what others bring and ask as any home does, and brings what the tests give it.

use std::collections::BTreeMap;

use bytes::Bytes;
use homing_net::{NetEvent, RelayIn, RelayOut};
use homing_wire::proto::query::v1 as pb_query;
use homing_wire::proto::relay::v1 as pb;
use homing_wire::proto::relay::v1::frame::Frame;
use homing_wire::{
    Change, ChannelId, Command, Epoch, Event, Fence, Hash, Header, HomeId, Letter, OpId, Policy,
    PolicySpan, Role, Roster, Seq, SignedRoster, Signs, Tenure, UserRef,
};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::hostile::{Liar, forged, now};
use crate::party::{Party, WITHIN};

/// The home, and what it keeps.
pub(super) struct Forger {
    pub(super) liar: Liar,
    pub(super) homes: Vec<HomeId>,
    /// Signed, theirs.
    pub(super) records: Vec<Bytes>,
    links: Vec<RelayOut>,
    /// Of each group the newest roster that was brought to it.
    brought: watch::Receiver<Rosters>,
    letters: u64,
    /// Its own chains.
    chains: BTreeMap<ChannelId, (Seq, Hash)>,
}

type Rosters = BTreeMap<ChannelId, SignedRoster>;

impl Forger {
    pub(super) async fn among(mut liar: Liar, party: &Party) -> Self {
        let brought = behave(&mut liar);
        let (mut homes, mut records, mut links) = (Vec::new(), Vec::new(), Vec::new());
        for home in party.homes.iter() {
            let ready = home.ready().unwrap();
            homes.push(liar.approach(&ready.home_id, &ready.p2p).await);
            let up = |event| match event {
                NetEvent::PeerUp { hello, .. } => Some(hello.signed_record),
                NetEvent::Refused { reason, .. } => panic!("not let in: {reason}"),
                _ => None,
            };
            records.push(liar.next(up).await);
            links.push(liar.relay().await);
        }
        let (letters, chains) = (0, BTreeMap::new());
        Self { liar, homes, records, links, brought, letters, chains }
    }

    pub(super) fn user(&self, name: &str) -> UserRef {
        UserRef::new(self.liar.id, name.parse().unwrap())
    }

    /// The first roster of a group of eve's.
    pub(super) fn founds(&self, people: &[&UserRef]) -> Roster {
        let (eve, version) = (self.user("eve"), 1);
        let policy = PolicySpan { from: version, policy: Policy::default(), fences: Vec::new() };
        let mut roster = Roster {
            group: ChannelId(Uuid::now_v7()),
            owner: self.liar.id,
            epoch: Epoch(1),
            version,
            at: now(),
            prev: Hash::NONE,
            name: "friends".to_owned(),
            policies: vec![policy],
            tenures: Vec::new(),
            continues: None,
            avatar: None,
        };
        begins(&mut roster, &eve, Role::Owner, &eve);
        for user in people {
            begins(&mut roster, user, Role::Member, &eve);
        }
        roster
    }

    pub(super) fn signs(&self, roster: Roster) -> SignedRoster {
        roster.sign(&self.liar.key, self.liar.record.clone())
    }

    /// Signs a roster and brings it to a home.
    pub(super) async fn follows(&mut self, home: usize, roster: &Roster) {
        let signed = self.signs(roster.clone());
        self.shows(home, &signed).await;
    }

    /// Brings a roster to a home, which has made of it what it wants when this returns.
    pub(super) async fn shows(&mut self, home: usize, signed: &SignedRoster) {
        self.gives(home, roster_frame(signed)).await;
        let (group, version) = (signed.roster().group, signed.roster().version);
        assert_eq!(self.ack(home).await.rosters, [roster_have(group, version)]);
    }

    /// One of its own accepts an invitation.
    pub(super) async fn accepts(&mut self, home: usize, group: Uuid, name: &str) {
        self.letters += 1;
        let (number, user) = (self.letters, name.parse().unwrap());
        let (group, op) = (ChannelId(group), OpId(Uuid::now_v7()));
        let command = Command { group, op, user, change: Change::Join { link: None } };
        let letter = Letter::Command(command).encode();
        let taken = async {
            // A home that is still asking others takes none: it comes again.
            loop {
                let letter = letter.clone();
                self.gives(home, Frame::Letter(pb::Letter { epoch: 1, number, letter })).await;
                if self.ack(home).await.letters == number {
                    return;
                }
            }
        };
        tokio::time::timeout(WITHIN, taken).await.expect("the letter is not taken");
    }

    /// The next event of its chain in a group.
    pub(super) fn writes(&mut self, group: Uuid, who: &str, version: u64, words: &str) -> Event {
        let group = ChannelId(group);
        let first = forged(group, &self.user(who), words);
        let (last, prev) = self.chains.get(&group).copied().unwrap_or((Seq(0), Hash::NONE));
        let header = Header { seq: last.next(), prev, roster: version, ..first.header };
        let event = Event::new(header, first.body);
        self.chains.insert(group, (event.header.seq, event.hash()));
        event
    }

    /// Brings an event to a home; what that says to it.
    pub(super) async fn tells(&mut self, home: usize, event: &Event) -> pb::Have {
        let (a, b) = (self.user("eve"), UserRef::new(self.homes[home], "alice".parse().unwrap()));
        let range = self.liar.range([&a, &b], event);
        self.gives(home, range.frame.unwrap()).await;
        let [have] = self.ack(home).await.have.try_into().unwrap();
        have
    }

    pub(super) async fn gives(&mut self, home: usize, frame: Frame) {
        self.links[home].frames.send(pb::Frame { frame: Some(frame) }).await.unwrap();
    }

    async fn ack(&mut self, home: usize) -> pb::Ack {
        let reply = tokio::time::timeout(WITHIN, self.links[home].replies.recv()).await;
        match reply.expect("no answer").expect("the stream ended").frame {
            Some(Frame::Ack(ack)) => ack,
            other => panic!("not acknowledged: {other:?}"),
        }
    }

    /// The newest roster that was brought to it, once that is as wanted.
    pub(super) async fn newest(
        &mut self,
        group: ChannelId,
        wanted: impl Fn(&Roster) -> bool,
    ) -> SignedRoster {
        let is_it = |all: &Rosters| all.get(&group).is_some_and(|held| wanted(held.roster()));
        let found = tokio::time::timeout(WITHIN, self.brought.wait_for(is_it)).await;
        found.expect("the roster does not come").unwrap()[&group].clone()
    }
}

/// From now on it takes and answers what other homes bring and ask, as any home does.
fn behave(liar: &mut Liar) -> watch::Receiver<Rosters> {
    let (keep, brought) = watch::channel(Rosters::new());
    // The rest is read by the test, and little.
    let (forward, rest) = mpsc::channel(1_000);
    let mut events = std::mem::replace(&mut liar.events, rest);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                NetEvent::RelayIn { link, .. } => drop(tokio::spawn(take(link, keep.clone()))),
                NetEvent::Query { query, reply, .. } => drop(reply.send(answer(query))),
                other => {
                    if forward.send(other).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    brought
}

async fn take(mut link: RelayIn, keep: watch::Sender<Rosters>) {
    while let Some(frame) = link.frames.recv().await {
        let mut ack = pb::Ack::default();
        match frame.frame {
            Some(Frame::Range(range)) => {
                let seq = range.first_seq + range.events.len() as u64 - 1;
                let (channel, epoch) = (range.channel, range.epoch);
                ack.have = vec![pb::Have { channel, epoch, seq, ..pb::Have::default() }];
            }
            Some(Frame::Roster(roster)) => {
                let signed = SignedRoster::verify(roster.signed).unwrap();
                let (group, version) = (signed.roster().group, signed.roster().version);
                ack.rosters = vec![roster_have(group, version)];
                keep.send_modify(|held| {
                    if held.get(&group).is_none_or(|held| held.roster().version < version) {
                        held.insert(group, signed);
                    }
                });
            }
            Some(Frame::Marks(marks)) => ack.marks = marks.number,
            Some(Frame::Letter(letter)) => ack.letters = letter.number,
            _ => continue,
        }
        if link.replies.send(pb::Frame { frame: Some(Frame::Ack(ack)) }).await.is_err() {
            return;
        }
    }
}

fn answer(query: pb_query::Query) -> pb_query::Answer {
    use pb_query::{answer::Answer, query::Query};
    let answer = match query.query {
        Some(Query::Holdings(_)) => Answer::Holdings(pb_query::HoldingsAnswer::default()),
        Some(Query::User(asked)) => Answer::User(pb_query::UserAnswer {
            user_id: Bytes::copy_from_slice(Uuid::now_v7().as_bytes()),
            display_name: asked.local.clone(),
            local: asked.local,
            seen: None,
            avatar: None,
        }),
        other => panic!("not to be asked here: {other:?}"),
    };
    pb_query::Answer { answer: Some(answer) }
}

/// Says whose key it is that signs, and signs with another.
pub(super) struct InTheNameOf<'a>(pub(super) [u8; 32], pub(super) &'a dyn Signs);

impl Signs for InTheNameOf<'_> {
    fn public(&self) -> [u8; 32] {
        self.0
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.1.sign(message)
    }
}

pub(super) fn roster_frame(signed: &SignedRoster) -> Frame {
    Frame::Roster(pb::Roster { signed: signed.bytes().clone() })
}

fn roster_have(group: ChannelId, version: u64) -> pb::RosterHave {
    pb::RosterHave { group: Bytes::copy_from_slice(group.as_bytes()), version }
}

/// The roster after that one.
pub(super) fn next_of(held: &Roster, change: impl FnOnce(&mut Roster)) -> Roster {
    let mut next =
        Roster { version: held.version + 1, at: now(), prev: held.hash(), ..held.clone() };
    change(&mut next);
    next
}

pub(super) fn begins(roster: &mut Roster, user: &UserRef, role: Role, by: &UserRef) {
    let (user, from, by) = (user.clone(), roster.version, by.clone());
    roster.tenures.push(Tenure { user, role, from, until: None, fence: None, by });
}

/// With that version a user's role ends, and of what the user wrote nothing counts that comes later.
pub(super) fn ends(roster: &mut Roster, user: &UserRef) {
    let version = roster.version;
    for tenure in roster.tenures.iter_mut().filter(|t| t.user == *user && t.until.is_none()) {
        (tenure.until, tenure.fence) = (Some(version), Some(Fence::NOTHING));
    }
}
