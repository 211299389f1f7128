//! The function's memory: measured over all processes of the environment, enforced as the kernel does for Lambda.
//!
//! There is no limit of the kernel's own behind it: a control group needs root, and a resource limit makes allocations
//! fail, which no function sees on Lambda. What grows past the limit is killed within [`POLL_INTERVAL`].

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::event_log::Event;
use super::platform::Platform;
use super::process_table::{Member, member, members_of, page_bytes, peak_resident_bytes};

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// New children of the processes are looked for only so often: that reads all of `/proc`.
const POLLS_PER_SEARCH: u32 = 10;

/// What is known of the memory of the living generation of processes.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Usage>);

#[derive(Debug, Default)]
struct Usage {
    groups: BTreeSet<u32>,
    pids: Vec<u32>,
    runtime_group: Option<u32>,
    peak_bytes: u64,
    paused: bool,
    /// A process of the runtime was killed for lack of memory.
    runtime_killed: bool,
}

impl Memory {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new generation begins: nothing runs yet.
    pub(crate) fn reset(&self) {
        *self.usage() = Usage::default();
    }

    pub(crate) fn add_group(&self, group: u32, of_runtime: bool) {
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

    /// The most that all processes together have held, in whole MB. Never more than the limit: that is what Lambda says of
    /// one that was killed.
    pub(crate) fn peak_mb(&self, limit_mb: u32) -> u32 {
        u32::try_from(self.usage().peak_bytes.div_ceil(1024 * 1024)).map_or(limit_mb, |mb| mb.min(limit_mb))
    }

    /// Measures; past the limit, returns the process to kill: the largest, as the kernel would choose.
    fn measure(&self, search: bool, limit_bytes: u64) -> Option<(Member, u64)> {
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
        (held > limit_bytes).then(|| {
            // Before the kill: whoever sees the exit must find the reason.
            usage.runtime_killed |= usage.runtime_group == Some(largest.pid);
            (largest, held)
        })
    }
}

/// Watches until it is dropped.
pub(crate) async fn watch(platform: std::sync::Arc<Platform>) {
    let limit_bytes = u64::from(platform.config.memory_mb) * 1024 * 1024;
    let mut polls = 0_u32;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        polls = polls.wrapping_add(1);
        let Some((largest, held)) =
            platform.memory.measure(polls.is_multiple_of(POLLS_PER_SEARCH), limit_bytes)
        else {
            continue;
        };
        platform.log.push(Event::OutOfMemory { pid: largest.pid, held_bytes: held });
        if let Ok(pid) = i32::try_from(largest.pid) {
            // Gone already is as good as killed.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
