//! Log lines that repeat: each kind at most once a minute, because a log line costs the user money (BET-31).

use crate::log::{Level, Log};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

const PAUSE: Duration = Duration::from_mins(1);
/// Kinds that are told apart. Error codes come from outside, so their number has to have an end.
const MAX_KINDS: usize = 64;

/// A log that says each kind of thing once a minute.
#[derive(Debug)]
pub(crate) struct Complaints {
    log: Log,
    /// When each kind was last said, as time since 1970: that clock goes on while the environment is frozen.
    said: HashMap<String, Duration>,
    /// What was said once and for all.
    lasting: HashSet<String>,
}

impl Complaints {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, said: HashMap::new(), lasting: HashSet::new() }
    }

    /// The log itself, for what is said once in the life of an environment.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Says it, unless the same kind was said less than a minute before `unix`, the time since 1970.
    pub(crate) fn say(&mut self, kind: &str, unix: Duration, level: Level, message: impl fmt::Display) {
        let recently =
            self.said.get(kind).is_some_and(|said| unix.saturating_sub(*said) < PAUSE && *said <= unix);
        if recently || (self.said.len() == MAX_KINDS && !self.said.contains_key(kind)) {
            return;
        }
        self.said.insert(kind.to_owned(), unix);
        self.log.say(level, message);
    }
}

impl Complaints {
    /// Says it the first time, which is of something that lasts until somebody puts it right: told by the words before
    /// the first colon.
    pub(crate) fn once(&mut self, level: Level, message: &str) {
        let what = message.split(": ").next().unwrap_or_default();
        if self.lasting.len() < MAX_KINDS && self.lasting.insert(what.to_owned()) {
            self.log.say(level, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_log;

    #[test]
    fn bet_31_one_line_per_code_per_minute() {
        let (log, lines) = test_log::capture(Level::Warn);
        let mut complaints = Complaints::new(log);
        for (kind, second) in [("A", 100), ("B", 101), ("A", 159), ("A", 160), ("A", 161), ("A", 20)] {
            complaints.say(
                kind,
                Duration::from_secs(second),
                Level::Warn,
                format_args!("{kind} at {second}"),
            );
        }
        let said = lines.lock().unwrap();
        let ends: Vec<_> = said.iter().map(|line| line.rsplit(": ").next().unwrap()).collect();
        assert_eq!(ends, ["A at 100", "B at 101", "A at 160", "A at 20"]);
    }

    #[test]
    fn bet_36_what_lasts_is_said_once_and_another_such_thing_too() {
        let (log, lines) = test_log::capture(Level::Warn);
        let mut complaints = Complaints::new(log);
        for message in ["no permission: 1", "expired", "no permission: 2"] {
            complaints.once(Level::Error, message);
        }
        assert_eq!(lines.lock().unwrap().len(), 2);
    }

    #[test]
    fn the_number_of_kinds_has_an_end() {
        let (log, lines) = test_log::capture(Level::Warn);
        let mut complaints = Complaints::new(log);
        for kind in 0..1000 {
            complaints.say(&kind.to_string(), Duration::from_secs(1), Level::Warn, kind);
        }
        assert_eq!(lines.lock().unwrap().len(), MAX_KINDS);
    }
}
