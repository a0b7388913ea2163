//! Receivers: one a stream of a peer. Frames are read and hashed here, beside the hub; the hub applies
//! them; each range is answered once what it changed is on disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use homing_core::{PeerFault, PeerMark, RangeIn, RangeReply};
use homing_net::{NetHandle, RelayIn};
use homing_wire::limits::RANGE_EVENTS;
use homing_wire::proto::relay::v1 as pb;
use homing_wire::{ChannelId, Epoch, Event, HomeId, Local, Seq};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::input::Input;
use super::metrics::NodeMetrics;

/// Ranges and marks of one peer that wait in the hub: enough for one step, and its share of memory.
const WAITING: usize = 64;
/// Faults of a peer on one stream before it is cut: one may be an old bug, three are not.
const STRIKES: u32 = 3;

/// What a receiver needs.
pub(super) struct Receiver {
    pub(super) peer: HomeId,
    pub(super) hub: mpsc::Sender<Input>,
    pub(super) net: NetHandle,
    pub(super) metrics: Arc<NodeMetrics>,
}

/// What the hub has been given and not yet answered.
enum Waiting {
    Range(ChannelId, Epoch, oneshot::Receiver<Result<RangeReply, PeerFault>>),
    Marks(u64, oneshot::Receiver<Result<(), PeerFault>>),
}

impl Receiver {
    /// Serves one stream until it closes, or the peer has to be cut.
    pub(super) async fn run(self, mut link: RelayIn) {
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        let mut strikes = 0;
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
                    None => std::future::pending().await,
                }
            };
            let outcome = tokio::select! {
                biased;
                answered = answer => {
                    waiting.pop_front();
                    self.answer(&link, answered).await
                }
                frame = link.frames.recv(), if room => match frame {
                    Some(frame) => self.take(frame, &mut waiting).await,
                    None => return,
                },
            };
            match outcome {
                Ok(()) => {}
                Err(Trouble::Over) => return,
                Err(Trouble::Fault(fault, channel)) => {
                    strikes += 1;
                    self.metrics.peer_fault(fault.0);
                    warn!(peer = %self.peer, reason = fault.0, strikes, "a peer does what no honest home does");
                    if let Some(channel) = channel
                        && link.replies.send(refuse(channel, fault.0)).await.is_err()
                    {
                        return;
                    }
                    if strikes >= STRIKES {
                        self.net.disconnect(self.peer, fault.0).await;
                        return;
                    }
                }
            }
        }
    }

    /// Parses a frame and gives it to the hub.
    async fn take(&self, frame: pb::Frame, waiting: &mut VecDeque<Waiting>) -> Result<(), Trouble> {
        match frame.frame {
            Some(pb::frame::Frame::Range(range)) => {
                let channel = ChannelId::from_slice(&range.channel)
                    .map_err(|_| Trouble::Fault(PeerFault("range_malformed"), None))?;
                let range = range_in(channel, range)
                    .map_err(|reason| Trouble::Fault(PeerFault(reason), Some(channel)))?;
                let events = range.events.len() as u64;
                self.metrics.relay_events_in.fetch_add(events, Ordering::Relaxed);
                let (reply, answer) = oneshot::channel();
                waiting.push_back(Waiting::Range(channel, range.epoch, answer));
                let input = Input::Range { peer: self.peer, range: Box::new(range), reply };
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
                let input = Input::Marks { peer: self.peer, channel, marks, reply };
                self.hub.send(input).await.map_err(|_| Trouble::Over)
            }
            // Heads are for repair by third homes, which this version does not do. The network lets
            // nothing else through in this direction.
            Some(
                pb::frame::Frame::Heads(_)
                | pb::frame::Frame::Ack(_)
                | pb::frame::Frame::Refuse(_)
                | pb::frame::Frame::Ping(_)
                | pb::frame::Frame::Pong(_),
            )
            | None => Ok(()),
        }
    }

    /// Answers the peer: what it asked about is on disk.
    async fn answer(&self, link: &RelayIn, answered: Answered) -> Result<(), Trouble> {
        let frame = match answered {
            Answered::Range(channel, epoch, Some(Ok(reply))) => match reply.refused {
                Some(reason) => refuse(channel, reason),
                None => ack(pb::Ack {
                    have: vec![pb::Have {
                        channel: Bytes::copy_from_slice(channel.as_bytes()),
                        epoch: epoch.0,
                        seq: reply.have.0,
                        rejected: reply
                            .rejected
                            .into_iter()
                            .map(|(seq, reason)| pb::Rejected {
                                seq: seq.0,
                                reason: reason.to_owned(),
                            })
                            .collect(),
                    }],
                    marks: 0,
                }),
            },
            Answered::Marks(number, Some(Ok(()))) => {
                ack(pb::Ack { have: Vec::new(), marks: number })
            }
            Answered::Range(channel, _, Some(Err(fault))) => {
                return Err(Trouble::Fault(fault, Some(channel)));
            }
            Answered::Marks(_, Some(Err(fault))) => return Err(Trouble::Fault(fault, None)),
            // The hub is gone.
            Answered::Range(_, _, None) | Answered::Marks(_, None) => return Err(Trouble::Over),
        };
        link.replies.send(frame).await.map_err(|_| Trouble::Over)
    }
}

enum Answered {
    Range(ChannelId, Epoch, Option<Result<RangeReply, PeerFault>>),
    Marks(u64, Option<Result<(), PeerFault>>),
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

fn refuse(channel: ChannelId, reason: &str) -> pb::Frame {
    pb::Frame {
        frame: Some(pb::frame::Frame::Refuse(pb::Refuse {
            channel: Bytes::copy_from_slice(channel.as_bytes()),
            reason: reason.to_owned(),
        })),
    }
}

fn range_in(channel: ChannelId, range: pb::Range) -> Result<RangeIn, &'static str> {
    if range.events.len() > RANGE_EVENTS {
        return Err("range_too_long");
    }
    let chat = range.chat.ok_or("range_malformed")?;
    let party = |text: &str| text.parse().map_err(|_| "range_malformed");
    Ok(RangeIn {
        channel,
        parties: [party(&chat.a)?, party(&chat.b)?],
        epoch: Epoch(range.epoch),
        first: Seq(range.first_seq),
        events: range.events.into_iter().map(|e| Event::from_bytes(e.header, e.body)).collect(),
    })
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
