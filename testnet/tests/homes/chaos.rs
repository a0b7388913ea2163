//! `homing-testnet chaos` as it is called: a short one, on two homes.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// Half a minute of harm and the healing after it, on a busy machine.
const WITHIN: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_of_harm_breaks_no_promise() {
    let ground = tempfile::tempdir().unwrap();
    let running = Command::new(env!("CARGO_BIN_EXE_homing-testnet"))
        .args(["chaos", "--seconds", "25", "--homes", "2", "--json", "--dir"])
        .arg(ground.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(WITHIN, running).await.expect("it does not end").unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let noted = String::from_utf8(output.stderr).unwrap();
    let last: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("no last line ({error}): {noted}"));
    assert!(output.status.success(), "{said}\n{noted}");
    for broken in ["lost", "doubled", "disordered", "diverged", "troubles"] {
        assert_eq!(last[broken], 0, "{said}\n{noted}");
    }
    let number = |name: &str| last[name].as_u64().unwrap_or_else(|| panic!("{name}: {last}"));
    assert!(number("kills") >= 2 && number("cuts") + number("slowed") >= 1, "{last}");
    assert!(number("acknowledged") > 300, "{last}");
    assert_eq!(number("acknowledged"), number("sent"), "everything is answered in the end");
    if number("restores") == 0 {
        assert_eq!(number("delivered"), number("acknowledged"), "and shown to the other side");
    }
    let seed = number("seed");
    assert!(noted.contains(&format!("seed {seed}")), "{noted}");
    assert_eq!(std::fs::read_dir(ground.path()).unwrap().count(), 0, "its data is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_leaves_nothing_behind() {
    let ground = tempfile::tempdir().unwrap();
    let mut running = Command::new(env!("CARGO_BIN_EXE_homing-testnet"))
        .args(["chaos", "--minutes", "5", "--homes", "2", "--dir"])
        .arg(ground.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = running.id().unwrap();
    // The seed is named when the homes run.
    let stderr = running.stderr.take().unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stderr));
    let named = tokio::time::timeout(WITHIN, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with("seed ") {
                return true;
            }
        }
        false
    });
    assert!(named.await.unwrap(), "it ended before it began");
    let children = children_of(pid);
    assert_eq!(children.len(), 2, "a process each");
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = tokio::time::timeout(WITHIN, running.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1));
    let is_alive = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
        state.flatten().is_some_and(|state| state != 'Z')
    };
    // They were killed; the kernel may still be at it.
    let all_gone = async {
        while children.iter().any(is_alive) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, all_gone).await.expect("homes go on without it");
    assert_eq!(std::fs::read_dir(ground.path()).unwrap().count(), 0, "its data is gone");
}

fn children_of(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let behind = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        if behind.split(' ').nth(1) == Some(&parent.to_string()) {
            children.push(pid);
        }
    }
    children
}
