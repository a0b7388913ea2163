//! Two users at two homes with two devices each, and anything that can happen to them: in the end all devices of a user
//! show what somebody sees who signs in anew, and the home's counts are those that follow from the messages.
//!
//! Homes are real processes, and so are their kills; a device keeps what the client contract says and nothing else. All
//! cases of a run share the homes, several at a time, each with users of its own.

mod device;
mod plan;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use homing_testnet::homes::{Home, PASSWORD};
use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::party::{Party, WITHIN};
use device::{Device, Loss, Stop};
use plan::{DEVICES, Deed, deed};

/// Deeds of a case.
const DEEDS: usize = 500;

/// Cases of a run, and how many of them are played at a time: what one waits for, another uses.
const CASES: u64 = 200;
const AT_A_TIME: u64 = 8;

/// Refusals that are no fault: the message is gone, hidden, another's, or full.
const REFUSALS: [&str; 4] =
    ["message_not_found", "message_deleted", "not_yours", "too_many_reactions"];

/// The homes that the cases share.
struct Ground {
    party: Arc<Mutex<Party>>,
    homes: [SocketAddr; 2],
    names: AtomicU64,
}

impl Ground {
    async fn new() -> Self {
        let often = [
            ("HOMING_LIMITS__MARKS_GATHER_MS", "20"),
            // Devices that do nothing read nothing: they would not close in order.
            ("HOMING_LIMITS__CLOSE_MS", "100"),
            ("HOMING_LIMITS__DRAIN_MS", "1000"),
            // They talk faster than people do, all from one address.
            ("HOMING_LIMITS__SENDS_PER_S", "100000"),
            ("HOMING_LIMITS__SENDS_BURST", "100000"),
            ("HOMING_LIMITS__CALLS_PER_S", "100000"),
            ("HOMING_LIMITS__CALLS_BURST", "100000"),
            ("HOMING_LIMITS__CONNECTIONS_PER_IP", "10000"),
        ];
        let party = Party::with(&["acme.test", "globex.test"], &often).await;
        let home = |n: usize| SocketAddr::from(([127, 0, 0, 1], party.homes[n].ports().http));
        Self {
            homes: [home(0), home(1)],
            names: AtomicU64::new(0),
            party: Arc::new(Mutex::new(party)),
        }
    }

    /// Both homes run, or one is just being started again by somebody: waits for that.
    async fn is_up(&self) {
        drop(self.party.lock().await);
    }

    /// A home ends with the thread that has started it: that is one of the runtime, not the case's.
    async fn restart(&self, home: usize, killed: bool) {
        let mut party = self.party.clone().lock_owned().await;
        let restarted = tokio::spawn(async move {
            let home: &mut Home = &mut party.homes[home];
            if killed { home.kill().await } else { home.stop().await }.unwrap();
            home.start().await.unwrap();
        });
        restarted.await.unwrap();
    }

    /// A token of a new device of a user, who is registered where there is none of the name.
    async fn token(&self, home: usize, user: &str) -> String {
        let server: homing_client::Server = format!("http://{}", self.homes[home]).parse().unwrap();
        let begun = Instant::now();
        loop {
            let registered = server.register(user, PASSWORD, None, None).await;
            let there = match &registered {
                Ok(_) | Err(homing_client::Error::Http { status: 409, .. }) => true,
                Err(_) => false,
            };
            if there && let Ok(signed_in) = server.login(user, PASSWORD, None).await {
                return signed_in.token;
            }
            assert!(begun.elapsed() < WITHIN, "{user} cannot sign in: {registered:?}");
            // Busy, or just being started again.
            self.is_up().await;
            tokio::task::yield_now().await;
        }
    }
}

struct Case<'a> {
    ground: &'a Ground,
    devices: Vec<Device>,
    /// Of both.
    users: [String; 2],
    names: [String; 2],
    chat: String,
    group: String,
    blocks: [bool; 2],
    said: u64,
}

fn user_of(device: usize) -> usize {
    device / 2
}

impl<'a> Case<'a> {
    async fn begin(ground: &'a Ground) -> Self {
        let number = ground.names.fetch_add(1, Ordering::Relaxed);
        let names = [format!("alice-{number}"), format!("bob-{number}")];
        let users = [format!("{}@acme.test", names[0]), format!("{}@globex.test", names[1])];
        let mut devices = Vec::new();
        for device in 0..DEVICES {
            let user = user_of(device);
            let token = ground.token(user, &names[user]).await;
            devices.push(Device::new(&users[user], ground.homes[user], token));
        }
        let (chat, group) = (String::new(), String::new());
        let (blocks, said) = ([false; 2], 0);
        let mut case = Self { ground, devices, users, names, chat, group, blocks, said };
        case.meet().await;
        case
    }

    /// They have a chat and a group.
    async fn meet(&mut self) {
        let [alice, bob] = self.users.clone();
        let chat = self.ask(0, "channels.open", &json!({"with": bob})).await.unwrap();
        self.chat = chat["channel"].as_str().unwrap().to_owned();
        self.ask(2, "channels.open", &json!({"with": alice})).await.unwrap();
        let made = json!({"name": "both", "members": [bob], "id": uuid::Uuid::now_v7()});
        let group = self.ask(0, "groups.create", &made).await.unwrap();
        self.group = group["channel"].as_str().unwrap().to_owned();
        let id = self.group.clone();
        self.until(2, |device| device.stored.of(&id).is_some()).await;
        let joined = json!({"channel": id});
        self.ask(2, "groups.join", &joined).await.unwrap();
        for device in [0, 2] {
            let both = |d: &Device| {
                d.stored.of(&id).is_some_and(|g| g["member_count"] == 2 && g["state"] == "active")
            };
            self.until(device, both).await;
        }
    }

    /// A device asks, as often as its socket is lost meanwhile.
    async fn ask(&mut self, n: usize, method: &str, params: &Value) -> Result<Value, String> {
        let begun = Instant::now();
        loop {
            let device = &mut self.devices[n];
            let asked = async {
                if !device.is_open() {
                    device.open().await?;
                }
                device.call(method, params).await
            };
            match asked.await {
                Ok(answer) => return Ok(answer),
                Err(Stop::Refused(reason)) => return Err(reason),
                Err(Stop::Lost) => self.ground.is_up().await,
            }
            assert!(begun.elapsed() < WITHIN, "{method} is never answered");
        }
    }

    /// A device is there, and has all that it knows of.
    async fn caught_up(&mut self, n: usize) {
        let begun = Instant::now();
        loop {
            let device = &mut self.devices[n];
            let done = async {
                if !device.is_open() {
                    device.open().await?;
                }
                device.listen().await
            };
            match done.await {
                Ok(()) => return,
                Err(Stop::Lost) => self.ground.is_up().await,
                Err(Stop::Refused(reason)) => panic!("device {n} cannot catch up: {reason}"),
            }
            assert!(begun.elapsed() < WITHIN, "device {n} cannot catch up");
        }
    }

    /// Waits until a device has heard something.
    async fn until(&mut self, n: usize, heard: impl Fn(&Device) -> bool) {
        let begun = Instant::now();
        loop {
            self.caught_up(n).await;
            if heard(&self.devices[n]) {
                return;
            }
            assert!(begun.elapsed() < WITHIN, "device {n} does not hear what it should");
            self.devices[n].more(Duration::from_secs(1)).await;
        }
    }

    fn channel(&self, group: bool) -> String {
        if group { self.group.clone() } else { self.chat.clone() }
    }

    async fn sends(&mut self, n: usize, channel: &str, body: Value, twice: bool) -> bool {
        let sent = json!({"channel": channel, "id": uuid::Uuid::now_v7(), "body": body});
        let answer = match self.ask(n, "messages.send", &sent).await {
            Ok(answer) => answer,
            Err(reason) => {
                assert!(REFUSALS.contains(&reason.as_str()), "{reason}: {sent}");
                return false;
            }
        };
        if twice {
            assert_eq!(self.ask(n, "messages.send", &sent).await.unwrap(), answer);
        }
        let device = &mut self.devices[n];
        device.stored.sent(&device.me, channel, &answer, &body);
        true
    }

    async fn does(&mut self, deed: &Deed) {
        match *deed {
            Deed::Send { device, group, mention, twice } => {
                self.said += 1;
                let mut body = json!({"type": "text", "text": format!("word {}", self.said)});
                if mention {
                    body["mentions"] = json!([self.users[1 - user_of(device)]]);
                }
                assert!(self.sends(device, &self.channel(group), body, twice).await);
            }
            Deed::Mark { device, group, less, read } => {
                let channel = self.channel(group);
                self.caught_up(device).await;
                let pos = self.devices[device].stored.head(&channel).saturating_sub(less);
                let method = if read { "receipts.read" } else { "receipts.delivered" };
                let marked =
                    self.ask(device, method, &json!({"channel": channel, "pos": pos})).await;
                assert_eq!(marked, Ok(json!({})));
            }
            Deed::Amend { device, group, back, what } => {
                let channel = self.channel(group);
                self.caught_up(device).await;
                let Some(of) = self.message(device, &channel, back) else { return };
                let body = match what % 8 {
                    0 | 1 => {
                        json!({"type": "edit", "of": of, "body": {"type": "text", "text": format!("edit {what}")}})
                    }
                    2 => json!({"type": "delete", "of": of}),
                    n => {
                        let emoji = ["👍", "🎉"][usize::from(n) % 2];
                        json!({"type": "reaction", "of": of, "emoji": emoji, "on": what & 32 == 0})
                    }
                };
                self.sends(device, &channel, body, what & 64 == 0).await;
            }
            Deed::Hide { device, group, back } => {
                let channel = self.channel(group);
                self.caught_up(device).await;
                let Some(of) = self.message(device, &channel, back) else { return };
                let hidden = json!({"channel": channel, "id": of["id"], "sender": of["sender"]});
                if let Err(reason) = self.ask(device, "messages.hide", &hidden).await {
                    assert!(REFUSALS.contains(&reason.as_str()), "{reason}: {hidden}");
                }
            }
            Deed::View { device, group, what } => {
                let there = what & 8 == 0;
                let flag = if there { json!(true) } else { Value::Null };
                let (part, value) = match what % 5 {
                    0 => ("pinned", flag),
                    1 => ("archived", flag),
                    2 => ("marked_unread", flag),
                    3 => {
                        ("draft", if there { json!(format!("draft {what}")) } else { Value::Null })
                    }
                    _ => {
                        ("muted_until", if there { json!((1_u64 << 53) - 1) } else { Value::Null })
                    }
                };
                let wish = json!({"channel": self.channel(group), part: value, "op": uuid::Uuid::now_v7()});
                let view = self.ask(device, "channels.update", &wish).await.unwrap();
                self.devices[device].stored.channel(view);
            }
            Deed::Block { device, on } => self.blocks(device, on).await,
            Deed::Listen { device } => self.caught_up(device).await,
            Deed::Lose { device, frames, taken } => {
                self.devices[device].loss = Some(Loss { frames, taken });
            }
            Deed::Restart { home, killed } => self.ground.restart(home, killed).await,
        }
    }

    async fn blocks(&mut self, device: usize, on: bool) {
        let user = user_of(device);
        let method = if on { "blocks.add" } else { "blocks.remove" };
        let wish = json!({"user": self.users[1 - user], "op": uuid::Uuid::now_v7()});
        self.ask(device, method, &wish).await.unwrap();
        self.blocks[user] = on;
    }

    fn message(&self, device: usize, channel: &str, back: usize) -> Option<Value> {
        let listed = self.devices[device].stored.listed(channel);
        let message = listed.iter().rev().nth(back)?;
        Some(json!({"id": message["id"], "sender": message["sender"]}))
    }

    /// Everything that is on its way arrives: each has the other's last word, and has read it, and the other knows.
    async fn settle(&mut self) {
        for device in 0..DEVICES {
            self.devices[device].loss = None;
        }
        for device in [0, 2] {
            self.blocks(device, false).await;
        }
        for group in [false, true] {
            let channel = self.channel(group);
            let mut last = Vec::new();
            for device in [0, 2] {
                let body = json!({"type": "text", "text": format!("last of {device}")});
                assert!(self.sends(device, &channel, body, false).await);
            }
            for (device, other) in [(0, 2), (2, 0)] {
                let word = format!("last of {other}");
                let has = |d: &Device| {
                    d.stored.listed(&channel).iter().any(|m| m["body"]["text"] == word)
                };
                self.until(device, has).await;
                let pos = self.devices[device].stored.head(&channel);
                let mark = json!({"channel": channel, "pos": pos});
                self.ask(device, "receipts.read", &mark).await.unwrap();
                last.push(pos);
            }
            if group {
                continue;
            }
            for (device, other) in [(0, 2), (2, 0)] {
                let stored = &self.devices[device].stored;
                let (me, other) =
                    (self.users[user_of(device)].clone(), self.users[user_of(other)].clone());
                let mine = stored.listed(&channel);
                let mine = mine.iter().filter(|m| m["sender"] == me.as_str());
                let pos = mine.filter_map(|m| m["pos"].as_u64()).max().unwrap();
                let read = |d: &Device| {
                    let marks = d.stored.of(&channel).and_then(|c| c["marks"].as_array());
                    let mark = marks.into_iter().flatten().find(|m| m["user"] == other.as_str());
                    mark.is_some_and(|mark| mark["read"].as_u64() >= Some(pos))
                };
                self.until(device, read).await;
            }
        }
    }

    /// All devices of each user show what a fresh one does.
    async fn check(&mut self) -> Result<(), String> {
        let mut fresh = Vec::new();
        for user in 0..2 {
            let token = self.ground.token(user, &self.names[user]).await;
            let begun = Instant::now();
            let anew = loop {
                let mut anew =
                    Device::new(&self.users[user], self.ground.homes[user], token.clone());
                match anew.open().await {
                    Ok(()) => {}
                    Err(Stop::Lost) => {
                        self.ground.is_up().await;
                        continue;
                    }
                    Err(Stop::Refused(reason)) => panic!("a fresh device is refused: {reason}"),
                }
                match self.differs(user, &anew).await {
                    None => break anew,
                    // Marks of the last moment are gathered before they are told.
                    Some(how) if begun.elapsed() > WITHIN => return Err(how),
                    Some(_) => self.devices[2 * user].more(Duration::from_millis(100)).await,
                }
            };
            fresh.push(anew);
        }
        let [alice, bob] = [&fresh[0], &fresh[1]].map(|device| device.stored.listed(&self.group));
        for message in alice {
            let same = |m: &&&Value| m["id"] == message["id"] && m["sender"] == message["sender"];
            let Some(other) = bob.iter().find(same) else { continue };
            if said(message) != said(other) {
                return Err(format!("the homes do not agree: {message} and {other}"));
            }
        }
        Ok(())
    }

    async fn differs(&mut self, user: usize, fresh: &Device) -> Option<String> {
        let me = self.users[user].clone();
        let expected = fresh.stored.told();
        if let Some(how) = difference(&expected, &fresh.stored.shown(&me, &[])) {
            return Some(format!("{me}: the home counts otherwise than its messages say: {how}"));
        }
        for device in [2 * user, 2 * user + 1] {
            self.caught_up(device).await;
            let shown = self.devices[device].stored.shown(&me, &[]);
            if let Some(how) = difference(&expected, &shown) {
                return Some(format!("device {device} of {me} does not show what is there: {how}"));
            }
        }
        None
    }

    async fn play(ground: &'a Ground, deeds: &[Deed]) -> Result<u32, String> {
        let mut case = Self::begin(ground).await;
        for deed in deeds {
            case.does(deed).await;
        }
        case.settle().await;
        case.check().await?;
        Ok(case.devices.iter().map(|device| device.opened).sum())
    }
}

/// What a message says, and how it is taken, for everybody.
fn said(message: &Value) -> Value {
    let reactions = message["reactions"].as_array().into_iter().flatten();
    let reactions: Vec<Value> = reactions.map(|r| json!([r["emoji"], r["count"]])).collect();
    json!([message["order"], message["body"], message["edited_at"].is_null(), reactions])
}

/// The first places at which two values differ.
fn difference(expected: &Value, shown: &Value) -> Option<String> {
    fn walk(path: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
        match (a, b) {
            _ if a == b || found.len() > 4 => {}
            (Value::Object(a), Value::Object(b)) => {
                let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    let [a, b] = [a, b].map(|o| o.get(key).unwrap_or(&Value::Null));
                    walk(&format!("{path}.{key}"), a, b, found);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (n, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(&format!("{path}[{n}]"), a, b, found);
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                let only = |a: &[Value], b: &[Value]| {
                    let left = a.iter().filter(|value| !b.contains(value));
                    left.take(3).map(Value::to_string).collect::<Vec<_>>()
                };
                found.push(format!(
                    "{path}: {} and {}: {:?} / {:?}",
                    a.len(),
                    b.len(),
                    only(a, b),
                    only(b, a)
                ));
            }
            _ => found.push(format!("{path}: {a} expected, {b} shown")),
        }
    }
    let mut found = Vec::new();
    walk("", expected, shown, &mut found);
    (!found.is_empty()).then(|| found.join("; "))
}

/// Plays cases of one seed, and shrinks what fails.
fn play(ground: &Ground, runtime: &Handle, seed: u64, cases: u32, deeds: usize) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 400,
        max_shrink_time: 180_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let opened = AtomicU64::new(0);
    let result = runner.run(&vec(deed(), deeds), |deeds| {
        let sockets = runtime.block_on(Case::play(ground, &deeds)).map_err(TestCaseError::fail)?;
        opened.fetch_add(sockets.into(), Ordering::Relaxed);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, deeds)) => {
            panic!("seed {seed}: {reason}\n{} deeds are left of it: {deeds:?}", deeds.len())
        }
        Err(error) => panic!("seed {seed}: {error}"),
    }
    // They do lose their sockets: four devices open one each.
    assert!(opened.load(Ordering::Relaxed) > u64::from(cases) * 8, "nobody has lost a socket");
}

/// Run alone: `cargo test -p homing-testnet --test homes devices_of_one_user`. `HOMING_SEED` begins elsewhere, `HOMING_CASES`
/// plays more or fewer.
#[tokio::test(flavor = "multi_thread")]
async fn devices_of_one_user_show_the_same() {
    let set = |name: &str, usual: u64| std::env::var(name).map_or(usual, |n| n.parse().unwrap());
    let (first, cases) = (set("HOMING_SEED", 0), set("HOMING_CASES", CASES));
    let ground = Ground::new().await;
    let runtime = Handle::current();
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for n in 0..AT_A_TIME {
                let (ground, runtime) = (&ground, &runtime);
                let cases = cases.div_ceil(AT_A_TIME) as u32;
                scope.spawn(move || play(ground, runtime, first + n, cases, DEEDS));
            }
        });
    });
    ground.party.lock().await.homes.stop_all().await.unwrap();
}
