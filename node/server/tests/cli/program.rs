//! Runs the built program on a home of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home in a directory that goes when it is dropped.
pub(crate) struct TestHome {
    folder: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl TestHome {
    /// A new home, with ports that nobody listens on.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Self { folder };
        let admin = format!("127.0.0.1:{}", free_port());
        let http = format!("127.0.0.1:{}", free_port());
        let p2p = free_port().to_string();
        let dir = home.dir();
        let dir = dir.to_str().unwrap();
        run(
            &[
                "init",
                "--home",
                "acme.test",
                "--dir",
                dir,
                "--http",
                &http,
                "--p2p",
                &p2p,
                "--admin",
                &admin,
            ],
            "",
            &[],
        )
        .succeeded();
        home
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("acme")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir().join("homing.toml")
    }

    /// Adds to the end of the configuration.
    pub(crate) fn configure(&self, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.config()).unwrap();
        writeln!(file, "{text}").unwrap();
    }

    /// Runs a command of this home.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "", &[])
    }

    /// With standard input and environment.
    pub(crate) fn run_with(
        &self,
        arguments: &[&str],
        input: &str,
        variables: &[(&str, &str)],
    ) -> Ran {
        let config = self.config();
        let all: Vec<&str> =
            arguments.iter().copied().chain(["--config", config.to_str().unwrap()]).collect();
        run(&all, input, variables)
    }
}

/// Runs the program, with nothing of this process's `HOMING_` variables.
pub(crate) fn run(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homing"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOMING_") {
            command.env_remove(name);
        }
    }
    command.envs(variables.iter().copied());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may have ended already.
    let _gone = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

impl Ran {
    /// It exited 0.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It exited 1, with one line that holds `expected`.
    #[track_caller]
    pub(crate) fn refused(self, expected: &str) -> Self {
        assert_eq!(self.code, 1, "{self:?}");
        assert!(self.err.contains(expected), "expected {expected:?} in {self:?}");
        assert!(self.err.starts_with("homing: ") && self.err.lines().count() == 1, "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self
    }

    /// It exited 2, for wrong usage.
    #[track_caller]
    pub(crate) fn misused(self, expected: &str) -> Self {
        assert_eq!(self.code, 2, "{self:?}");
        assert!(self.err.contains(expected), "expected {expected:?} in {self:?}");
        self
    }

    /// The lines of the output, each a JSON object.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line} in {self:?}"))
        };
        self.out.lines().map(parse).collect()
    }
}

/// A port that was free a moment ago. Commands of a stopped home only look that nobody answers there.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
