//! `homing client chat` on a terminal: a pty with the program on one end, and on the other a terminal emulator that is
//! asked what it shows.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::Child;
use tokio::sync::watch;

use crate::party::{Party, WITHIN};

/// Put on the line when the program has ended, behind all that it wrote: no screen shows it.
const END: u8 = 0;

/// A terminal with the program in it. Dropping it is the terminal's end, and the program's.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    /// The line's settings can be asked for as long as somebody has it open.
    slave: File,
    screen: Arc<Mutex<vt100::Parser>>,
    drawn: watch::Receiver<u64>,
}

impl Terminal {
    /// `homing client chat …` as a user of the `home`th home, whose profile is signed in.
    pub(crate) fn chat(
        party: &Party,
        home: usize,
        user: &str,
        words: &[&str],
        (columns, rows): (u16, u16),
    ) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let open = || {
            File::from(
                rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap(),
            )
        };
        let slave = open();
        tcsetwinsize(&slave, winsize(columns, rows)).unwrap();
        let home = &party.homes[home];
        // A session of its own, whose terminal this is: resizing and hanging up are signals to it.
        let child = tokio::process::Command::new("setsid")
            .arg("--ctty")
            .arg(home.program().path())
            .args(["client", "--server", &home.ready().unwrap().http, "--profile", user, "chat"])
            .args(words)
            .env("HOMING_PROFILE_DIR", home.dir().join("profiles"))
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .kill_on_drop(true)
            .spawn()
            .expect("setsid (util-linux) is needed");
        let master = File::from(master);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows), cells(columns), 0)));
        let (drew, drawn) = watch::channel(0);
        let (mut reader, emulator) = (master.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end: the program has gone, and the line with it.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                emulator.lock().unwrap().process(&bytes[..count]);
                drew.send_modify(|times| *times += 1);
                if bytes[..count].contains(&END) {
                    return;
                }
            }
        });
        Self { child, master, slave, screen, drawn }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// What it shows.
    pub(crate) fn contents(&self) -> String {
        contents(&self.screen)
    }

    /// Waits until it shows what is wanted. That the program has ended is no reason to wait on.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let (screen, drawn) = (&self.screen, &mut self.drawn);
        let found = async {
            loop {
                drawn.borrow_and_update();
                if let Some(found) = wanted(&contents(screen)) {
                    return Some(found);
                }
                if drawn.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::pin!(found);
        let mut ended = String::new();
        let waiting = async {
            tokio::select! {
                found = &mut found => return found,
                status = self.child.wait() => ended = format!(" and has ended: {}", status.unwrap()),
            }
            // What it wrote last may still be on its way through the line.
            (&self.slave).write_all(&[END]).unwrap();
            found.await
        };
        match tokio::time::timeout(WITHIN, waiting).await {
            Ok(Some(found)) => found,
            Ok(None) | Err(_) => panic!("no {what}{ended}:\n{}", contents(screen)),
        }
    }

    /// Waits until it shows a text.
    pub(crate) async fn shows(&mut self, text: &str) {
        self.until(text, |screen| screen.contains(text).then_some(())).await;
    }

    /// Waits until it shows a text no more.
    pub(crate) async fn hides(&mut self, text: &str) {
        self.until(&format!("screen without {text}"), |screen| {
            (!screen.contains(text)).then_some(())
        })
        .await;
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
        tcsetwinsize(&self.master, winsize(columns, rows)).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// The screen belongs to the program.
    pub(crate) fn is_taken(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// Waits for its end; the terminal must be as it was before.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        let ended = tokio::time::timeout(WITHIN, self.child.wait()).await;
        let status =
            ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.contents())).unwrap();
        // What it wrote last may still be on its way through the line.
        (&self.slave).write_all(&[END]).unwrap();
        let all_read = async { while self.drawn.changed().await.is_ok() {} };
        tokio::time::timeout(WITHIN, all_read).await.expect("the line is not read to its end");
        let screen = self.screen.lock().unwrap();
        let screen = screen.screen();
        assert!(!screen.alternate_screen(), "it has ended without giving the screen back");
        assert!(
            !screen.bracketed_paste() && !screen.hide_cursor(),
            "the terminal was not given back"
        );
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG),
            "{modes:?}"
        );
        (status, screen.contents())
    }
}

fn contents(screen: &Mutex<vt100::Parser>) -> String {
    screen.lock().unwrap().screen().contents()
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
