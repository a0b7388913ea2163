//! The `homing` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::HomesError;

/// The `homing` program and how to start it.
#[derive(Clone, Debug)]
pub struct Program {
    homing: PathBuf,
    guard: Option<Guard>,
    environment: Vec<(String, String)>,
}

/// What a build of `homing` can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// `serve --testing`: a wrong clock on request.
    pub testing: bool,
    /// `backup` and `restore`.
    pub backups: bool,
}

#[derive(Clone, Debug)]
struct Guard {
    program: PathBuf,
    gently: bool,
}

impl Program {
    /// The named one, else the one beside this program, else (for tests, which lie one level deeper) one above.
    pub fn find(named: Option<&Path>) -> Result<Self, HomesError> {
        let homing = match named {
            Some(path) => path.to_owned(),
            None => beside_this_program(),
        };
        if !homing.is_file() {
            return Err(HomesError::NoProgram(homing));
        }
        // Homes run elsewhere: a relative path would lead astray.
        let homing = fs::canonicalize(&homing).map_err(|e| HomesError::Io(homing, e))?;
        // A test that is killed drops nothing: where the wrapper has been built, homes end with it all the same.
        let beside =
            homing.with_file_name(format!("homing-testnet{}", std::env::consts::EXE_SUFFIX));
        let guard = beside.is_file().then_some(Guard { program: beside, gently: false });
        Ok(Self { homing, guard, environment: Vec::new() })
    }

    /// Homes end with this process, even with `kill -9` of it: `guard` is the `homing-testnet` program. (To the kernel
    /// the parent is the thread that starts them: it must live as long. Tests' threads and a runtime's workers do.)
    #[must_use]
    pub fn guarded_by(mut self, guard: PathBuf, gently: bool) -> Self {
        self.guard = Some(Guard { program: guard, gently });
        self
    }

    /// A variable that homes get beside this process's own.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The program's path.
    pub fn path(&self) -> &Path {
        &self.homing
    }

    /// Runs a command of it to its end and returns what it printed.
    pub async fn run(&self, arguments: &[&str]) -> Result<String, HomesError> {
        let failed = |said: String| HomesError::Failed { what: arguments.join(" "), said };
        let output = Command::new(&self.homing)
            .args(arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|e| failed(e.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        String::from_utf8(output.stdout).map_err(|e| failed(e.to_string()))
    }

    /// What its own help names.
    pub async fn abilities(&self) -> Result<Abilities, HomesError> {
        let commands = self.run(&["--help"]).await?;
        let serve = self.run(&["serve", "--help"]).await?;
        let names = |command: &str| {
            commands.lines().any(|line| line.split_ascii_whitespace().next() == Some(command))
        };
        Ok(Abilities {
            testing: serve.contains("--testing"),
            backups: names("backup") && names("restore"),
        })
    }

    pub(super) fn serve(&self, config: &Path, clock_offset_ms: Option<i64>) -> Command {
        let mut command = match &self.guard {
            Some(guard) => {
                let mut command = Command::new(&guard.program);
                command.args(["guard", "--parent", &std::process::id().to_string()]);
                if guard.gently {
                    command.arg("--gently");
                }
                command.arg("--").arg(&self.homing);
                command
            }
            None => Command::new(&self.homing),
        };
        command.arg("serve").arg("--config").arg(config).arg("--json");
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        if let Some(offset) = clock_offset_ms {
            command.arg("--testing").env("HOMING_TESTING__CLOCK_OFFSET_MS", offset.to_string());
        }
        // A process group of its own: Ctrl-C at the terminal is for us, who stop the homes in order.
        command.process_group(0);
        command.kill_on_drop(true);
        command
    }
}

fn beside_this_program() -> PathBuf {
    let name = format!("homing{}", std::env::consts::EXE_SUFFIX);
    let here = std::env::current_exe().ok();
    let dirs = here.iter().flat_map(|exe| exe.ancestors().skip(1).take(2));
    let mut candidates = dirs.map(|dir| dir.join(&name));
    let first = candidates.next().unwrap_or_else(|| PathBuf::from(&name));
    if first.is_file() { first } else { candidates.find(|path| path.is_file()).unwrap_or(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::find(Some(Path::new("/nowhere/homing"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/homing"));
    }
}
