//! The extension's own log lines: few, one line each, on standard output, where Lambda collects them.

use crate::shown;
use std::collections::HashSet;
use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// How much is said. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    /// The level a setting's text names, whatever its case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "off" | "none" => Some(Self::Off),
            "error" => Some(Self::Error),
            "warn" | "warning" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" | "trace" => Some(Self::Debug),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }
}

/// The shape of a line, after `AWS_LAMBDA_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

type Sink = Box<dyn Fn(&str) + Send + Sync>;

struct Inner {
    level: Level,
    format: Format,
    said: Mutex<HashSet<&'static str>>,
    sink: Sink,
}

/// A cheap handle to the one log.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.0.level).finish_non_exhaustive()
    }
}

impl Log {
    /// A log that writes to standard output. A closed standard output is not an error.
    pub fn stdout(level: Level, format: Format) -> Self {
        Self::to(level, format, |line| {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        })
    }

    /// A log whose lines go to `sink`.
    pub fn to(level: Level, format: Format, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { level, format, said: Mutex::default(), sink: Box::new(sink) }))
    }

    /// Whether a line of this level would be written.
    pub fn enabled(&self, level: Level) -> bool {
        level <= self.0.level
    }

    /// Writes one line. Line breaks in `message` become spaces, so that one event stays one line, and URLs are shown
    /// without what may be secret in them.
    pub fn say(&self, level: Level, message: impl fmt::Display) {
        if self.enabled(level) {
            let message = shown::line(&message.to_string()).replace(['\n', '\r'], " ");
            let line = match self.0.format {
                Format::Text => format!("[otel-xray] {}: {message}", level.name()),
                Format::Json => {
                    serde_json::json!({"level": level.name(), "source": "otel-xray", "message": message})
                        .to_string()
                }
            };
            (self.0.sink)(&line);
        }
    }

    /// Writes a line the first time `key` is seen in this environment; a log line costs the user money.
    pub fn once(&self, key: &'static str, level: Level, message: impl fmt::Display) {
        let new = self.0.said.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        if new {
            self.say(level, message);
        }
    }

    /// Writes one JSON object as a line of its own, for machines to read.
    pub fn record(&self, level: Level, record: &serde_json::Value) {
        if self.enabled(level) {
            (self.0.sink)(&record.to_string());
        }
    }
}

#[cfg(test)]
pub(crate) mod test_log {
    use super::{Arc, Format, Level, Log, Mutex};

    /// A log at the given level whose lines can be read back.
    pub(crate) fn capture(level: Level) -> (Log, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let log = Log::to(level, Format::Text, move |line| sink.lock().unwrap().push(line.to_owned()));
        (log, lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_one_line_and_levels_filter() {
        let (log, lines) = test_log::capture(Level::Warn);
        log.say(Level::Info, "quiet");
        log.say(Level::Warn, "two\nlines");
        assert_eq!(*lines.lock().unwrap(), ["[otel-xray] WARN: two lines"]);
    }

    #[test]
    fn no_line_has_a_url_with_its_secrets() {
        let (log, lines) = test_log::capture(Level::Debug);
        log.say(Level::Debug, "http://user:SECRET@host:1/v1/traces?key=SECRET is not there");
        assert_eq!(*lines.lock().unwrap(), ["[otel-xray] DEBUG: http://host:1/v1/traces is not there"]);
    }

    #[test]
    fn once_is_once_per_key() {
        let (log, lines) = test_log::capture(Level::Warn);
        for _ in 0..3 {
            log.once("a", Level::Warn, "first");
            log.once("b", Level::Error, "second");
        }
        assert_eq!(lines.lock().unwrap().len(), 2);
    }
}
