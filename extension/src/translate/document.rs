//! The document itself: xray.md section 3, in the order in which a reader wants its fields.

use super::name::clean;
use super::place::{Place, Placement};
use super::{Subject, http::Http};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A document ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedDocument {
    /// The id X-Ray names when it refuses the document.
    pub id: String,
    /// The document as compact JSON, within the size limit.
    pub json: String,
    /// The spans it stands for: none when it only completes another document.
    pub spans: u64,
    pub is_segment: bool,
    /// Begin of the span, in microseconds since 1970.
    pub start_micros: u64,
}

/// Metadata by namespace (META-1).
pub(super) type Metadata = BTreeMap<String, Map<String, Value>>;

#[derive(Debug, Clone, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of the document format")]
pub(super) struct Document {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    start_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<f64>,
    #[serde(skip_serializing_if = "is_false")]
    in_progress: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) error: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) throttle: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) fault: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http: Option<Http>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aws: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sql: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<Cause>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) annotations: Map<String, Value>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub(super) metadata: Metadata,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Value>,
    #[serde(skip)]
    start_micros: u64,
    #[serde(skip)]
    pub(super) is_segment: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Cause {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) working_directory: Option<String>,
    pub(super) exceptions: Vec<Exception>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Exception {
    pub(super) id: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) remote: bool,
    /// Frames left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) truncated: usize,
    /// The id of the exception that caused this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<String>,
    /// Innermost first (xray.md section 3.7).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) stack: Vec<Frame>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Frame {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) path: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) line: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) label: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Microseconds as seconds. Exact: a present-day count of microseconds is below 2^53, the division is correctly
/// rounded, and so the shortest decimal that serialisation prints is the one with six decimals (TIME-2).
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

impl Document {
    pub(super) fn new(subject: &Subject<'_>, placement: &Placement) -> Self {
        let (kind, parent) = match placement.place {
            Place::Segment { parent } => (None, parent),
            Place::Subsegment { parent } => (Some("subsegment"), Some(parent)),
        };
        let (start, end) = (subject.span.start_time_unix_nano, subject.span.end_time_unix_nano);
        let mut metadata = Metadata::new();
        if end != 0 && end < start {
            // TIME-3: a clock step is no reason to lose the span.
            metadata
                .entry("otel".into())
                .or_default()
                .insert("end_time_unix_nano".into(), json!(end.to_string()));
        }
        let links =
            placement.link.map(|(trace, id)| json!({"trace_id": trace.to_string(), "id": id.to_string()}));
        Self {
            name: String::new(),
            id: subject.id.to_string(),
            trace_id: subject.trace_id.to_string(),
            parent_id: parent.map(|id| id.to_string()),
            kind,
            start_time: seconds(start / 1000),
            end_time: (end != 0).then(|| seconds(end.max(start) / 1000)),
            in_progress: end == 0,
            namespace: None,
            origin: None,
            resource_arn: None,
            user: None,
            service: None,
            error: false,
            throttle: false,
            fault: false,
            http: None,
            aws: None,
            sql: None,
            cause: None,
            annotations: Map::new(),
            metadata,
            links: links.into_iter().collect(),
            start_micros: start / 1000,
            is_segment: kind.is_none(),
        }
    }

    /// Sets the cleaned name; what the cleaning or another source of the name hides goes to metadata.
    pub(super) fn set_name(&mut self, name: &str, span_name: &str) {
        self.name = clean(name);
        if self.name != span_name {
            self.otel().insert("span_name".into(), span_name.into());
        }
        if self.name != name && name != span_name {
            self.otel().insert("name".into(), name.into());
        }
    }

    /// The metadata namespace for facts of the span that have no field (BET-5).
    pub(super) fn otel(&mut self) -> &mut Map<String, Value> {
        self.metadata.entry("otel".to_owned()).or_default()
    }

    pub(super) fn to_json(&self) -> String {
        // Maps with string keys and finite numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn into_translated(self, json: String) -> TranslatedDocument {
        TranslatedDocument {
            id: self.id,
            json,
            spans: 1,
            is_segment: self.is_segment,
            start_micros: self.start_micros,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tv_5_time_2_seconds_are_written_to_the_microsecond() {
        for (nanos, text) in [
            (1_478_293_361_271_123_456_u64, "1478293361.271123"),
            (1_795_224_538_000_001_000, "1795224538.000001"),
            (1_795_224_538_999_999_999, "1795224538.999999"),
            (1_795_224_538_500_000_000, "1795224538.5"),
        ] {
            assert_eq!(serde_json::to_string(&seconds(nanos / 1000)).unwrap(), text);
        }
    }
}
