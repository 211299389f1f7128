//! What became of the process at the other end of a connection, as far as `/proc` still shows it.
//!
//! A process closes its sockets while it ends, so that its exit status can be read for a moment after the end of the
//! file: before its parent has taken notice, with no need to wait for what the platform says.

use crate::received::{Exit, Fate};

/// `PF_EXITING` of Linux's task flags: the process is on its way out.
const EXITING: u64 = 0x4;

impl Fate {
    /// Looks the process up in `/proc`.
    pub fn of(pid: Option<i32>) -> Self {
        let stat = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        stat.and_then(|stat| Self::parse(&stat)).unwrap_or_default()
    }

    /// Reads the line of `/proc/<pid>/stat`: `pid (name) state … flags … exit_code`.
    fn parse(stat: &str) -> Option<Self> {
        // The name may hold anything, so the fields are counted from its end.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let (state, flags) = (*fields.first()?, fields.get(6)?.parse::<u64>().ok()?);
        if flags & EXITING == 0 && !matches!(state, "Z" | "X") {
            return Some(Self::Alive);
        }
        let code = fields.get(49)?.parse::<u32>().ok()?;
        let [low, status, ..] = code.to_le_bytes();
        let exit = match low & 0x7f {
            0 => Exit::Status(status),
            signal => Exit::Signal(signal),
        };
        Some(Self::Ended(exit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(state: &str, flags: u64, exit_code: u32) -> String {
        let between = "0 ".repeat(42);
        format!("42 (a) b) {state} 1 42 42 0 -1 {flags} {between}{exit_code}\n")
    }

    #[test]
    fn the_line_of_a_process_says_how_it_ended() {
        let ended = |exit| Some(Fate::Ended(exit));
        assert_eq!(Fate::parse(&line("S", 0x40_0000, 0)), Some(Fate::Alive));
        assert_eq!(Fate::parse(&line("R", 0x40_0004, 256)), ended(Exit::Status(1)));
        assert_eq!(Fate::parse(&line("Z", 0x40_000c, 9)), ended(Exit::Signal(9)));
        assert_eq!(
            Fate::parse(&line("Z", 0x40_000c, 0x0b | 0x80)),
            ended(Exit::Signal(11)),
            "with a core dump"
        );
        assert_eq!(Fate::parse(&line("Z", 0x40_000c, 0)), ended(Exit::Status(0)));
        for unreadable in ["", "42", "42 (a) Z 1", "42 (a) Z x x x x x x x"] {
            assert_eq!(Fate::parse(unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn a_real_process_is_seen_alive_and_then_dead() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).ok();
        assert_eq!(Fate::of(pid), Fate::Alive);
        drop(child.stdin.take());
        // Not waited for, it stays to be seen.
        while Fate::of(pid) == Fate::Alive {
            std::thread::yield_now();
        }
        assert_eq!(Fate::of(pid), Fate::Ended(Exit::Status(7)));
        child.wait().unwrap();
        assert_eq!(Fate::of(pid), Fate::Unknown);
    }
}
