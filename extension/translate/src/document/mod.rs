//! The document itself: xray.md section 3.

pub(crate) mod fields;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod splice;
pub(crate) mod value;

pub(crate) mod name;

use crate::document::fields::{Block, Metadata, Object, Spare};
use crate::document::json::{Fields, Json, name};
use crate::document::value::Scalar;
use crate::trace_header::{SpanId, TraceId};
use http::Http;
use name::clean;
use std::borrow::Cow;

/// A document ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedDocument {
    /// The id X-Ray names when it refuses the document.
    pub id: SpanId,
    /// The document as compact JSON, within the size limit.
    pub json: String,
    /// The spans it stands for: none when it only completes another document, several when others are nested in it.
    pub spans: u64,
    pub is_segment: bool,
}

impl TranslatedDocument {
    /// Whether it only shows that something runs: worthless later, and wrong once the complete document has left.
    pub fn is_progress(&self) -> bool {
        // In a text inside of the document the quotes would have backslashes.
        self.spans == 0 && self.json.contains(r#""in_progress":true"#)
    }
}

/// The fields in the order in which they are written. The first four tell a nested subsegment from an independent
/// one, and stand where [`crate::fit::nest`] finds them.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of the document format")]
pub(crate) struct Document<'a> {
    pub(crate) id: SpanId,
    pub(crate) trace_id: TraceId,
    pub(crate) parent_id: Option<SpanId>,
    pub(crate) kind: Option<&'static str>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) start_time: Micros,
    pub(crate) end_time: Option<Micros>,
    pub(crate) in_progress: bool,
    pub(crate) namespace: Option<&'static str>,
    pub(crate) origin: Option<&'static str>,
    pub(crate) resource_arn: Option<Cow<'a, str>>,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) error: bool,
    pub(crate) throttle: bool,
    pub(crate) fault: bool,
    pub(crate) service: Block<'a>,
    pub(crate) http: Option<Http<'a>>,
    pub(crate) aws: Block<'a>,
    pub(crate) sql: Block<'a>,
    pub(crate) cause: Option<Cause>,
    pub(crate) annotations: Object<'a, Scalar<'a>>,
    pub(crate) metadata: Metadata<'a>,
    pub(crate) links: Vec<Link<'a>>,
}

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub(crate) u64);

impl Micros {
    pub(crate) fn of_nanos(unix_nano: u64) -> Self {
        Self(unix_nano / 1000)
    }
}

/// Another trace this one has to do with (LNK-1).
#[derive(Debug, Clone)]
pub(crate) struct Link<'a> {
    pub(crate) trace_id: TraceId,
    pub(crate) id: SpanId,
    pub(crate) attributes: Option<crate::document::fields::Meta<'a>>,
}

/// Why something failed (xray.md section 3.7).
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// The id of an exception that a child carries (BET-19).
    Child(String),
    Own {
        working_directory: Option<String>,
        exceptions: Vec<Exception>,
    },
}

impl Cause {
    pub(crate) fn exceptions_mut(&mut self) -> &mut [Exception] {
        match self {
            Self::Child(_) => &mut [],
            Self::Own { exceptions, .. } => exceptions,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) id: String,
    pub(crate) kind: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) remote: bool,
    /// Frames left out.
    pub(crate) truncated: usize,
    /// Exceptions left out behind this one.
    pub(crate) skipped: usize,
    /// The id of the exception that caused this one.
    pub(crate) cause: Option<String>,
    /// Innermost first (xray.md section 3.7).
    pub(crate) stack: Vec<Frame>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) label: String,
}

impl Json for SpanId {
    fn write(&self, out: &mut String) {
        quoted(out, self.to_text().as_str());
    }
}

impl Json for TraceId {
    fn write(&self, out: &mut String) {
        quoted(out, self.to_text().as_str());
    }
}

/// A text that has nothing to escape.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Seconds with six decimals, by whole numbers (TIME-2).
impl Json for Micros {
    fn write(&self, out: &mut String) {
        (self.0 / 1_000_000).write(out);
        // The one in front keeps the zeros, and is left out.
        let with_one = 1_000_000 + self.0 % 1_000_000;
        out.push('.');
        out.push_str(&itoa::Buffer::new().format(with_one)[1..]);
    }
}

impl Json for Link<'_> {
    fn write(&self, out: &mut String) {
        let mut fields = Fields::begin(out);
        fields.put(name!("trace_id"), &self.trace_id);
        fields.put(name!("id"), &self.id);
        fields.put_some(name!("attributes"), self.attributes.as_ref());
        fields.end();
    }
}

impl Json for Cause {
    fn write(&self, out: &mut String) {
        match self {
            Self::Child(id) => id.write(out),
            Self::Own { working_directory, exceptions } => {
                let mut fields = Fields::begin(out);
                fields.put_some(name!("working_directory"), working_directory.as_deref());
                fields.put(name!("exceptions"), exceptions);
                fields.end();
            }
        }
    }
}

impl Json for Exception {
    fn write(&self, out: &mut String) {
        let some = |count: usize| Some(count as u64).filter(|count| *count > 0);
        let mut fields = Fields::begin(out);
        fields.put(name!("id"), self.id.as_str());
        fields.put_some(name!("type"), self.kind.as_deref());
        fields.put_some(name!("message"), self.message.as_deref());
        fields.put_true(name!("remote"), self.remote);
        fields.put_some(name!("truncated"), some(self.truncated).as_ref());
        fields.put_some(name!("skipped"), some(self.skipped).as_ref());
        fields.put_some(name!("cause"), self.cause.as_deref());
        if !self.stack.is_empty() {
            fields.put(name!("stack"), &self.stack);
        }
        fields.end();
    }
}

impl Json for Frame {
    fn write(&self, out: &mut String) {
        let some = |text: &'_ String| !text.is_empty();
        let mut fields = Fields::begin(out);
        fields.put_some(name!("path"), Some(self.path.as_str()).filter(|_| some(&self.path)));
        fields.put_some(name!("line"), Some(self.line as u64).filter(|line| *line > 0).as_ref());
        fields.put_some(name!("label"), Some(self.label.as_str()).filter(|_| some(&self.label)));
        fields.end();
    }
}

impl Json for Document<'_> {
    fn write(&self, out: &mut String) {
        let mut fields = Fields::begin(out);
        fields.put(name!("id"), &self.id);
        fields.put(name!("trace_id"), &self.trace_id);
        fields.put_some(name!("parent_id"), self.parent_id.as_ref());
        fields.put_some(name!("type"), self.kind);
        fields.put(name!("name"), &self.name);
        fields.put(name!("start_time"), &self.start_time);
        fields.put_some(name!("end_time"), self.end_time.as_ref());
        fields.put_true(name!("in_progress"), self.in_progress);
        fields.put_some(name!("namespace"), self.namespace);
        fields.put_some(name!("origin"), self.origin);
        fields.put_some(name!("resource_arn"), self.resource_arn.as_ref());
        fields.put_some(name!("user"), self.user.as_ref());
        fields.put_true(name!("error"), self.error);
        fields.put_true(name!("throttle"), self.throttle);
        fields.put_true(name!("fault"), self.fault);
        fields.put_some(name!("service"), self.service.non_empty());
        fields.put_some(name!("http"), self.http.as_ref());
        fields.put_some(name!("aws"), self.aws.non_empty());
        fields.put_some(name!("sql"), self.sql.non_empty());
        fields.put_some(name!("cause"), self.cause.as_ref());
        fields.put_some(name!("annotations"), self.annotations.non_empty());
        fields.put_some(name!("metadata"), Some(&self.metadata).filter(|metadata| !metadata.is_empty()));
        if !self.links.is_empty() {
            fields.put(name!("links"), &self.links);
        }
        fields.end();
    }
}

impl<'a> Document<'a> {
    /// A document with ids and times, and nothing else.
    pub(crate) fn new(
        trace_id: TraceId,
        id: SpanId,
        start_unix_nano: u64,
        end_unix_nano: u64,
        spare: &mut Spare<'a>,
    ) -> Self {
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
            aws: spare.block(),
            sql: Block::default(),
            cause: None,
            annotations: Object::default(),
            metadata: spare.metadata(),
            links: Vec::new(),
        }
    }

    pub(crate) fn is_segment(&self) -> bool {
        self.kind.is_none()
    }

    /// Makes it an independent subsegment.
    pub(crate) fn hang_on(&mut self, parent: SpanId) {
        self.kind = Some("subsegment");
        self.parent_id = Some(parent);
    }

    /// Sets the cleaned name; what the cleaning or another source of the name hides goes to metadata.
    pub(crate) fn set_name(&mut self, name: Cow<'a, str>, span_name: &'a str) {
        let cleaned = clean(&name);
        if cleaned.as_deref().unwrap_or(&name) != span_name && !span_name.is_empty() {
            self.otel().push("span_name", crate::document::fields::Meta::Text(span_name.into()));
        }
        if cleaned.is_some() && name != span_name {
            self.otel().push("name", crate::document::fields::Meta::Text(name.clone()));
        }
        self.name = cleaned.map_or(name, Cow::Owned);
    }

    /// The metadata namespace for facts of the span that have no field (BET-5).
    pub(crate) fn otel(&mut self) -> &mut Object<'a, crate::document::fields::Meta<'a>> {
        &mut self.metadata.otel
    }
}

#[cfg(test)]
mod tests {
    use super::json::written;
    use super::*;

    #[test]
    fn tv_5_time_1_time_2_seconds_are_written_to_the_microsecond_and_never_with_an_exponent() {
        for (nanos, text) in [
            (1_478_293_361_271_123_456_u64, "1478293361.271123"),
            (1_795_224_538_000_001_000, "1795224538.000001"),
            (1_795_224_538_999_999_999, "1795224538.999999"),
            (1_795_224_538_500_000_000, "1795224538.500000"),
            (0, "0.000000"),
            (9_999, "0.000009"),
            (7_258_118_400_000_001_000, "7258118400.000001"),
            (u64::MAX, "18446744073.709551"),
        ] {
            assert_eq!(written(&Micros::of_nanos(nanos)), text);
        }
    }
}
