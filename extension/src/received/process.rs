//! What became of the process at the other end of a connection.

use std::fmt;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Status(u8),
    Signal(u8),
}

/// What is known of a process whose connection has closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// It is gone, or cannot be seen.
    #[default]
    Unknown,
    /// It only closed the connection.
    Alive,
    Ended(Exit),
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(formatter, "exit status {status}"),
            Self::Signal(signal) => {
                let name = match signal {
                    4 => ", SIGILL",
                    6 => ", SIGABRT",
                    7 => ", SIGBUS",
                    8 => ", SIGFPE",
                    9 => ", SIGKILL",
                    11 => ", SIGSEGV",
                    15 => ", SIGTERM",
                    _ => "",
                };
                write!(formatter, "signal {signal}{name}")
            }
        }
    }
}
