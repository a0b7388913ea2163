//! Receivers: one a stream of a peer. Frames are read, hashed and their proofs checked here, beside the hub;
//! the hub applies them; each range is answered once what it changed is on disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use homing_core::{LetterReply, PeerFault, PeerMark, RangeIn, RangeReply};
use homing_net::{NetHandle, RelayIn};
use homing_wire::limits::RANGE_EVENTS;
use homing_wire::proto::relay::v1 as pb;
use homing_wire::{
    ChannelId, Checker, Epoch, Event, Hash, Head, HomeId, Letter, Local, ProvenHead, Seq,
    SignedRoster, SigningKeys, UserRef,
};
use tokio::sync::{mpsc, oneshot};

use super::faults::{Faults, Verdict};
use super::fleeting::{Came, typing_in, updates_in, watches_in};
use super::hearing::{GATHERED, Heard};
use super::input::{ConnectionNo, Input};
use super::metrics::NodeMetrics;

/// Ranges and marks of one peer that wait in the hub: enough for one step, and its share of memory.
const WAITING: usize = 64;

/// What a receiver needs.
pub(super) struct Receiver {
    pub(super) peer: HomeId,
    /// As operators know it.
    pub(super) name: String,
    pub(super) connection: ConnectionNo,
    /// Those of the peer's record.
    pub(super) keys: SigningKeys,
    pub(super) hub: mpsc::Sender<Input>,
    /// What the peer is told that came of it by gossip.
    pub(super) heard: Arc<Heard>,
    pub(super) net: NetHandle,
    pub(super) metrics: Arc<NodeMetrics>,
    pub(super) faults: Arc<Faults>,
}

/// What the hub has been given and not yet answered.
enum Waiting {
    Range(ChannelId, Epoch, oneshot::Receiver<Result<RangeReply, PeerFault>>),
    Marks(u64, oneshot::Receiver<Result<(), PeerFault>>),
    Roster(ChannelId, u64, oneshot::Receiver<Result<(), PeerFault>>),
    Letter(oneshot::Receiver<Result<LetterReply, PeerFault>>),
}

impl Receiver {
    /// Serves one stream until it closes, or the peer has to be cut.
    pub(super) async fn run(self, mut link: RelayIn) {
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        let mut checker = Checker::default();
        // When the peer is told what came by gossip.
        let mut heard_at: Option<tokio::time::Instant> = None;
        loop {
            let room = waiting.len() < WAITING;
            let answer = async {
                match waiting.front_mut() {
                    Some(Waiting::Range(channel, epoch, reply)) => {
                        Answered::Range(*channel, *epoch, reply.await.ok())
                    }
                    Some(Waiting::Marks(number, reply)) => {
                        Answered::Marks(*number, reply.await.ok())
                    }
                    Some(Waiting::Roster(group, version, reply)) => {
                        Answered::Roster(*group, *version, reply.await.ok())
                    }
                    Some(Waiting::Letter(reply)) => Answered::Letter(reply.await.ok()),
                    None => std::future::pending().await,
                }
            };
            let outcome = tokio::select! {
                biased;
                answered = answer => {
                    waiting.pop_front();
                    self.answer(&link, answered).await
                }
                () = self.heard.more.notified(), if heard_at.is_none() => {
                    heard_at = Some(tokio::time::Instant::now() + GATHERED);
                    Ok(())
                }
                () = until(heard_at), if heard_at.is_some() => {
                    heard_at = None;
                    let heard = ack(pb::Ack { heard: self.heard.take(), ..pb::Ack::default() });
                    link.replies.send(heard).await.map_err(|_| Trouble::Over)
                }
                frame = link.frames.recv(), if room => match frame {
                    Some(frame) => self.take(frame, &mut checker, &mut waiting).await,
                    None => return,
                },
            };
            match outcome {
                Ok(()) => {}
                Err(Trouble::Over) => return,
                Err(Trouble::Fault(fault, channel)) => {
                    self.metrics.peer_fault(fault.0);
                    let verdict = self.faults.strike(self.peer, Instant::now());
                    verdict.log(&self.name, fault.0);
                    if let Some(channel) = channel
                        && link.replies.send(refuse(channel, fault.0)).await.is_err()
                    {
                        return;
                    }
                    if matches!(verdict, Verdict::Cut { .. }) {
                        self.net.disconnect(self.peer, fault.0).await;
                        return;
                    }
                }
            }
        }
    }

    /// Parses a frame and gives it to the hub.
    async fn take(
        &self,
        frame: pb::Frame,
        checker: &mut Checker,
        waiting: &mut VecDeque<Waiting>,
    ) -> Result<(), Trouble> {
        match frame.frame {
            Some(pb::frame::Frame::Range(range)) => {
                let channel = ChannelId::from_slice(&range.channel)
                    .map_err(|_| Trouble::Fault(PeerFault("range_malformed"), None))?;
                let range = range_in(self.peer, &self.keys, checker, channel, range)
                    .map_err(|reason| Trouble::Fault(PeerFault(reason), Some(channel)))?;
                let events = range.events.len() as u64;
                self.metrics.relay_events_in.fetch_add(events, Ordering::Relaxed);
                let (reply, answer) = oneshot::channel();
                waiting.push_back(Waiting::Range(channel, range.epoch, answer));
                let (peer, connection) = (self.peer, self.connection);
                let input = Input::Range { peer, connection, range: Box::new(range), reply };
                self.hub.send(input).await.map_err(|_| Trouble::Over)
            }
            Some(pb::frame::Frame::Marks(marks)) => {
                let number = marks.number;
                let channel = ChannelId::from_slice(&marks.channel)
                    .map_err(|_| Trouble::Fault(PeerFault("marks_malformed"), None))?;
                let marks = marks_in(marks)
                    .map_err(|reason| Trouble::Fault(PeerFault(reason), Some(channel)))?;
                let (reply, answer) = oneshot::channel();
                waiting.push_back(Waiting::Marks(number, answer));
                let (peer, connection) = (self.peer, self.connection);
                let input = Input::Marks { peer, connection, channel, marks, reply };
                self.hub.send(input).await.map_err(|_| Trouble::Over)
            }
            Some(pb::frame::Frame::Pruned(pruned)) => {
                let channel = ChannelId::from_slice(&pruned.channel)
                    .map_err(|_| Trouble::Fault(PeerFault("pruned_malformed"), None))?;
                let (parties, end) = self
                    .pruned_in(checker, channel, pruned)
                    .map_err(|reason| Trouble::Fault(PeerFault(reason), Some(channel)))?;
                let (reply, answer) = oneshot::channel();
                waiting.push_back(Waiting::Range(channel, end.epoch(), answer));
                let (peer, connection, end) = (self.peer, self.connection, Box::new(end));
                let input = Input::Pruned { peer, connection, parties, end, reply };
                self.hub.send(input).await.map_err(|_| Trouble::Over)
            }
            Some(pb::frame::Frame::Roster(roster)) => {
                let signed = SignedRoster::verify(roster.signed)
                    .map_err(|error| Trouble::Fault(PeerFault(error.reason()), None))?;
                let (group, version) = (signed.roster().group, signed.roster().version);
                let (reply, answer) = oneshot::channel();
                waiting.push_back(Waiting::Roster(group, version, answer));
                let (peer, connection, signed) = (self.peer, self.connection, Box::new(signed));
                let input = Input::Roster { peer, connection, signed, reply };
                self.hub.send(input).await.map_err(|_| Trouble::Over)
            }
            Some(pb::frame::Frame::Letter(sent)) => {
                let letter = Letter::decode(&sent.letter).map(Box::new);
                let (reply, answer) = oneshot::channel();
                waiting.push_back(Waiting::Letter(answer));
                let name = (Epoch(sent.epoch), sent.number);
                let (peer, connection) = (self.peer, self.connection);
                let input = Input::Letter { peer, connection, name, letter, reply };
                self.hub.send(input).await.map_err(|_| Trouble::Over)
            }
            Some(pb::frame::Frame::GossipKey(dealt)) => {
                let malformed = |_| Trouble::Fault(PeerFault("gossip_key_malformed"), None);
                let group = ChannelId::from_slice(&dealt.channel).map_err(|_| malformed(()))?;
                let key = dealt.key[..].try_into().map_err(|_| malformed(()))?;
                let (peer, connection, number) = (self.peer, self.connection, dealt.number);
                let key = Box::new(key);
                let input = Input::GossipKey { peer, connection, group, number, key };
                self.hub.send(input).await.map_err(|_| Trouble::Over)
            }
            Some(pb::frame::Frame::Watch(watch)) => self.fleeting(watches_in(watch)).await,
            Some(pb::frame::Frame::Presence(told)) => self.fleeting(updates_in(told)).await,
            Some(pb::frame::Frame::Typing(told)) => self.fleeting(typing_in(told)).await,
            Some(pb::frame::Frame::Pull(pb::Pull {})) => {
                let input = Input::Pull { peer: self.peer, connection: self.connection };
                self.hub.send(input).await.map_err(|_| Trouble::Over)
            }
            // The network lets nothing else through in this direction.
            Some(
                pb::frame::Frame::Ack(_)
                | pb::frame::Frame::Refuse(_)
                | pb::frame::Frame::Ping(_)
                | pb::frame::Frame::Pong(_),
            )
            | None => Ok(()),
        }
    }

    /// Gives the hub what is not kept, and reads on when it was heard: so much of one peer and no more waits there.
    async fn fleeting(&self, came: Result<Came, &'static str>) -> Result<(), Trouble> {
        let came = came.map_err(|reason| Trouble::Fault(PeerFault(reason), None))?;
        let (reply, heard) = oneshot::channel();
        let (peer, connection, came) = (self.peer, self.connection, Box::new(came));
        let input = Input::Fleeting { peer, connection, came, reply };
        self.hub.send(input).await.map_err(|_| Trouble::Over)?;
        heard.await.map_err(|_| Trouble::Over)
    }

    fn pruned_in(
        &self,
        checker: &mut Checker,
        channel: ChannelId,
        pruned: pb::Pruned,
    ) -> Result<([UserRef; 2], ProvenHead), &'static str> {
        let parties = parties_of(pruned.chat).ok_or("pruned_malformed")?;
        let hash = Hash::from_slice(&pruned.hash).map_err(|_| "pruned_malformed")?;
        let head = Head { channel, seq: Seq(pruned.seq), hash };
        let proof = pruned.proof.ok_or("unproven")?;
        let end = checker.check(self.peer, Epoch(pruned.epoch), head, &proof, &self.keys);
        Ok((parties, end.map_err(|error| error.reason())?))
    }

    /// Answers the peer: what it asked about is on disk.
    async fn answer(&self, link: &RelayIn, answered: Answered) -> Result<(), Trouble> {
        let frame = match answered {
            Answered::Range(channel, epoch, Some(Ok(reply))) => match reply.refused {
                Some(reason) => refuse(channel, reason),
                None => {
                    self.heard.answered(channel, epoch, reply.have);
                    ack(pb::Ack {
                        have: vec![pb::Have {
                            channel: Bytes::copy_from_slice(channel.as_bytes()),
                            epoch: epoch.0,
                            seq: reply.have.0,
                            rejected: rejected_out(reply.rejected),
                            need_roster: reply.need_roster,
                        }],
                        ..pb::Ack::default()
                    })
                }
            },
            Answered::Marks(number, Some(Ok(()))) => {
                ack(pb::Ack { marks: number, ..pb::Ack::default() })
            }
            Answered::Range(channel, _, Some(Err(fault))) => {
                return Err(Trouble::Fault(fault, Some(channel)));
            }
            Answered::Roster(group, version, Some(Ok(()))) => roster_have(group, version),
            Answered::Letter(Some(Ok(LetterReply { upto, held }))) => {
                ack(pb::Ack { letters: upto, letters_held: held, ..pb::Ack::default() })
            }
            Answered::Roster(group, version, Some(Err(fault))) => {
                // It is not taken, nor ever will be: without an answer its sender would wait for one, and give up the
                // connection with all that is on it.
                link.replies.send(roster_have(group, version)).await.map_err(|_| Trouble::Over)?;
                return Err(Trouble::Fault(fault, None));
            }
            Answered::Marks(_, Some(Err(fault))) | Answered::Letter(Some(Err(fault))) => {
                return Err(Trouble::Fault(fault, None));
            }
            // The hub is gone, or has a newer connection.
            Answered::Range(_, _, None)
            | Answered::Marks(_, None)
            | Answered::Roster(_, _, None)
            | Answered::Letter(None) => return Err(Trouble::Over),
        };
        link.replies.send(frame).await.map_err(|_| Trouble::Over)
    }
}

/// A range of `origin`, read, hashed and its end proven.
pub(super) fn range_in(
    origin: HomeId,
    keys: &SigningKeys,
    checker: &mut Checker,
    channel: ChannelId,
    range: pb::Range,
) -> Result<RangeIn, &'static str> {
    if range.events.len() > RANGE_EVENTS {
        return Err("range_too_long");
    }
    let parties = parties_of(range.chat).ok_or("range_malformed")?;
    let epoch = Epoch(range.epoch);
    let events: Vec<_> =
        range.events.into_iter().map(|e| Event::from_bytes(e.header, e.body)).collect();
    let end = match (events.last(), &range.proof) {
        (Some(Ok(last)), Some(proof)) => {
            let head = Head { channel, seq: last.header.seq, hash: last.hash() };
            let end = checker.check(origin, epoch, head, proof, keys);
            Some(end.map_err(|error| error.reason())?)
        }
        (Some(_) | None, _) => None,
    };
    let first = Seq(range.first_seq);
    Ok(RangeIn { channel, parties, origin, epoch, first, events, end, begins: range.begins })
}

/// What of a range was rejected, as its origin is told.
pub(super) fn rejected_out(rejected: Vec<(Seq, &'static str)>) -> Vec<pb::Rejected> {
    let told = |(seq, reason): (Seq, &str)| pb::Rejected { seq: seq.0, reason: reason.to_owned() };
    rejected.into_iter().map(told).collect()
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

enum Answered {
    Range(ChannelId, Epoch, Option<Result<RangeReply, PeerFault>>),
    Marks(u64, Option<Result<(), PeerFault>>),
    Roster(ChannelId, u64, Option<Result<(), PeerFault>>),
    Letter(Option<Result<LetterReply, PeerFault>>),
}

enum Trouble {
    /// The stream or the hub is gone.
    Over,
    /// The peer is at fault; with the channel it was about.
    Fault(PeerFault, Option<ChannelId>),
}

fn ack(ack: pb::Ack) -> pb::Frame {
    pb::Frame { frame: Some(pb::frame::Frame::Ack(ack)) }
}

fn roster_have(group: ChannelId, version: u64) -> pb::Frame {
    let group = Bytes::copy_from_slice(group.as_bytes());
    ack(pb::Ack { rosters: vec![pb::RosterHave { group, version }], ..pb::Ack::default() })
}

fn refuse(channel: ChannelId, reason: &str) -> pb::Frame {
    pb::Frame {
        frame: Some(pb::frame::Frame::Refuse(pb::Refuse {
            channel: Bytes::copy_from_slice(channel.as_bytes()),
            reason: reason.to_owned(),
        })),
    }
}

fn parties_of(chat: Option<pb::Chat>) -> Option<[UserRef; 2]> {
    let chat = chat?;
    Some([chat.a.parse().ok()?, chat.b.parse().ok()?])
}

fn marks_in(marks: pb::Marks) -> Result<Vec<PeerMark>, &'static str> {
    if marks.marks.len() > homing_wire::limits::MENTIONS {
        return Err("marks_too_many");
    }
    marks
        .marks
        .into_iter()
        .map(|m| {
            Ok(PeerMark {
                user: Local::canonical(&m.user).map_err(|_| "marks_malformed")?,
                epoch: Epoch(m.epoch),
                delivered: Seq(m.delivered),
                read: Seq(m.read),
                at: m.at,
            })
        })
        .collect()
}
