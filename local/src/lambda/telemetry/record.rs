//! One telemetry record, and the types of records a subscription names.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::lambda::clock::iso8601;

/// The three types a subscription may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Platform,
    Function,
    Extension,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Platform, Self::Function, Self::Extension].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// As it is delivered.
#[derive(Debug)]
pub(crate) struct Record {
    pub(super) kind: Kind,
    pub(crate) json: String,
}

impl Record {
    pub(crate) fn new(kind: Kind, at: SystemTime, event_type: &str, record: &Value) -> Self {
        let event = json!({"time": iso8601(at), "type": event_type, "record": record});
        Self { kind, json: event.to_string() }
    }
}
