//! `group`, the load's part: all members of one group are online, some of them write, everybody hears everybody else.
//!
//! A delivery is a message that has come to a member who has not written it, as a notification on that member's own
//! socket. A member whom its home has cut off for being slow asks for what it missed; how often that was is told with
//! the result, whose deliveries are then not all notifications.

use std::collections::HashMap;
use std::rc::Rc;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use homing_client::{Follower, From, Uuid};
use tokio::sync::watch;

use super::check::{Checker, Verdict};
use super::load::{
    CONNECTING_AT_ONCE, Login, PATIENCE, Plan, SentAll, Shared, options, read_text, send_all,
};

/// What each sender has sent, once all of them are done.
type AllSent = HashMap<String, SentAll>;

/// The first `senders` of the members write into the channel as fast as they are answered.
pub(super) async fn run(
    members: Vec<Login>,
    senders: usize,
    channel: Uuid,
    plan: Plan,
) -> anyhow::Result<()> {
    if senders > members.len() {
        bail!("{senders} senders among {} members", members.len());
    }
    let shared = Rc::new(Shared::new()?);
    let opening = futures::stream::iter(&members)
        .map(|login| async move { anyhow::Ok(Follower::start(options(login)?, From::Now).await?) })
        .buffered(CONNECTING_AT_ONCE);
    futures::pin_mut!(opening);
    let mut followers = Vec::with_capacity(members.len());
    while let Some(follower) = opening.next().await {
        followers.push(follower?);
    }
    let clients: Vec<_> = followers.iter().take(senders).map(|f| f.client().clone()).collect();
    shared.begin_when_told(followers.len()).await?;
    let (told, all_sent) = watch::channel(None::<Rc<AllSent>>);
    let hearing: Vec<_> = followers
        .into_iter()
        .zip(&members)
        .map(|(follower, login)| {
            let own = login.address.clone();
            let hear = hear(Rc::clone(&shared), follower, own, all_sent.clone());
            tokio::task::spawn_local(hear)
        })
        .collect();
    let sending: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let (done, sent) = watch::channel(None);
            let sender = send_all(Rc::clone(&shared), client, channel, plan, done);
            (tokio::task::spawn_local(sender), sent)
        })
        .collect();
    let mut all = AllSent::new();
    for ((sender, sent), login) in sending.into_iter().zip(&members) {
        sender.await??;
        let sent = sent.borrow().clone().context("a sender ended without a word")?;
        all.insert(login.address.clone(), sent);
    }
    // A member that has failed has said so.
    let _members_gone = told.send(Some(Rc::new(all)));
    shared.report_when_all_is_heard(hearing).await
}

/// Until all that was answered to others has come to this member, or nothing more comes.
async fn hear(
    shared: Rc<Shared>,
    mut follower: Follower,
    own: String,
    mut all_sent: watch::Receiver<Option<Rc<AllSent>>>,
) -> anyhow::Result<Verdict> {
    let mut of = HashMap::<String, Checker>::new();
    let mut last_order = String::new();
    let mut verdict = Verdict::default();
    let mut reconnected = false;
    let (mut heard, mut wanted) = (0_u64, None);
    loop {
        if wanted.is_some_and(|wanted| heard >= wanted) {
            break;
        }
        let update = tokio::select! {
            biased;
            update = follower.next() => update?,
            changed = all_sent.changed(), if wanted.is_none() => {
                changed.context("the senders ended without a word")?;
                let all = all_sent.borrow();
                let answered = |sent: &SentAll| sent.sent - sent.refused.len() as u64;
                let others = all.iter().flat_map(|all| all.iter()).filter(|(who, _)| **who != own);
                wanted = Some(others.map(|(_, sent)| answered(sent)).sum());
                continue;
            }
            () = tokio::time::sleep(PATIENCE), if wanted.is_some() => break,
        };
        let Some((message, again)) = shared.message_of(update, &mut reconnected) else { continue };
        // A page that was missed holds the member's own, too.
        if message.sender == own {
            continue;
        }
        let (number, at) = read_text(&message).context("a message that the load has not sent")?;
        if !of.contains_key(&message.sender) {
            of.insert(message.sender.clone(), Checker::default());
        }
        let checker = of.get_mut(&message.sender).context("it was put there")?;
        checker.saw(number, &message.order);
        if again {
            continue;
        }
        // All are of one home, so the order of all is the order of arrival.
        verdict.disordered += u64::from(message.order <= last_order);
        last_order.clear();
        last_order.push_str(&message.order);
        heard += 1;
        shared.delivered(at)?;
    }
    let all = all_sent.borrow().clone().unwrap_or_default();
    for (sender, sent) in all.iter().filter(|(who, _)| **who != own) {
        let checker = of.remove(sender).unwrap_or_default();
        verdict = verdict.and(checker.verdict(sent.sent, &sent.refused));
    }
    // Whoever is left wrote without being a sender.
    verdict.disordered += of.values().map(Checker::distinct).sum::<u64>();
    Ok(verdict)
}
