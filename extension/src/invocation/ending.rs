//! How an invocation ended badly, in the words of Lambda's users.

use crate::received::Exit;
use std::time::Duration;

const TIMEOUT: &str = "Timeout";
const EXIT_ERROR: &str = "Runtime.ExitError";
const OUT_OF_MEMORY: &str = "Runtime.OutOfMemory";

/// From this part of the function's memory on, a kill is taken for the kernel's for want of memory.
const NEARLY_ALL_PERCENT: u64 = 95;

const KILLED: u8 = 9;

/// How late the begin of an invocation may be heard of.
const LATE_SECONDS: f64 = 0.1;

/// What Lambda says when it ends an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shut {
    /// Nobody needs it any more.
    Spindown,
    /// The function's time is up.
    Timeout,
    /// Something went wrong; also every word that is not known (L-5.8).
    Failure,
}

impl Shut {
    /// Emulators write the words in capitals, and have one of their own for an end in peace.
    pub(super) fn of(reason: &str) -> Self {
        if ["spindown", "SandboxTerminated"].iter().any(|word| reason.eq_ignore_ascii_case(word)) {
            Self::Spindown
        } else if reason.eq_ignore_ascii_case("timeout") {
            Self::Timeout
        } else {
            Self::Failure
        }
    }
}

/// Everything that is known of one end. All of it may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// The process was gone, or the end was told, at or after the deadline, or somebody said that it was a timeout.
    pub(super) timed_out: bool,
    /// From the begin of the invocation to its deadline.
    pub(super) limit: Option<Duration>,
    pub(super) exit: Option<Exit>,
    /// `errorType` of the platform (L-6.11).
    pub(super) error_type: Option<String>,
    pub(super) memory_mb: Option<u64>,
    pub(super) max_memory_used_mb: Option<u64>,
    pub(super) shut: Option<Shut>,
}

/// The exception that stands for the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) kind: String,
    pub(super) message: String,
}

impl Evidence {
    /// Whether nothing that may still come would make the explanation better.
    pub(super) fn is_decisive(&self) -> bool {
        let killed = self.exit == Some(Exit::Signal(KILLED));
        self.timed_out || self.error_type.is_some() || self.exit.is_some() && !killed
    }

    /// The best explanation.
    pub(super) fn ending(&self) -> Ending {
        let (kind, message) = self.explain();
        Ending { kind: kind.to_owned(), message }
    }

    fn explain(&self) -> (&str, String) {
        if self.timed_out {
            return (TIMEOUT, self.timeout());
        }
        if self.ran_out_of_memory() {
            return (OUT_OF_MEMORY, self.out_of_memory());
        }
        let said = self.error_type.as_deref();
        match (self.exit, self.shut) {
            (None, Some(Shut::Spindown)) if said.is_none() => {
                ("Shutdown", "still open when Lambda ended the environment".to_owned())
            }
            (Some(Exit::Signal(KILLED)), _) if said.is_none() => {
                let limit = self.memory_mb.map(|size| format!(" (limit {size} MB)")).unwrap_or_default();
                (EXIT_ERROR, format!("Runtime exited (signal 9), probably out of memory{limit}"))
            }
            (Some(exit), _) => (said.unwrap_or(EXIT_ERROR), exit.to_string()),
            (None, _) => {
                (said.unwrap_or(EXIT_ERROR), "the runtime exited before this was finished".to_owned())
            }
        }
    }

    fn timeout(&self) -> String {
        match self.limit {
            Some(limit) => format!("ended by Lambda after {:.2} s", whole(limit.as_secs_f64())),
            None => "ended by Lambda: the function's timeout was reached".to_owned(),
        }
    }

    fn ran_out_of_memory(&self) -> bool {
        match self.error_type.as_deref() {
            Some(OUT_OF_MEMORY) => true,
            Some(EXIT_ERROR) | None => self.exit == Some(Exit::Signal(KILLED)) && self.used_nearly_all(),
            Some(_) => false,
        }
    }

    fn used_nearly_all(&self) -> bool {
        self.max_memory_used_mb
            .zip(self.memory_mb)
            .is_some_and(|(used, size)| used.saturating_mul(100) >= size.saturating_mul(NEARLY_ALL_PERCENT))
    }

    fn out_of_memory(&self) -> String {
        let how = match self.exit {
            Some(Exit::Signal(signal)) => format!("Runtime exited (signal {signal})"),
            Some(exit) => format!("Runtime exited ({exit})"),
            None => "Runtime exited".to_owned(),
        };
        let is_said = self.error_type.as_deref() == Some(OUT_OF_MEMORY);
        let probably = if is_said { "" } else { "probably " };
        // A process that was killed for it has had everything, whatever an earlier report says.
        let used = if is_said { self.memory_mb } else { self.max_memory_used_mb };
        match used.zip(self.memory_mb) {
            Some((used, size)) => format!("{how}, {probably}out of memory: {used} of {size} MB used"),
            None => format!("{how}, {probably}out of memory"),
        }
    }
}

/// A function's timeout is in whole seconds, and its begin is heard of a moment late.
fn whole(seconds: f64) -> f64 {
    if seconds.ceil() - seconds < LATE_SECONDS { seconds.ceil() } else { seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error_type: &str) -> Evidence {
        Evidence { error_type: Some(error_type.into()), ..Evidence::default() }
    }

    fn exited(exit: Exit) -> Evidence {
        Evidence { exit: Some(exit), ..Evidence::default() }
    }

    #[test]
    fn l_6_11_every_end_has_a_name_and_a_reason() {
        let memory = |used, evidence: Evidence| Evidence {
            memory_mb: Some(512),
            max_memory_used_mb: Some(used),
            ..evidence
        };
        let killed = exited(Exit::Signal(9));
        let limit = Some(Duration::from_secs(3));
        let open = Evidence { shut: Some(Shut::Spindown), ..Evidence::default() };
        let cases = [
            (Evidence { timed_out: true, limit, ..killed.clone() }, "Timeout: ended by Lambda after 3.00 s"),
            (
                Evidence {
                    timed_out: true,
                    limit: Some(Duration::from_millis(2_920)),
                    ..Evidence::default()
                },
                "Timeout: ended by Lambda after 3.00 s",
            ),
            (
                Evidence {
                    timed_out: true,
                    limit: Some(Duration::from_millis(1_400)),
                    ..Evidence::default()
                },
                "Timeout: ended by Lambda after 1.40 s",
            ),
            (
                Evidence { timed_out: true, ..Evidence::default() },
                "Timeout: ended by Lambda: the function's timeout was reached",
            ),
            (
                memory(512, killed.clone()),
                "Runtime.OutOfMemory: Runtime exited (signal 9), probably out of memory: 512 of 512 MB used",
            ),
            (
                memory(90, Evidence { exit: killed.exit, ..said("Runtime.OutOfMemory") }),
                "Runtime.OutOfMemory: Runtime exited (signal 9), out of memory: 512 of 512 MB used",
            ),
            (said("Runtime.OutOfMemory"), "Runtime.OutOfMemory: Runtime exited, out of memory"),
            (
                memory(90, killed.clone()),
                "Runtime.ExitError: Runtime exited (signal 9), probably out of memory (limit 512 MB)",
            ),
            (
                memory(90, Evidence { exit: killed.exit, ..said("Runtime.ExitError") }),
                "Runtime.ExitError: signal 9, SIGKILL",
            ),
            (exited(Exit::Signal(11)), "Runtime.ExitError: signal 11, SIGSEGV"),
            (exited(Exit::Status(1)), "Runtime.ExitError: exit status 1"),
            (said("Extension.Crash"), "Extension.Crash: the runtime exited before this was finished"),
            (Evidence::default(), "Runtime.ExitError: the runtime exited before this was finished"),
            (open, "Shutdown: still open when Lambda ended the environment"),
        ];
        for (evidence, expected) in cases {
            let Ending { kind, message } = evidence.ending();
            assert_eq!(format!("{kind}: {message}"), expected, "{evidence:?}");
        }
    }

    #[test]
    fn only_a_kill_is_worth_waiting_for_more() {
        assert!(!Evidence::default().is_decisive());
        assert!(!exited(Exit::Signal(9)).is_decisive());
        assert!(exited(Exit::Signal(11)).is_decisive());
        assert!(exited(Exit::Status(0)).is_decisive());
        assert!(said("Runtime.ExitError").is_decisive());
        assert!(Evidence { timed_out: true, ..Evidence::default() }.is_decisive());
    }

    #[test]
    fn l_5_8_the_words_of_a_shutdown() {
        for (reason, expected) in [
            ("spindown", Shut::Spindown),
            ("SandboxTerminated", Shut::Spindown),
            ("Timeout", Shut::Timeout),
            ("TIMEOUT", Shut::Timeout),
            ("failure", Shut::Failure),
            ("ReserveFail", Shut::Failure),
        ] {
            assert_eq!(Shut::of(reason), expected);
        }
    }
}
