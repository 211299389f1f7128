//! The function's memory: measured over all processes of the environment, enforced as the kernel does for Lambda.
//!
//! Where a control group may be made, its limit is the kernel's own. Elsewhere what grows past it is killed within
//! [`POLL_INTERVAL`]: a resource limit would make allocations fail, which no function sees on Lambda.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::control_group::ControlGroup;
use super::table::{Member, member, members_of, page_bytes, peak_resident_bytes};
use crate::lambda::event_log::{Event, EventLog, ProcessExit};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// New children of the processes are looked for only so often: that reads all of `/proc`.
const POLLS_PER_SEARCH: u32 = 10;

/// The memory of the living generation of processes: what is known of it, and its limit.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) limit_bytes: u64,
    control_group: Option<ControlGroup>,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    groups: BTreeSet<u32>,
    pids: Vec<u32>,
    runtime_group: Option<u32>,
    peak_bytes: u64,
    paused: bool,
    /// The runtime was killed here for lack of memory.
    runtime_killed: bool,
    /// The kernel's kills before this generation.
    earlier_kills: u64,
}

impl Memory {
    pub(crate) fn new(limit_mb: u32) -> Self {
        let limit_bytes = u64::from(limit_mb) * 1024 * 1024;
        Self { limit_bytes, control_group: ControlGroup::create(limit_bytes), usage: Mutex::default() }
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        // Nothing panics while it holds the lock.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kills(&self) -> u64 {
        self.control_group.as_ref().map_or(0, ControlGroup::kills)
    }

    /// A new generation begins: nothing runs yet.
    pub(crate) fn reset(&self) {
        *self.usage() = Usage { earlier_kills: self.kills(), ..Usage::default() };
    }

    pub(crate) fn add_group(&self, group: u32, of_runtime: bool) {
        if let Some(control_group) = &self.control_group {
            // It has ended already, or what watches below is what is left.
            let _ = control_group.add(group);
        }
        let mut usage = self.usage();
        usage.groups.insert(group);
        usage.pids.push(group);
        if of_runtime {
            usage.runtime_group = Some(group);
        }
    }

    /// Frozen processes do not grow: a last look at each one's own peak, and none until the thaw.
    pub(crate) fn pause(&self, paused: bool) {
        let mut usage = self.usage();
        usage.paused = paused;
        let peaks: u64 = usage.pids.iter().filter_map(|pid| peak_resident_bytes(*pid)).sum();
        usage.peak_bytes = usage.peak_bytes.max(peaks);
    }

    pub(crate) fn runtime_killed(&self) -> bool {
        self.usage().runtime_killed
    }

    /// The runtime has ended. Its id, where the kernel has killed it for lack of memory.
    pub(crate) fn note_exit(&self, exit: ProcessExit) -> Option<u32> {
        let kills = self.kills();
        let mut usage = self.usage();
        if exit != ProcessExit::Signal(Signal::SIGKILL as i32) || kills == usage.earlier_kills {
            return None;
        }
        usage.runtime_killed = true;
        usage.peak_bytes = usage.peak_bytes.max(self.limit_bytes);
        usage.runtime_group
    }

    /// The most that all processes together have held, in whole MB. Never more than the limit: that is what Lambda says of
    /// one that was killed.
    pub(crate) fn peak_mb(&self, limit_mb: u32) -> u32 {
        u32::try_from(self.usage().peak_bytes.div_ceil(1024 * 1024)).map_or(limit_mb, |mb| mb.min(limit_mb))
    }

    /// Measures; past the limit, returns the process to kill: the largest, as the kernel would choose.
    fn measure(&self, search: bool) -> Option<(Member, u64)> {
        let page_bytes = page_bytes();
        let mut usage = self.usage();
        if usage.paused || usage.groups.is_empty() {
            return None;
        }
        let members: Vec<Member> = if search {
            members_of(&usage.groups)
        } else {
            let known = usage.pids.iter().filter_map(|pid| member(*pid));
            known.filter(|member| usage.groups.contains(&member.group)).collect()
        };
        usage.pids = members.iter().map(|member| member.pid).collect();
        let held: u64 = members.iter().map(|member| member.resident_bytes(page_bytes)).sum();
        usage.peak_bytes = usage.peak_bytes.max(held);
        let largest = members.into_iter().max_by_key(|member| member.resident_bytes(page_bytes))?;
        let is_ours_to_kill = self.control_group.is_none() && held > self.limit_bytes;
        is_ours_to_kill.then(|| {
            // Before the kill: whoever sees the exit must find the reason.
            usage.runtime_killed |= usage.runtime_group == Some(largest.pid);
            (largest, held)
        })
    }
}

/// Watches until it is dropped.
pub(crate) async fn watch(memory: Arc<Memory>, log: EventLog) {
    let mut polls = 0_u32;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        polls = polls.wrapping_add(1);
        let search = polls.is_multiple_of(POLLS_PER_SEARCH);
        let Some((largest, held)) = memory.measure(search) else { continue };
        log.push(Event::OutOfMemory { pid: largest.pid, held_bytes: held });
        if let Ok(pid) = i32::try_from(largest.pid) {
            // Gone already is as good as killed.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
