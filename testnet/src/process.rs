//! What the kernel says about a process and a directory. Linux.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ticks a second of `/proc/PID/stat`: 100 on every Linux that Rust has (USER_HZ is part of the kernel's ABI).
const TICKS_PER_SECOND: u64 = 100;

/// Processor time so far, user and system, of all threads.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name in parentheses may hold spaces: fields are counted behind it.
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = behind.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|f| f.parse::<u64>().ok());
    match (ticks(), ticks()) {
        (Some(user), Some(system)) => {
            Ok(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
        }
        _ => Err(io::Error::other("unexpected /proc/PID/stat")),
    }
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Now.
    pub resident_bytes: u64,
    /// The most since the start or [`forget_peak`].
    pub peak_bytes: u64,
}

/// Resident memory of a process.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_ascii_whitespace().next())
            .and_then(|kib| kib.parse::<u64>().ok())
            .map(|kib| kib * 1024)
    };
    match (bytes("VmRSS:"), bytes("VmHWM:")) {
        (Some(resident_bytes), Some(peak_bytes)) => Ok(Memory { resident_bytes, peak_bytes }),
        _ => Err(io::Error::other("unexpected /proc/PID/status")),
    }
}

/// Lets the peak begin anew at what is resident now.
pub fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// What a directory takes on disk, in bytes, as `du` counts it. Files that vanish meanwhile count nothing.
pub fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => sum += disk_bytes(&entry.path())?,
            Ok(meta) => sum += meta.blocks() * 512,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// Raises the number of open files to what is allowed, for this process and those it starts; says how many that is.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_err() {
        return limit.current.unwrap_or(u64::MAX);
    }
    limit.maximum.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let me = std::process::id();
        let memory = memory(me).unwrap();
        assert!(memory.resident_bytes > 100_000 && memory.peak_bytes >= memory.resident_bytes);
        assert!(cpu_time(me).unwrap() < Duration::from_secs(3600));
        assert!(cpu_time(u32::MAX).is_err());
    }

    #[test]
    fn a_directory_is_weighed_with_what_is_below() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("below/file"), vec![1; 100_000]).unwrap();
        // Sync, or delayed allocation may not have given it blocks yet.
        fs::File::open(dir.path().join("below/file")).unwrap().sync_all().unwrap();
        let bytes = disk_bytes(dir.path()).unwrap();
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
    }
}
