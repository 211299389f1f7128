//! Everything that happens in an environment, in order, with times (SIM-4). Every room writes it; tests and the command
//! line read it.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

/// Who did or wrote something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    Runtime,
    /// An extension, by its name.
    Extension(String),
    /// A client that did not say who it is.
    Unknown,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime => formatter.write_str("function"),
            Self::Extension(name) => write!(formatter, "extension {name}"),
            Self::Unknown => formatter.write_str("unknown client"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// What the environment as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Processes start, register and ask for their first event.
    Init,
    /// Initialised, no invocation.
    Idle,
    /// A snapshot is resumed.
    Restore,
    Invoke,
    /// The processes are being ended.
    Shutdown,
    /// No process lives; the next invocation starts them again.
    Down,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessExit {
    Code(i32),
    Signal(i32),
}

impl From<ExitStatus> for ProcessExit {
    fn from(status: ExitStatus) -> Self {
        // A status is an exit code or a signal; waiting never reports a stop.
        status.code().map_or_else(|| Self::Signal(status.signal().unwrap_or_default()), Self::Code)
    }
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "exit status {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(Signal::SIGKILL) => formatter.write_str("signal: killed"),
                Ok(Signal::SIGTERM) => formatter.write_str("signal: terminated"),
                Ok(Signal::SIGABRT) => formatter.write_str("signal: aborted"),
                Ok(Signal::SIGSEGV) => formatter.write_str("signal: segmentation fault"),
                Ok(signal) => write!(formatter, "signal: {signal}"),
                Err(_) => write!(formatter, "signal: {number}"),
            },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Phase(Phase),
    ProcessStarted {
        origin: Origin,
        pid: u32,
    },
    ProcessExited {
        origin: Origin,
        exit: ProcessExit,
    },
    /// A signal to the process group of `origin`.
    SignalSent {
        origin: Origin,
        signal: &'static str,
    },
    /// A request to one of the local APIs, when its head and body have been read.
    ApiCall {
        origin: Origin,
        method: String,
        path: String,
    },
    /// The answer to such a request, as it is handed to the connection.
    ApiAnswer {
        origin: Origin,
        method: String,
        path: String,
        status: u16,
        error_type: Option<String>,
    },
    /// The processes together held more than the function's memory; this one, the largest, is killed.
    OutOfMemory {
        pid: u32,
        held_bytes: u64,
    },
    /// Every process that lives is stopped, seen as state `T`.
    Frozen {
        pids: Vec<u32>,
    },
    /// A process did not stop in time.
    FreezeIncomplete {
        pids: Vec<u32>,
    },
    Thawed {
        pids: Vec<u32>,
    },
    /// INVOKE and runtime event were released.
    InvocationReleased {
        request_id: String,
    },
    /// The caller has its answer.
    AnswerDelivered {
        request_id: String,
    },
    InvocationEnded {
        request_id: String,
    },
    /// SHUTDOWN was released to this extension.
    ShutdownReleased {
        extension: String,
    },
    /// A line that a process wrote.
    Line {
        origin: Origin,
        stream: OutputStream,
        text: String,
    },
    /// A line of the platform's own, as in the function's log.
    PlatformLine(String),
    /// A telemetry batch and the listener's status, none when it could not be reached.
    TelemetryBatch {
        extension: String,
        events: usize,
        status: Option<u16>,
    },
}

/// One event and when it happened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Since the environment started.
    pub at: Duration,
    pub wall: SystemTime,
    pub event: Event,
}

/// A place in the log, to look at what came after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogMark(usize);

/// The shared, append-only log. Cloning gives another handle to the same log.
#[derive(Debug, Clone)]
pub struct EventLog {
    started: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), entries: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // Nothing panics while it holds the lock; a poisoned log is still a log.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: Event) {
        let mut entries = self.lock();
        entries.push(Entry { at: self.started.elapsed(), wall: SystemTime::now(), event });
    }

    /// The end of the log as it is now.
    pub fn mark(&self) -> LogMark {
        LogMark(self.lock().len())
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.entries_since(LogMark::default())
    }

    pub fn entries_since(&self, mark: LogMark) -> Vec<Entry> {
        self.lock().get(mark.0..).unwrap_or_default().to_vec()
    }

    /// The lines a process wrote, both streams, in the order they arrived.
    pub fn lines(&self, of: &Origin) -> Vec<String> {
        let lines = self.lock();
        lines
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::Line { origin, text, .. } if origin == of => Some(text.clone()),
                _ => None,
            })
            .collect()
    }

    /// Index of the first entry at or after `from` that satisfies the test.
    pub fn position(&self, from: usize, test: impl Fn(&Event) -> bool) -> Option<usize> {
        let entries = self.lock();
        entries.iter().skip(from).position(|entry| test(&entry.event)).map(|index| index + from)
    }

    pub fn count(&self, test: impl Fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|entry| test(&entry.event)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_order_and_marks() {
        let log = EventLog::new();
        log.push(Event::Phase(Phase::Init));
        let mark = log.mark();
        log.push(Event::Line {
            origin: Origin::Extension("x".to_owned()),
            stream: OutputStream::Stdout,
            text: "one".to_owned(),
        });
        log.push(Event::Line {
            origin: Origin::Runtime,
            stream: OutputStream::Stderr,
            text: "two".to_owned(),
        });
        assert_eq!(log.entries().len(), 3);
        assert_eq!(log.entries_since(mark).len(), 2);
        assert_eq!(log.lines(&Origin::Runtime), ["two"]);
        assert_eq!(log.position(0, |event| matches!(event, Event::Line { .. })), Some(1));
        assert_eq!(log.position(2, |event| matches!(event, Event::Line { .. })), Some(2));
        assert_eq!(log.count(|event| matches!(event, Event::Phase(_))), 1);
        assert!(log.entries().windows(2).all(|pair| pair[0].at <= pair[1].at));
    }

    #[test]
    fn exits_read_like_the_platform_says_them() {
        assert_eq!(ProcessExit::Code(7).to_string(), "exit status 7");
        assert_eq!(ProcessExit::Signal(9).to_string(), "signal: killed");
    }
}
