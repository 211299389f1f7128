//! The document itself: xray.md section 3.

use super::fields::{Block, Metadata, Object};
use super::http::Http;
use super::name::clean;
use super::value::Scalar;
use crate::invocation::trace_header::{SpanId, TraceId};
use serde::Serialize;
use serde::ser::Serializer;
use std::borrow::Cow;

/// A document ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedDocument {
    /// The id X-Ray names when it refuses the document.
    pub id: String,
    /// The document as compact JSON, within the size limit.
    pub json: String,
    /// The spans it stands for: none when it only completes another document, several when others are nested in it.
    pub spans: u64,
    pub is_segment: bool,
    /// Begin of the span, in microseconds since 1970.
    pub start_micros: u64,
}

/// The fields in the order in which they are written. The first four tell a nested subsegment from an independent
/// one, and stand where [`super::nest`] finds them.
#[derive(Debug, Clone, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of the document format")]
pub(super) struct Document<'a> {
    #[serde(serialize_with = "as_text")]
    pub(super) id: SpanId,
    #[serde(serialize_with = "as_text")]
    pub(super) trace_id: TraceId,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_text")]
    pub(super) parent_id: Option<SpanId>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    pub(super) name: Cow<'a, str>,
    #[serde(serialize_with = "as_seconds")]
    pub(super) start_time: Micros,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_seconds")]
    pub(super) end_time: Option<Micros>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) in_progress: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource_arn: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) error: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) throttle: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) fault: bool,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub(super) service: Block<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http: Option<Http<'a>>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub(super) aws: Block<'a>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub(super) sql: Block<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<Cause>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub(super) annotations: Object<'a, Scalar<'a>>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    pub(super) metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<Link<'a>>,
}

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Micros(pub(super) u64);

impl Micros {
    pub(super) fn of_nanos(unix_nano: u64) -> Self {
        Self(unix_nano / 1000)
    }

    /// Exact: a present-day count of microseconds is below 2^53, the division is correctly rounded, and so the
    /// shortest decimal that serialisation prints is the one with six decimals (TIME-2). The first ten microseconds
    /// of 1970 would be printed with an exponent, and count as its begin.
    fn seconds(self) -> f64 {
        if self.0 < 10 { 0.0 } else { self.0 as f64 / 1_000_000.0 }
    }
}

/// Another trace this one has to do with (LNK-1).
#[derive(Debug, Clone, Serialize)]
pub(super) struct Link<'a> {
    #[serde(serialize_with = "as_text")]
    pub(super) trace_id: TraceId,
    #[serde(serialize_with = "as_text")]
    pub(super) id: SpanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attributes: Option<super::fields::Meta<'a>>,
}

/// Why something failed (xray.md section 3.7).
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Cause {
    /// The id of an exception that a child carries (BET-19).
    Child(String),
    Own {
        #[serde(skip_serializing_if = "Option::is_none")]
        working_directory: Option<String>,
        exceptions: Vec<Exception>,
    },
}

impl Cause {
    pub(super) fn exceptions_mut(&mut self) -> &mut [Exception] {
        match self {
            Self::Child(_) => &mut [],
            Self::Own { exceptions, .. } => exceptions,
        }
    }
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
    /// Exceptions left out behind this one.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) skipped: usize,
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

fn as_text<S: Serializer>(id: &impl Hex, serializer: S) -> Result<S::Ok, S::Error> {
    id.with_text(|text| serializer.serialize_str(text))
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn as_optional_text<S: Serializer>(id: &Option<SpanId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => as_text(id, serializer),
        None => serializer.serialize_none(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn as_seconds<S: Serializer>(time: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.seconds())
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn as_optional_seconds<S: Serializer>(time: &Option<Micros>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => as_seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// An id whose text needs no allocation.
trait Hex {
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R;
}

impl Hex for SpanId {
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        use_text(self.to_text().as_str())
    }
}

impl Hex for TraceId {
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        use_text(self.to_text().as_str())
    }
}

impl<'a> Document<'a> {
    /// A document with ids and times, and nothing else.
    pub(super) fn new(trace_id: TraceId, id: SpanId, start_unix_nano: u64, end_unix_nano: u64) -> Self {
        Self {
            id,
            trace_id,
            parent_id: None,
            kind: None,
            name: Cow::Borrowed("span"),
            start_time: Micros::of_nanos(start_unix_nano),
            // TIME-4: an end of 0 says that the span is not finished.
            end_time: (end_unix_nano != 0).then(|| Micros::of_nanos(end_unix_nano.max(start_unix_nano))),
            in_progress: end_unix_nano == 0,
            namespace: None,
            origin: None,
            resource_arn: None,
            user: None,
            error: false,
            throttle: false,
            fault: false,
            service: Block::default(),
            http: None,
            aws: Block::default(),
            sql: Block::default(),
            cause: None,
            annotations: Object::default(),
            metadata: Metadata::default(),
            links: Vec::new(),
        }
    }

    pub(super) fn is_segment(&self) -> bool {
        self.kind.is_none()
    }

    /// Makes it an independent subsegment.
    pub(super) fn hang_on(&mut self, parent: SpanId) {
        self.kind = Some("subsegment");
        self.parent_id = Some(parent);
    }

    /// Sets the cleaned name; what the cleaning or another source of the name hides goes to metadata.
    pub(super) fn set_name(&mut self, name: Cow<'a, str>, span_name: &'a str) {
        let cleaned = clean(&name);
        if cleaned.as_deref().unwrap_or(&name) != span_name && !span_name.is_empty() {
            self.otel().push("span_name", super::fields::Meta::Text(span_name.into()));
        }
        if cleaned.is_some() && name != span_name {
            self.otel().push("name", super::fields::Meta::Text(name.clone()));
        }
        self.name = cleaned.map_or(name, Cow::Owned);
    }

    /// The metadata namespace for facts of the span that have no field (BET-5).
    pub(super) fn otel(&mut self) -> &mut Object<'a, super::fields::Meta<'a>> {
        self.metadata.entry("otel")
    }

    /// Writes the document into a buffer that is used again and again.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        // Writing to memory does not fail, and every key here is a string.
        let _ = serde_json::to_writer(buffer, self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tv_5_time_1_time_2_seconds_are_written_to_the_microsecond_and_never_with_an_exponent() {
        for (nanos, text) in [
            (1_478_293_361_271_123_456_u64, "1478293361.271123"),
            (1_795_224_538_000_001_000, "1795224538.000001"),
            (1_795_224_538_999_999_999, "1795224538.999999"),
            (1_795_224_538_500_000_000, "1795224538.5"),
            (0, "0.0"),
            (9_999, "0.0"),
            (10_000, "0.00001"),
            (7_258_118_400_000_001_000, "7258118400.000001"),
            (u64::MAX, "18446744073.709553"),
        ] {
            let text_of = serde_json::to_string(&Micros::of_nanos(nanos).seconds()).unwrap();
            assert_eq!(text_of, text);
        }
    }
}
