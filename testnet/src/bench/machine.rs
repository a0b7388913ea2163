//! Where it was measured.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The machine, the system, the build.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    version: String,
    debug_build: bool,
}

impl Machine {
    pub(super) fn look(homing: &Path) -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            kernel: kernel.trim().to_owned(),
            commit: said_by(Command::new("git").args(["describe", "--always", "--dirty"])),
            version: said_by(Command::new(homing).arg("--version"))
                .unwrap_or_else(|| "unknown version".to_owned()),
            debug_build: cfg!(debug_assertions),
        }
    }
}

fn said_by(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores, {}, Linux {}; {}", self.cores, self.cpu, self.kernel, self.version)?;
        if let Some(commit) = &self.commit {
            write!(f, ", commit {commit}")?;
        }
        if self.debug_build {
            write!(f, "\nA DEBUG BUILD: the figures below mean nothing. Use --release.")?;
        }
        Ok(())
    }
}
