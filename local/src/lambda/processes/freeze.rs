//! Freeze and thaw: SIGSTOP and SIGCONT to process groups, confirmed in `/proc` (SIM-11).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Process;
use super::table::members_of;
use crate::lambda::event_log::{Event, EventLog};

/// A process that has not stopped after this long hangs in the kernel; the log says so.
const STOP_LIMIT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// Stops every process group and returns once every living member is in state `T`.
pub(crate) async fn freeze(processes: &[Process], log: &EventLog) {
    let groups = living_groups(processes);
    for process in processes.iter().filter(|process| process.exit().is_none()) {
        process.signal(Signal::SIGSTOP);
    }
    let give_up = Instant::now() + STOP_LIMIT;
    loop {
        let members = members_of(&groups);
        let moving: Vec<u32> =
            members.iter().filter(|member| !member.is_stopped()).map(|member| member.pid).collect();
        if moving.is_empty() {
            log.push(Event::Frozen { pids: members.iter().map(|member| member.pid).collect() });
            return;
        }
        if Instant::now() >= give_up {
            log.push(Event::FreezeIncomplete { pids: moving });
            return;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Lets every process group run again.
pub(crate) fn thaw(processes: &[Process], log: &EventLog) {
    let groups = living_groups(processes);
    for process in processes.iter().filter(|process| process.exit().is_none()) {
        process.signal(Signal::SIGCONT);
    }
    log.push(Event::Thawed { pids: groups.into_iter().collect() });
}

fn living_groups(processes: &[Process]) -> BTreeSet<u32> {
    processes.iter().filter(|process| process.exit().is_none()).map(|process| process.pid).collect()
}
