//! A control group of the kernel's for the memory of an environment, where one may be made: its limit is the function's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the hierarchies are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The names of one version of the kernel's interface.
#[derive(Debug, PartialEq, Eq)]
struct Interface {
    /// Below the mount.
    hierarchy: &'static str,
    limit: &'static str,
    /// Memory and swap together, or swap alone; not every kernel has it.
    swap: (&'static str, Swap),
    /// Has a line `oom_kill N`.
    events: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swap {
    WithMemory,
    Alone,
}

const INTERFACES: [Interface; 2] = [
    Interface {
        hierarchy: "memory",
        limit: "memory.limit_in_bytes",
        swap: ("memory.memsw.limit_in_bytes", Swap::WithMemory),
        events: "memory.oom_control",
    },
    Interface {
        hierarchy: "",
        limit: "memory.max",
        swap: ("memory.swap.max", Swap::Alone),
        events: "memory.events",
    },
];

/// Removed when it is dropped, if its processes are gone.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    directory: PathBuf,
    interface: &'static Interface,
}

impl ControlGroup {
    /// One with this limit, or none where the kernel or the rights for it are missing.
    pub(crate) fn create(limit_bytes: u64) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("otel-xray-local-{}-{number}", std::process::id());
        INTERFACES.iter().find_map(|interface| {
            let directory = Path::new(MOUNT).join(interface.hierarchy).join(&name);
            fs::create_dir(&directory).ok()?;
            let group = Self { directory, interface };
            // The kernel lays the files; where it has not, memory is not what this hierarchy controls.
            let controls_memory = group.directory.join(interface.limit).exists();
            (controls_memory && group.limit(limit_bytes).is_ok()).then_some(group)
        })
    }

    fn limit(&self, limit_bytes: u64) -> io::Result<()> {
        self.write(self.interface.limit, limit_bytes)?;
        let (swap, counts) = self.interface.swap;
        let swap_bytes = match counts {
            Swap::WithMemory => limit_bytes,
            Swap::Alone => 0,
        };
        // Without swap there is nothing to forbid.
        let _ = self.write(swap, swap_bytes);
        Ok(())
    }

    /// Puts a process in, with those it will start.
    pub(crate) fn add(&self, pid: u32) -> io::Result<()> {
        self.write("cgroup.procs", u64::from(pid))
    }

    /// Processes the kernel has killed for want of memory.
    pub(crate) fn kills(&self) -> u64 {
        let events = fs::read_to_string(self.directory.join(self.interface.events)).unwrap_or_default();
        kills_in(&events)
    }

    fn write(&self, file: &str, number: u64) -> io::Result<()> {
        fs::write(self.directory.join(file), number.to_string())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // One that still has processes stays.
        let _ = fs::remove_dir(&self.directory);
    }
}

fn kills_in(events: &str) -> u64 {
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions() {
        for (events, kills) in [
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),
            ("low 0\nhigh 0\nmax 17\noom 1\noom_kill 1\noom_group_kill 0\n", 1),
            ("", 0),
        ] {
            assert_eq!(kills_in(events), kills, "{events}");
        }
    }

    #[test]
    fn the_limit_is_for_memory_and_swap() {
        for (interface, expected) in INTERFACES.iter().zip([
            [("memory.limit_in_bytes", "1048576"), ("memory.memsw.limit_in_bytes", "1048576")],
            [("memory.max", "1048576"), ("memory.swap.max", "0")],
        ]) {
            let directory = tempfile::tempdir().unwrap();
            let group = ControlGroup { directory: directory.path().to_owned(), interface };
            group.limit(1_048_576).unwrap();
            group.add(7).unwrap();
            for (file, content) in expected.into_iter().chain([("cgroup.procs", "7")]) {
                assert_eq!(fs::read_to_string(directory.path().join(file)).unwrap(), content, "{file}");
            }
        }
    }
}
