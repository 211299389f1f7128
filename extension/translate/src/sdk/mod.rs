//! Documents that an X-Ray SDK has written itself (xray.md section 15, row 11), read from its datagrams. Their ids,
//! parents and blocks are X-Ray's own already: only secrets are masked in them, and fields for which X-Ray would refuse
//! the rest are mended.

mod lenient;
mod mend;

use crate::accounts::Reason;
use crate::own_frames;
use crate::trace_header::{SpanId, TraceId};
use serde_json::{Map, Value};
use std::fmt;

/// A document of an X-Ray SDK, as it came, but for its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdkDocument {
    pub trace_id: TraceId,
    /// Its own id, then those of the subsegments in it.
    pub(crate) ids: Vec<SpanId>,
    is_segment: bool,
    has_failed: bool,
    /// Values that were of the wrong type for X-Ray.
    pub(crate) fields_lost: u64,
    pub(crate) json: String,
}

/// Why a text is no document that X-Ray could take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SdkDocumentError {
    NotAnObject,
    NoId,
    NoTraceId,
}

impl fmt::Display for SdkDocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => "it is not a JSON object",
            Self::NoId => "its id is not 16 hexadecimal digits",
            Self::NoTraceId => "its trace_id is not 1-xxxxxxxx-xxxxxxxxxxxxxxxxxxxxxxxx",
        })
    }
}

impl SdkDocumentError {
    /// How the document is counted.
    pub fn reason(self) -> Reason {
        match self {
            Self::NotAnObject => Reason::Unreadable,
            Self::NoId | Self::NoTraceId => Reason::InvalidId,
        }
    }
}

impl SdkDocument {
    /// Reads what is needed to send it, and to know it again when X-Ray refuses it (DMN-4).
    pub fn parse(json: String) -> Result<Self, SdkDocumentError> {
        let parsed = serde_json::from_str(&json);
        let is_proper = parsed.is_ok();
        let parsed = parsed.or_else(|_| serde_json::from_str(&lenient::mended(&json)));
        let Ok(Value::Object(mut document)) = parsed else {
            return Err(SdkDocumentError::NotAnObject);
        };
        let trace_id = document.get("trace_id").and_then(Value::as_str).and_then(TraceId::parse_xray);
        let trace_id = trace_id.ok_or(SdkDocumentError::NoTraceId)?;
        let id = id_of(&document).ok_or(SdkDocumentError::NoId)?;
        let (is_mended, fields_lost) = mend::mend(&mut document, trace_id, id);
        let mut ids = vec![id];
        note_nested(&document, &mut ids);
        ids.shrink_to_fit();
        let is_segment = is_segment(&document);
        let is_true = |name: &&str| document.get(*name).and_then(Value::as_bool) == Some(true);
        let has_failed = ["fault", "error", "throttle"].iter().any(is_true);
        let had_own_frames = own_frames::drop_from(&mut document);
        let is_masked = otel_xray_mask::document(&mut document);
        let is_as_it_came = is_proper && !is_mended && !had_own_frames && !is_masked;
        let json = if is_as_it_came { json } else { Value::Object(document).to_string() };
        Ok(Self { trace_id, ids, is_segment, has_failed, fields_lost, json })
    }

    pub fn is_segment(&self) -> bool {
        self.is_segment
    }

    /// Whether it says that something went wrong.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// What it takes up in memory, besides its own place.
    pub fn heap_bytes(&self) -> usize {
        self.json.capacity() + self.ids.capacity() * size_of::<SpanId>()
    }

    /// The spans it stands for: itself, and the subsegments in it.
    pub fn spans(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.json.len()
    }
}

pub(crate) fn id_of(document: &Map<String, Value>) -> Option<SpanId> {
    document.get("id").and_then(Value::as_str).and_then(SpanId::parse)
}

pub(crate) fn is_segment(document: &Map<String, Value>) -> bool {
    document.get("type").and_then(Value::as_str) != Some("subsegment")
}

pub(crate) fn nested(document: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let nested = document.get("subsegments").and_then(Value::as_array);
    nested.into_iter().flatten().filter_map(Value::as_object)
}

pub(crate) fn note_nested(document: &Map<String, Value>, ids: &mut Vec<SpanId>) {
    for one in nested(document) {
        ids.extend(id_of(one));
        note_nested(one, ids);
    }
}
