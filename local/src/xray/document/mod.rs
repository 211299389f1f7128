//! One document: parsed, and checked against what X-Ray accepts (xray.md sections 2 to 4).

mod annotations;
mod cause;
mod fields;
mod findings;

use findings::{Findings, quoted};
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::LazyLock;

/// The hard limit of one document (LIM-1).
const MAX_DOCUMENT_BYTES: usize = 65_536;
/// Past this a document is closer to the limit than is wise (LIM-1).
const WARN_DOCUMENT_BYTES: usize = 64_000;
/// Nesting of subsegments that is followed.
const MAX_NESTING: usize = 64;
/// Year 5138: a later time was written in milli- or nanoseconds.
const LATEST_SECONDS: f64 = 1e11;

/// Why a document is refused, as `UnprocessedTraceSegments` says it (PTS-5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// The document's id, where it could be read.
    pub id: Option<String>,
    pub code: &'static str,
    pub message: String,
}

/// A document X-Ray takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    pub id: String,
    pub trace_id: String,
    /// The upstream subsegment of a segment, or what an independent subsegment hangs on.
    pub parent_id: Option<String>,
    pub is_segment: bool,
    pub in_progress: bool,
    pub bytes: usize,
    pub body: Map<String, Value>,
    /// What the published schema forbids and the service is known to take.
    pub warnings: Vec<String>,
}

static TRACE_ID: LazyLock<Regex> = LazyLock::new(|| pattern("^1-[0-9A-Fa-f]{8}-[0-9A-Fa-f]{24}$"));
static ID: LazyLock<Regex> = LazyLock::new(|| pattern("^[0-9A-Fa-f]{16}$"));
/// `\p{Cn}`: characters that are newer than this table can't be judged by it.
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[\p{L}\p{N}\p{Z}\p{Cn}_.:/%&#=+\-@]{1,200}$"));

fn pattern(text: &str) -> Regex {
    // Written out above, and compiled by every test.
    Regex::new(text).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Whether a text is an id of a segment, subsegment or exception (ID-3).
pub(super) fn is_id(text: &str) -> bool {
    ID.is_match(text) && text.bytes().any(|digit| digit != b'0')
}

/// Whether a text is a trace id (ID-1, ID-4).
pub(super) fn is_trace_id(text: &str) -> bool {
    TRACE_ID.is_match(text) && text[2..].bytes().any(|digit| digit != b'0' && digit != b'-')
}

/// Takes or refuses a document.
pub fn validate(text: &str) -> Result<Accepted, Rejection> {
    let refuse =
        |id: Option<&str>, code, message: String| Rejection { id: id.map(str::to_owned), code, message };
    let parsed: Value = serde_json::from_str(text)
        .map_err(|error| refuse(None, "InvalidSegment", format!("not JSON: {error} (DOC-1)")))?;
    let Value::Object(body) = parsed else {
        return Err(refuse(None, "MissingId", "a document is one JSON object (DOC-1)".to_owned()));
    };
    let id = body.get("id").and_then(Value::as_str).map(str::to_owned);
    if text.len() > MAX_DOCUMENT_BYTES {
        let message = format!("{} bytes are over the limit of {MAX_DOCUMENT_BYTES} (LIM-1)", text.len());
        return Err(refuse(id.as_deref(), "InvalidSegment", message));
    }
    let mut findings = Findings::default();
    if text.len() > WARN_DOCUMENT_BYTES {
        findings.warn(format!("{} bytes are more than {WARN_DOCUMENT_BYTES} (LIM-1)", text.len()));
    }
    let is_segment = check_type(&body, &mut findings);
    check_place(&body, is_segment, &mut findings);
    check_node(&body, is_segment, &mut findings);
    check_nested(&body, 0, &mut HashSet::new(), &mut findings);
    if let Some((code, message)) = findings.refused {
        return Err(refuse(id.as_deref(), code, message));
    }
    let text_of = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
    Ok(Accepted {
        id: id.unwrap_or_default(),
        trace_id: text_of("trace_id").unwrap_or_default(),
        parent_id: text_of("parent_id"),
        is_segment,
        in_progress: body.get("in_progress") == Some(&Value::Bool(true)),
        bytes: text.len(),
        body,
        warnings: findings.warnings,
    })
}

/// `type` is the literal `subsegment`, or missing on a segment.
fn check_type(body: &Map<String, Value>, findings: &mut Findings) -> bool {
    match body.get("type") {
        None => true,
        Some(Value::String(kind)) if kind == "subsegment" => false,
        Some(Value::String(kind)) if kind == "segment" => {
            findings.warn("type \"segment\": segments carry no type (section 3.1)".to_owned());
            true
        }
        Some(other) => {
            findings.refuse(
                "InvalidSegment",
                format!("type {} is not \"subsegment\" (section 3.1)", quoted(other)),
            );
            false
        }
    }
}

/// The trace, and what the document hangs on.
fn check_place(body: &Map<String, Value>, is_segment: bool, findings: &mut Findings) {
    match body.get("trace_id") {
        None => findings.refuse("MissingTraceId", "trace_id is missing (section 3.1)".to_owned()),
        Some(Value::String(id)) if is_trace_id(id) => {}
        Some(other) => {
            let message =
                format!("trace_id {} is not 1-, 8 hex digits, -, 24 hex digits (ID-1)", quoted(other));
            findings.refuse("InvalidTraceId", message);
        }
    }
    match body.get("parent_id") {
        None if is_segment => {}
        None => {
            let message = "parent_id is missing: an independent subsegment needs one (DOC-4)";
            findings.refuse("MissingParentId", message.to_owned());
        }
        Some(Value::String(id)) if is_id(id) => {
            if body.get("id") == body.get("parent_id") {
                findings.warn(format!("parent_id {id} is the document's own id (MAP-S2)"));
            }
        }
        Some(other) => {
            findings.refuse(
                "InvalidParentId",
                format!("parent_id {} is not 16 hex digits (ID-3)", quoted(other)),
            );
        }
    }
}

/// What segments, independent and nested subsegments have in common.
fn check_node(body: &Map<String, Value>, is_segment: bool, findings: &mut Findings) {
    match body.get("id") {
        None => findings.refuse("MissingId", "id is missing (section 3.1)".to_owned()),
        Some(Value::String(id)) if is_id(id) => {}
        Some(other) => {
            findings
                .refuse("InvalidId", format!("id {} is not 16 hex digits, not all 0 (ID-3)", quoted(other)));
        }
    }
    match body.get("name") {
        None => findings.refuse("MissingName", "name is missing (section 3.1)".to_owned()),
        Some(Value::String(name)) if NAME.is_match(name) => {}
        Some(other) => findings.refuse("InvalidName", {
            let rule = "1 to 200 letters, numbers, blanks and _.:/%&#=+-@ (NAME-1, NAME-2)";
            format!("name {} is not {rule}", quoted(other))
        }),
    }
    check_times(body, findings);
    match body.get("namespace") {
        None => {}
        Some(_) if is_segment => findings.warn("namespace is for subsegments (section 3.1)".to_owned()),
        Some(Value::String(namespace)) if ["aws", "remote", "local"].contains(&namespace.as_str()) => {}
        Some(other) => {
            findings.warn(format!("namespace {} is not aws, remote or local (section 3.1)", quoted(other)));
        }
    }
    if let Some(value) = body.get("cause") {
        cause::check(value, findings);
    }
    fields::check(body, is_segment, findings);
    annotations::check(body, is_segment, findings);
}

/// The nested subsegments; `ids` are those of the document so far.
fn check_nested<'a>(
    body: &'a Map<String, Value>,
    depth: usize,
    ids: &mut HashSet<&'a str>,
    findings: &mut Findings,
) {
    let id = body.get("id").and_then(Value::as_str);
    if let Some(id) = id.filter(|id| !ids.insert(id)) {
        findings.warn(format!("id {id} occurs more than once in the document (ID-3)"));
    }
    let nested = match body.get("subsegments") {
        None => return,
        Some(Value::Array(nested)) if depth < MAX_NESTING => nested,
        Some(Value::Array(_)) => {
            let message = format!("subsegments are nested more than {MAX_NESTING} deep");
            return findings.refuse("InvalidSegment", message);
        }
        Some(other) => {
            let message = format!("subsegments {} is not an array (section 3.1)", quoted(other));
            return findings.refuse("InvalidSegment", message);
        }
    };
    for one in nested {
        let Value::Object(one) = one else {
            let message = format!("subsegments holds {}, which is not an object (section 3.1)", quoted(one));
            findings.refuse("InvalidSegment", message);
            continue;
        };
        if one.get("parent_id").is_some_and(|parent| parent.as_str() != id) {
            findings.warn("parent_id of a nested subsegment is not the enclosing id (DOC-5)".to_owned());
        }
        check_node(one, false, findings);
        check_nested(one, depth + 1, ids, findings);
    }
}

/// `start_time`, and exactly one of `end_time` and `in_progress` (section 3.1).
fn check_times(body: &Map<String, Value>, findings: &mut Findings) {
    let mut seconds = |field: &str| match body.get(field) {
        None => None,
        Some(Value::Number(number)) => {
            let seconds = number.as_f64();
            if seconds.is_none_or(|seconds| !(0.0..LATEST_SECONDS).contains(&seconds)) {
                findings.warn(format!("{field} {number} is not in seconds since 1970 (TIME-1)"));
            }
            seconds
        }
        Some(other) => {
            findings.refuse("InvalidSegment", format!("{field} {} is not a number (TIME-1)", quoted(other)));
            None
        }
    };
    let (start, end) = (seconds("start_time"), seconds("end_time"));
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        findings.refuse("InvalidSegment", format!("end_time {end} is before start_time {start} (TIME-3)"));
    }
    if !body.contains_key("start_time") {
        findings.refuse("MissingStartTime", "start_time is missing (section 3.1)".to_owned());
    }
    match (body.get("end_time"), body.get("in_progress")) {
        (None, Some(Value::Bool(true))) | (Some(_), None) => {}
        (None, None | Some(Value::Bool(false))) => {
            let message = "end_time is missing, and in_progress is not true (section 3.1, TIME-4)";
            findings.refuse("MissingEndTime", message.to_owned());
        }
        (Some(_), Some(Value::Bool(true))) => {
            let message = "end_time and in_progress exclude each other (section 3.1)";
            findings.refuse("InvalidSegment", message.to_owned());
        }
        (Some(_), Some(Value::Bool(false))) => {
            findings.warn("in_progress is only written when true (section 3.1)".to_owned());
        }
        (_, Some(other)) => {
            findings.refuse(
                "InvalidSegment",
                format!("in_progress {} is not a boolean (section 3.1)", quoted(other)),
            );
        }
    }
}

#[cfg(test)]
mod tests;
