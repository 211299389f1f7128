//! What `/proc` says of the members of process groups.

use std::collections::BTreeSet;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: u32,
    pub(crate) group: u32,
    state: char,
    resident_pages: u64,
}

impl Member {
    /// A zombie runs no code either.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 'Z' | 'X')
    }

    pub(crate) fn resident_bytes(&self, page_bytes: u64) -> u64 {
        self.resident_pages * page_bytes
    }
}

/// The size of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4_096)
}

/// Every process of these groups.
pub(crate) fn members_of(groups: &BTreeSet<u32>) -> Vec<Member> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(member)
        .filter(|member| groups.contains(&member.group))
        .collect()
}

/// One process, while it is there.
pub(crate) fn member(pid: u32) -> Option<Member> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The most a process has ever held (`VmHWM`), which a look now and then misses.
pub(crate) fn peak_resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// `pid (name) state ppid pgrp …`, the resident pages as 24th; the name may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Member> {
    let (pid, rest) = stat.split_once(" (")?;
    let (_, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let resident_pages = fields.nth(18).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    Some(Member { pid: pid.parse().ok()?, group, state, resident_pages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_odd_names_parse() {
        let line = "42 (a b) (c)) T 1 40 40 0 -1 4194304 5 6 7 8 9 10 11 12 20 0 1 0 99 1000 77 0";
        let member = parse_stat(line).unwrap();
        assert_eq!(member, Member { pid: 42, group: 40, state: 'T', resident_pages: 77 });
        assert!(member.is_stopped());
        assert!(!parse_stat("7 (sh) S 1 7 7").unwrap().is_stopped());
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn this_process_is_a_member_of_its_own_group() {
        let group = u32::try_from(nix::unistd::getpgrp().as_raw()).unwrap();
        let members = members_of(&BTreeSet::from([group]));
        let own = members.iter().find(|member| member.pid == std::process::id()).unwrap();
        let resident = own.resident_bytes(page_bytes());
        assert!(resident > 100_000);
        assert!(peak_resident_bytes(own.pid).unwrap() >= resident / 2);
    }
}
