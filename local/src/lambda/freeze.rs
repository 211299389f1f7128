//! Freeze and thaw: SIGSTOP and SIGCONT to process groups, confirmed in `/proc` (SIM-11).

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::event_log::{Event, EventLog};
use super::processes::Process;

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

#[derive(Debug, PartialEq, Eq)]
struct Member {
    pid: u32,
    group: u32,
    state: char,
}

impl Member {
    /// A zombie runs no code either.
    fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 'Z' | 'X')
    }
}

fn members_of(groups: &BTreeSet<u32>) -> Vec<Member> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| parse_stat(&stat))
        .filter(|member| groups.contains(&member.group))
        .collect()
}

/// `pid (name) state ppid pgrp …`; the name may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Member> {
    let (pid, rest) = stat.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    Some(Member { pid: pid.parse().ok()?, group, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_odd_names_parse() {
        let member = parse_stat("42 (a b) (c)) T 1 40 40 0 -1 4194304").unwrap();
        assert_eq!(member, Member { pid: 42, group: 40, state: 'T' });
        assert!(member.is_stopped());
        assert!(!parse_stat("7 (sh) S 1 7 7").unwrap().is_stopped());
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn this_process_is_a_member_of_its_own_group() {
        let group = u32::try_from(nix::unistd::getpgrp().as_raw()).unwrap();
        let members = members_of(&BTreeSet::from([group]));
        assert!(members.iter().any(|member| member.pid == std::process::id()));
    }
}
