//! Who does to one home what the schedule says, and brings it back.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_client::{Client, Error, Options, Target, TextBody};
use tokio::sync::mpsc;

use super::board::{Board, State};
use super::check::{Finding, Window};
use super::disks::Disk;
use super::plan::HomeFault;
use crate::homes::{Home, HomesError};

/// Faults that wait for one home; beyond, they are missed: it is busy enough.
pub(super) const FAULTS_QUEUED: usize = 8;

/// A home is looked after this often, between faults.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How much is left on a disk that is filled "nearly": a quarter of what homes are told to keep free.
const NEARLY: u64 = 4;

/// Within this time a home with a full disk refuses, and one with room again goes on.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// Between two tries of that.
const PROBE_EVERY: Duration = Duration::from_millis(200);

/// A backup of some minutes of messages takes no longer.
const BACKUP_DEADLINE: Duration = Duration::from_secs(120);

/// Who says a word to somebody at the same home, to see what it answers.
pub(super) const PROBERS: [&str; 2] = ["prober", "probed"];

pub(super) struct Actor {
    pub(super) number: usize,
    pub(super) home: Home,
    pub(super) disk: Option<Disk>,
    board: Arc<Board>,
    backups: PathBuf,
    min_free_bytes: u64,
    /// Where the last backup lies, and when it was begun.
    backup: Option<(PathBuf, Duration)>,
}

impl Actor {
    pub(super) fn of(
        number: usize,
        home: Home,
        disk: Option<Disk>,
        board: Arc<Board>,
        backups: PathBuf,
        min_free_bytes: u64,
    ) -> Self {
        Self { number, home, disk, board, backups, min_free_bytes, backup: None }
    }

    /// Until there are no more faults; then the home runs, its clock is right, its disk has room.
    pub(super) async fn act(mut self, mut faults: mpsc::Receiver<HomeFault>) -> Self {
        self.state(State::Up);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                fault = faults.recv() => match fault {
                    Some(fault) => self.carry_out(fault).await,
                    None => break,
                },
                _ = look.tick() => self.look_after().await,
            }
        }
        self.look_after().await;
        self
    }

    async fn carry_out(&mut self, fault: HomeFault) {
        tracing::info!(home = self.home.name(), ?fault, "now");
        match fault {
            HomeFault::Kill { again_after } => {
                self.kill().await;
                if let Some(after) = again_after {
                    self.state(State::Starting);
                    match self.home.start_and_kill(after).await {
                        Ok(()) => self.board.figures.kills.add(1),
                        Err(error) => self.trouble(error.to_string()),
                    }
                }
                self.bring_up().await;
            }
            HomeFault::Freeze { lasting, then_killed } => self.freeze(lasting, then_killed).await,
            HomeFault::Fill { lasting, full } => {
                if let Err(error) = self.fill(lasting, full).await {
                    self.trouble(format!("its disk cannot be filled or emptied: {error}"));
                }
            }
            HomeFault::Skew { offset_ms, lasting } => {
                self.kill().await;
                self.home.set_clock_offset(Some(offset_ms));
                self.bring_up().await;
                self.board.figures.skews.add(1);
                self.state(State::Skewed);
                tokio::time::sleep(lasting).await;
                self.kill().await;
                self.home.set_clock_offset(None);
                self.bring_up().await;
            }
            HomeFault::Backup => self.back_up().await,
            HomeFault::Restore => self.restore().await,
        }
    }

    /// A home that is down although nobody killed it has a fault of its own.
    async fn look_after(&mut self) {
        self.ended_by_itself();
        if self.home.pid().is_none() {
            self.bring_up().await;
        }
    }

    fn ended_by_itself(&mut self) {
        if let Some(status) = self.home.ended() {
            self.trouble(format!("ended by itself ({status}): {}", self.home.last_words()));
        }
    }

    async fn kill(&mut self) {
        self.ended_by_itself();
        if self.home.pid().is_some() {
            self.board.figures.kills.add(1);
        }
        if let Err(error) = self.home.kill().await {
            self.trouble(error.to_string());
        }
        self.state(State::Down);
    }

    async fn bring_up(&mut self) {
        self.state(State::Starting);
        match self.home.start().await {
            Ok(_) => {
                self.state(State::Up);
                if let Some(time) = self.home.ready_after() {
                    self.board.started_within(time);
                }
            }
            Err(error) => {
                self.state(State::Down);
                self.trouble(error.to_string());
            }
        }
    }

    async fn freeze(&mut self, lasting: Duration, then_killed: bool) {
        if let Err(error) = self.home.freeze(true) {
            return self.trouble(error.to_string());
        }
        self.board.figures.freezes.add(1);
        self.state(State::Frozen);
        tokio::time::sleep(lasting).await;
        if then_killed {
            self.kill().await;
            return self.bring_up().await;
        }
        match self.home.freeze(false) {
            Ok(()) => self.state(State::Up),
            Err(error) => self.trouble(error.to_string()),
        }
    }

    async fn fill(&mut self, lasting: Duration, full: bool) -> std::io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let until = tokio::time::Instant::now() + lasting;
        disk.fill(if full { 0 } else { self.min_free_bytes / NEARLY })?;
        self.board.figures.fills.add(1);
        self.state(State::Full);
        if full {
            tokio::time::sleep(lasting / 2).await;
            // It may have ended: a disk without a free byte is a reason to. And it need not start.
            if self.home.ended().is_none() {
                self.kill().await;
            }
            if let Err(error) = self.home.start().await {
                tracing::info!(%error, "does not start on a full disk");
            }
        } else {
            self.must_refuse().await;
        }
        tokio::time::sleep_until(until).await;
        if let Some(disk) = &self.disk {
            disk.empty()?;
        }
        if full && self.home.ended().is_some() {
            tracing::info!(home = self.home.name(), "ended for want of room");
        }
        self.look_after().await;
        self.must_answer().await;
        Ok(())
    }

    async fn must_refuse(&mut self) {
        let until = Instant::now() + NOTICED_WITHIN;
        let mut last = String::new();
        while Instant::now() < until {
            match self.say_a_word().await {
                Err(Error::Refused(refusal)) if refusal.reason == "disk_full" => return,
                Err(error) => last = error.to_string(),
                Ok(()) => last = "answered".to_owned(),
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
        self.trouble(format!("its disk is full and sends are not refused with disk_full: {last}"));
    }

    async fn must_answer(&mut self) {
        let until = Instant::now() + NOTICED_WITHIN;
        let mut last = String::new();
        while Instant::now() < until {
            match self.say_a_word().await {
                Ok(()) => return,
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
        self.trouble(format!("its disk has room again and sends are still refused: {last}"));
    }

    async fn say_a_word(&mut self) -> Result<(), Error> {
        let prober = self.home.user(PROBERS[0]).await.map_err(|e| of_user(&e))?;
        let server = self.home.server().map_err(|e| of_user(&e))?;
        let mut options = Options::new(server, prober.token);
        options.reconnect = false;
        let (client, _no_notifications) = Client::connect(options).await?;
        let to = format!("{}@{}", PROBERS[1], self.home.name());
        let id = homing_client::new_message_id();
        client.send(Target::To(&to), id, &TextBody::new("are you there?")).await.map(|_| ())
    }

    async fn back_up(&mut self) {
        let begun = self.board.elapsed();
        let number = self.board.figures.backups.read();
        let path = self.backups.join(format!("{}-{number}.backup", self.home.name()));
        let to = path.to_string_lossy().into_owned();
        let arguments = ["backup", &to];
        let backing_up = self.home.command(&arguments);
        match tokio::time::timeout(BACKUP_DEADLINE, backing_up).await {
            Ok(Ok(_)) => {
                self.board.figures.backups.add(1);
                self.backup = Some((path, begun));
            }
            Ok(Err(error)) => self.trouble(format!("cannot be backed up: {error}")),
            Err(_) => self.trouble("a backup takes for ever"),
        }
    }

    async fn restore(&mut self) {
        let Some((path, from)) = self.backup.take() else { return };
        self.kill().await;
        let to = self.board.elapsed();
        self.state(State::Restoring);
        let file = path.to_string_lossy().into_owned();
        let arguments = ["restore", &file, "--force"];
        let restoring = self.home.command(&arguments);
        match tokio::time::timeout(BACKUP_DEADLINE, restoring).await {
            Ok(Ok(_)) => {
                self.board.figures.restores.add(1);
                self.board.restored(Window { home: self.number, from, to });
                self.home.forget_logins();
                if let Err(error) = self.forget_what_was_before() {
                    self.trouble(format!("what was set aside cannot be removed: {error}"));
                }
            }
            Ok(Err(error)) => self.trouble(format!("cannot be restored: {error}")),
            Err(_) => self.trouble("restoring takes for ever"),
        }
        // Another's backup may not fit any more; this one is done with.
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, "a backup stays");
        }
        self.bring_up().await;
    }

    /// `restore --force` sets the old store aside and never deletes: on a small disk, that is for us.
    fn forget_what_was_before(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(self.home.dir())? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().contains(".before-") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn state(&self, state: State) {
        self.board.set_state(self.number, state);
    }

    fn trouble(&self, what: impl Into<String>) {
        let what = what.into();
        let at = self.board.elapsed().as_secs_f64();
        self.board.found(Finding::trouble(self.home.name(), format!("at {at:.1} s: {what}")));
    }
}

fn of_user(error: &HomesError) -> Error {
    Error::Unreachable { server: PROBERS[0].to_owned(), why: error.to_string() }
}
