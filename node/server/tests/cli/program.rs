//! Runs the built program on a home of its own.

use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A home in a directory that goes when it is dropped.
pub(crate) struct TestHome {
    folder: tempfile::TempDir,
    ports: Ports,
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
        let home = Self { folder, ports: Ports::free() };
        let http = format!("127.0.0.1:{}", home.ports.of_ten(0));
        let p2p = home.ports.of_ten(1).to_string();
        let admin = format!("127.0.0.1:{}", home.ports.of_ten(2));
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

    /// A port of this home's ten where nobody listens, nor this home itself.
    pub(crate) fn silent_port(&self) -> u16 {
        self.ports.of_ten(3)
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

/// Ten ports in a row, as `homing_testnet::homes::Ports` chooses them: below those that the kernel gives to whoever
/// connects, or binds to port 0, so that nothing else of this machine gets one by chance; and kept from other tests, in
/// other processes too, by a guard on the last of them while this lives.
struct Ports {
    first: u16,
    _guard: TcpListener,
}

impl Ports {
    /// Below lie the ports of services that this machine may run.
    const LOWEST: u16 = 10_000;

    /// A range is taken where a home of another test lives, which is no error; a machine without a free one is.
    const TRIED: usize = 50;

    fn free() -> Self {
        // Linux's own where it does not say.
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let ephemeral_from: u16 =
            range.map_or(32_768, |range| range.split_whitespace().next().unwrap().parse().unwrap());
        let tens = Self::LOWEST / 10..ephemeral_from / 10;
        (0..Self::TRIED)
            .find_map(|_| Self::guarded(10 * rand::random_range(tens.clone())))
            .expect("no range of ports below the ephemeral ones is free")
    }

    /// The ten from `first` on, where nobody has any that a home listens on.
    fn guarded(first: u16) -> Option<Self> {
        let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
        let guard = bind(first + 9)?;
        (first..first + 4).try_for_each(|port| bind(port).map(drop))?;
        UdpSocket::bind(("127.0.0.1", first + 1)).ok()?;
        Some(Self { first, _guard: guard })
    }

    fn of_ten(&self, index: u16) -> u16 {
        self.first + index
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
