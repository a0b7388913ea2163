//! Repairs: asking a home what it holds, and fetching it ([`homing_core::Repair`]); and answering homes that
//! ask the same. Questions leave once what they presuppose is on disk; answers show committed state only.

use std::sync::Arc;

use bytes::Bytes;
use homing_core::{
    Answered, Holding, Holdings, Question, RangeAnswer, RangeQuestion, Reconciled, Repair,
    holdings, range_of, roster_for,
};
use homing_wire::proto::event::v1 as pb_event;
use homing_wire::proto::query::v1 as pb;
use homing_wire::{
    ChannelId, Checker, Epoch, Event, Hash, Head, HomeId, HomeRecord, Seq, SignedRoster,
    SigningKeys, limits, prove, read_proof,
};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::hub::{Hub, HubError};
use super::input::{Input, Told};
use super::peers::refusal;

/// A repair that could not go on is tried again after this long, in milliseconds.
const RETRY_MS: u64 = 2_000;

/// A repair, or when the next begins.
pub(super) struct RepairRun {
    /// Tells answers to this one from those to an earlier one.
    number: u64,
    work: Option<Repair>,
    retry_at: u64,
}

impl Hub {
    /// Begins to fetch what `peer` holds, unless that is under way.
    pub(super) fn start_repair(&mut self, peer: HomeId) -> Result<(), HubError> {
        if self.repairs.get(&peer).is_some_and(|run| run.work.is_some()) {
            return Ok(());
        }
        let number = self.number();
        let work = Some(Repair::new(peer));
        self.repairs.insert(peer, RepairRun { number, work, retry_at: u64::MAX });
        self.count_repairs();
        self.go_on(peer)
    }

    pub(super) fn stop_repair(&mut self, peer: &HomeId) {
        if let Some(run) = self.repairs.get_mut(peer) {
            run.work = None;
            run.retry_at = u64::MAX; // it begins anew with the connection
        }
        self.count_repairs();
    }

    /// Repairs that could not go on.
    pub(super) fn retry_repairs(&mut self) -> Result<(), HubError> {
        let now = self.now_ms();
        let due: Vec<HomeId> = self
            .repairs
            .iter()
            .filter(|(_, run)| run.work.is_none() && run.retry_at <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            self.start_repair(peer)?;
        }
        Ok(())
    }

    /// The peer has answered, or not.
    pub(super) fn repaired(
        &mut self,
        peer: HomeId,
        number: u64,
        answer: Result<Answered, &'static str>,
    ) -> Result<(), HubError> {
        let (now, store) = (self.now_ms(), self.store.clone());
        let Some(run) = self.repairs.get_mut(&peer).filter(|run| run.number == number) else {
            return Ok(());
        };
        let Some(work) = &mut run.work else { return Ok(()) };
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                debug!(peer = %self.directory.show(&peer), reason, "a repair waits");
                run.work = None;
                run.retry_at = now + RETRY_MS;
                self.count_repairs();
                return Ok(());
            }
        };
        let before = work.fetched();
        let result = work.answered(&mut self.home, &*store, now, answer)?;
        if let Some(epoch) = work.later_life() {
            let peer = self.directory.show(&peer);
            return Err(HubError::LaterLife { peer, epoch: epoch.0 });
        }
        let fetched = work.fetched() - before;
        self.metrics.repaired.fetch_add(fetched, std::sync::atomic::Ordering::Relaxed);
        self.collect_effects(None)?;
        if let Err(fault) = result {
            self.stop_repair(&peer);
            self.at_fault(peer, fault);
            return Ok(());
        }
        self.go_on(peer)
    }

    /// Asks the next question, or ends the repair.
    fn go_on(&mut self, peer: HomeId) -> Result<(), HubError> {
        let store = self.store.clone();
        let Some(run) = self.repairs.get_mut(&peer) else { return Ok(()) };
        let Some(work) = &mut run.work else { return Ok(()) };
        let number = run.number;
        let Some(question) = work.next(&mut self.home, &*store)? else {
            let (fetched, incomplete) = (work.fetched(), work.incomplete());
            let name = self.directory.show(&peer);
            self.repairs.remove(&peer);
            self.count_repairs();
            match self.home.reconciled(&*store, peer, incomplete)? {
                Reconciled::Whole if fetched > 0 => {
                    info!(peer = %name, fetched, "everything a home held was fetched");
                }
                Reconciled::Whole => {}
                Reconciled::AskAgain => warn!(
                    peer = %name, fetched, incomplete,
                    "a home holds more than it could show; what it showed is stored, the rest is asked for again \
                     when it is next connected"
                ),
                Reconciled::GivenUp => warn!(
                    peer = %name, fetched, incomplete,
                    "a home holds more than it could show; what it showed is stored, and it is not asked again"
                ),
            }
            return self.collect_effects(None);
        };
        self.collect_effects(None)?;
        let (keys, origin) = match &question {
            Question::Holdings { .. } | Question::Roster { .. } => (SigningKeys::default(), peer),
            Question::Range(range) => (self.keys_of(&range.origin), range.origin),
        };
        let (net, input) = (self.net.clone(), self.input.clone());
        let (runtime, within) = (self.runtime.clone(), self.limits.lookup);
        // What was taken so far must be on disk before a question says that it is held.
        self.reply(move || {
            runtime.spawn(async move {
                let asked = asked(&question);
                let answer = match tokio::time::timeout(within, net.query(peer, asked)).await {
                    Ok(Ok(answer)) => answered(question, origin, &keys, answer),
                    Ok(Err(error)) => Err(error.reason()),
                    Err(_) => Err("timeout"),
                };
                let answer = Box::new(answer);
                let _stopping = input.send(Input::Repaired { peer, run: number, answer }).await;
            });
        });
        Ok(())
    }

    /// Signing keys of a home: its record's, or this home's own.
    fn keys_of(&self, home: &HomeId) -> SigningKeys {
        if *home == self.home.id() {
            return SigningKeys(vec![self.signer.public()]);
        }
        if let Some(keys) = self.peer_keys.get(home) {
            return keys.clone();
        }
        let record = self.home.peer(home).and_then(|p| HomeRecord::verify(&p.record).ok());
        SigningKeys(record.map(|record| record.signing_keys).unwrap_or_default())
    }

    fn count_repairs(&self) {
        let running = self.repairs.values().filter(|run| run.work.is_some()).count() as u64;
        self.metrics.repairs.store(running, std::sync::atomic::Ordering::Relaxed);
    }

    /// A home asks what is held of the channels that both share.
    pub(super) fn answer_holdings(
        &mut self,
        peer: HomeId,
        asked: &pb::HoldingsQuery,
        reply: oneshot::Sender<pb::Answer>,
    ) {
        let after = match &asked.after[..] {
            [] => Ok(None),
            bytes => ChannelId::from_slice(bytes).map(Some),
        };
        let Ok(after) = after else {
            drop(reply.send(refusal("query_malformed", "`after` is no channel")));
            return;
        };
        debug!(%peer, "a home asks what is held");
        let own = self.home.id();
        self.answer_from_disk(peer, reply, move |store| {
            let page = holdings(store, own, peer, after)?;
            let lost = page.holdings.iter().map(|holding| holding.channel).collect();
            Ok((pb::answer::Answer::Holdings(holdings_out(&page)), Some(Told::Lost(lost))))
        });
    }

    /// A home asks for the roster of a group.
    pub(super) fn answer_roster(
        &mut self,
        peer: HomeId,
        asked: &pb::RosterQuery,
        reply: oneshot::Sender<pb::Answer>,
    ) {
        let Ok(group) = ChannelId::from_slice(&asked.group) else {
            drop(reply.send(refusal("query_malformed", "`group` is no channel")));
            return;
        };
        self.answer_from_disk(peer, reply, move |store| {
            let signed = roster_for(store, peer, group)?.unwrap_or_default();
            Ok((pb::answer::Answer::Roster(pb::RosterAnswer { signed }), None))
        });
    }

    /// A home asks for a part of a chain.
    pub(super) fn answer_range(
        &mut self,
        peer: HomeId,
        asked: &pb::RangeQuery,
        reply: oneshot::Sender<pb::Answer>,
    ) {
        let Some(question) = question_in(asked) else {
            drop(reply.send(refusal("query_malformed", "the range names no chain")));
            return;
        };
        let (own, signer, now) = (self.home.id(), self.signer.clone(), self.now);
        self.answer_from_disk(peer, reply, move |store| {
            let answer = match range_of(store, own, peer, &question)? {
                Ok(answer) => answer,
                Err(fault) => {
                    let what = "this home is not in that channel";
                    let refused =
                        pb::Refusal { reason: fault.0.to_owned(), message: what.to_owned() };
                    return Ok((pb::answer::Answer::Refusal(refused), None));
                }
            };
            let RangeQuestion { channel, origin, epoch, first, .. } = question;
            let sign =
                |head: Head| prove(own, epoch, now(), &[head], &*signer).pop().unwrap_or_default();
            let told = (origin == own && !question.headers).then_some(Told::Holds(
                channel,
                epoch,
                Seq(first.0 - 1),
            ));
            Ok((pb::answer::Answer::Range(range_out(answer, channel, sign)), told))
        });
    }

    /// Answers on a thread that may wait for the disk, a few at a time over all homes: once everything is there
    /// that was taken before the question, of the asker above all, which it may have lost since.
    fn answer_from_disk(
        &mut self,
        peer: HomeId,
        reply: oneshot::Sender<pb::Answer>,
        read: impl FnOnce(
            &dyn homing_core::Reader,
        ) -> Result<(pb::answer::Answer, Option<Told>), homing_core::Fault>
        + Send
        + 'static,
    ) {
        let Some(connection) = self.connections.get(&peer).copied() else { return };
        let (store, places, input) =
            (self.store.clone(), self.peer_reads.clone(), self.input.clone());
        let work = async move {
            let Ok(_place) = places.acquire_owned().await else { return };
            let done = tokio::task::spawn_blocking(move || read(&*store)).await;
            let (answer, told) = match done {
                Ok(Ok(done)) => done,
                Ok(Err(error)) => {
                    tracing::error!(%error, "a read failed: run `homing verify`, the disk may be damaged");
                    return; // a dropped reply says that there is no answer
                }
                Err(_) => return,
            };
            let answer = pb::Answer { answer: Some(answer) };
            let Some(told) = told else { return drop(reply.send(answer)) };
            let answer = Box::new(answer);
            let _stopping =
                input.send(Input::Asked { peer, connection, told, answer, reply }).await;
        };
        let runtime = self.runtime.clone();
        self.reply(move || drop(runtime.spawn(work)));
    }

    /// Notes what a home's question tells of it. Its answer waits for that: a home that has it asks no more.
    pub(super) fn asked(&mut self, peer: HomeId, told: Told) -> Result<(), HubError> {
        let store = self.store.clone();
        match told {
            Told::Lost(channels) => {
                for channel in channels {
                    self.home.owe_marks_to(&*store, channel, peer)?;
                }
            }
            Told::Holds(channel, epoch, have) => {
                if let Err(fault) = self.home.acknowledged(&*store, peer, channel, epoch, have)? {
                    self.at_fault(peer, fault);
                }
            }
        }
        self.collect_effects(None)
    }
}

fn asked(question: &Question) -> pb::Query {
    let query = match question {
        Question::Holdings { after } => pb::query::Query::Holdings(pb::HoldingsQuery {
            after: after.map_or_else(Bytes::new, |c| Bytes::copy_from_slice(c.as_bytes())),
        }),
        Question::Roster { group } => pb::query::Query::Roster(pb::RosterQuery {
            group: Bytes::copy_from_slice(group.as_bytes()),
        }),
        Question::Range(range) => pb::query::Query::Range(pb::RangeQuery {
            channel: Bytes::copy_from_slice(range.channel.as_bytes()),
            origin: Bytes::copy_from_slice(&range.origin.0),
            epoch: range.epoch.0,
            first: range.first.0,
            last: range.last.map_or(0, |last| last.0),
            headers: range.headers,
        }),
    };
    pb::Query { query: Some(query) }
}

/// Reads an answer, and checks its proof with the keys of the chain's origin.
fn answered(
    question: Question,
    origin: HomeId,
    keys: &SigningKeys,
    answer: pb::Answer,
) -> Result<Answered, &'static str> {
    match (question, answer.answer) {
        (Question::Holdings { .. }, Some(pb::answer::Answer::Holdings(page))) => {
            holdings_in(page).map(Answered::Holdings).ok_or("answer_malformed")
        }
        (Question::Range(asked), Some(pb::answer::Answer::Range(range))) => {
            let end = if range.seq == 0 {
                None
            } else {
                let hash = Hash::from_slice(&range.hash).map_err(|_| "answer_malformed")?;
                let head = Head { channel: asked.channel, seq: Seq(range.seq), hash };
                let proof = range.proof.ok_or("unproven")?;
                let checked = Checker::default().check(origin, asked.epoch, head, &proof, keys);
                Some(checked.map_err(|error| error.reason())?)
            };
            if range.events.len() > limits::RANGE_EVENTS {
                return Err("range_too_long");
            }
            let (mut events, mut headers) = (Vec::new(), Vec::new());
            for event in range.events {
                if asked.headers {
                    headers.push(event.header);
                } else {
                    events.push(Event::from_bytes(event.header, event.body));
                }
            }
            let begins = (range.begins != 0).then_some(Seq(range.begins));
            Ok(Answered::Range { events, headers, end, begins })
        }
        (Question::Roster { .. }, Some(pb::answer::Answer::Roster(roster))) => {
            if roster.signed.is_empty() {
                return Ok(Answered::Roster(None));
            }
            let signed = SignedRoster::verify(roster.signed).map_err(|error| error.reason())?;
            Ok(Answered::Roster(Some(Box::new(signed))))
        }
        (Question::Range(_), Some(pb::answer::Answer::Refusal(refused)))
            if refused.reason == "not_a_member" =>
        {
            Ok(Answered::NotAMember)
        }
        (Question::Holdings { .. } | Question::Range(_) | Question::Roster { .. }, _) => {
            Err("answer_mismatch")
        }
    }
}

fn holdings_out(page: &Holdings) -> pb::HoldingsAnswer {
    let holdings = page.holdings.iter().map(|holding| pb::Holding {
        channel: Bytes::copy_from_slice(holding.channel.as_bytes()),
        a: holding.parties[0].to_string(),
        b: holding.parties[1].to_string(),
        chains: holding
            .chains
            .iter()
            .map(|(origin, epoch, seq)| pb::ChainHolding {
                origin: Bytes::copy_from_slice(&origin.0),
                epoch: epoch.0,
                seq: seq.0,
            })
            .collect(),
        roster: holding.roster.unwrap_or(0),
    });
    pb::HoldingsAnswer {
        holdings: holdings.collect(),
        next: page.next.map_or_else(Bytes::new, |c| Bytes::copy_from_slice(c.as_bytes())),
    }
}

fn holdings_in(page: pb::HoldingsAnswer) -> Option<Holdings> {
    if page.holdings.len() > limits::HOLDINGS {
        return None;
    }
    let next = match &page.next[..] {
        [] => None,
        bytes => Some(ChannelId::from_slice(bytes).ok()?),
    };
    let holdings = page.holdings.into_iter().map(|holding| {
        // Chains of both homes of a chat, each of as many lives as may be.
        // Of a group their number is bounded by what an answer holds.
        if holding.roster == 0 && holding.chains.len() > 2 * limits::LIVES {
            return None;
        }
        Some(Holding {
            channel: ChannelId::from_slice(&holding.channel).ok()?,
            parties: [holding.a.parse().ok()?, holding.b.parse().ok()?],
            chains: holding
                .chains
                .iter()
                .map(|chain| {
                    let origin = HomeId::from_slice(&chain.origin).ok()?;
                    Some((origin, Epoch(chain.epoch), Seq(chain.seq)))
                })
                .collect::<Option<_>>()?,
            roster: (holding.roster != 0).then_some(holding.roster),
        })
    });
    Some(Holdings { holdings: holdings.collect::<Option<_>>()?, next })
}

fn question_in(asked: &pb::RangeQuery) -> Option<RangeQuestion> {
    if asked.first == 0 || asked.first >> 48 != 0 {
        return None;
    }
    Some(RangeQuestion {
        channel: ChannelId::from_slice(&asked.channel).ok()?,
        origin: HomeId::from_slice(&asked.origin).ok()?,
        epoch: Epoch(asked.epoch),
        first: Seq(asked.first),
        last: (asked.last != 0).then_some(Seq(asked.last)),
        headers: asked.headers,
    })
}

fn range_out(
    answer: RangeAnswer,
    channel: ChannelId,
    sign: impl Fn(Head) -> pb_event::Proof,
) -> pb::RangeAnswer {
    let begins = answer.begins.map_or(0, |begins| begins.0);
    let mut out = pb::RangeAnswer { begins, ..pb::RangeAnswer::default() };
    if let Some((seq, hash)) = answer.pruned {
        (out.pruned, out.pruned_hash) = (seq.0, Bytes::copy_from_slice(&hash.0));
    }
    if let Some(end) = answer.end {
        let head = Head { channel, seq: end.seq, hash: end.hash };
        // What was kept is what was checked when it came.
        let kept = end.proof.and_then(|bytes| read_proof(&bytes));
        out.proof = Some(kept.unwrap_or_else(|| sign(head)));
        (out.seq, out.hash) = (end.seq.0, Bytes::copy_from_slice(&end.hash.0));
    }
    out.events = answer
        .events
        .into_iter()
        .map(|entry| {
            let entry = Arc::unwrap_or_clone(entry);
            pb_event::Event { header: entry.event.header_bytes, body: entry.event.body }
        })
        .collect();
    out
}
