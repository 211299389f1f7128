//! One document: parsed, and checked against what X-Ray accepts (xray.md sections 2 to 4).

use super::{blocks, labels};
use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The hard limit of one document (LIM-1).
const MAX_DOCUMENT_BYTES: usize = 65_536;
/// Nesting of subsegments that is followed.
const MAX_NESTING: usize = 64;

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

/// Collects what is wrong with one document while its parts are looked at.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) refused: Option<(&'static str, String)>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    /// The first refusal is the one that is told.
    pub(super) fn refuse(&mut self, code: &'static str, message: String) {
        self.refused.get_or_insert((code, message));
    }

    pub(super) fn warn(&mut self, message: String) {
        self.warnings.push(message);
    }
}

static TRACE_ID: LazyLock<Regex> = LazyLock::new(|| pattern("^1-[0-9A-Fa-f]{8}-[0-9A-Fa-f]{24}$"));
static ID: LazyLock<Regex> = LazyLock::new(|| pattern("^[0-9A-Fa-f]{16}$"));
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[\p{L}\p{N}\p{Z}_.:/%&#=+\-@]{1,200}$"));

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
    let is_segment = check_type(&body, &mut findings);
    check_trace(&body, is_segment, &mut findings);
    check_node(&body, is_segment, 0, &mut findings);
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
            findings.refuse("InvalidSegment", format!("type {other} is not \"subsegment\" (section 3.1)"));
            false
        }
    }
}

fn check_trace(body: &Map<String, Value>, is_segment: bool, findings: &mut Findings) {
    match body.get("trace_id") {
        None => findings.refuse("MissingTraceId", "trace_id is missing (section 3.1)".to_owned()),
        Some(Value::String(id)) if is_trace_id(id) => {}
        Some(other) => {
            findings.refuse("InvalidTraceId", format!("trace_id {other} is not 1-8hex-24hex (ID-1)"));
        }
    }
    match body.get("parent_id") {
        None if !is_segment => {
            findings
                .refuse("MissingParentId", "an independent subsegment needs parent_id (DOC-4)".to_owned());
        }
        None => {}
        Some(Value::String(id)) if is_id(id) => {}
        Some(other) => {
            findings.refuse("InvalidParentId", format!("parent_id {other} is not 16 hex digits (ID-3)"));
        }
    }
}

/// What segments, independent and nested subsegments have in common.
fn check_node(body: &Map<String, Value>, is_segment: bool, depth: usize, findings: &mut Findings) {
    match body.get("id") {
        None => findings.refuse("MissingId", "id is missing (section 3.1)".to_owned()),
        Some(Value::String(id)) if is_id(id) => {}
        Some(other) => findings.refuse("InvalidId", format!("id {other} is not 16 hex digits (ID-3)")),
    }
    match body.get("name") {
        None => findings.refuse("MissingName", "name is missing (section 3.1)".to_owned()),
        Some(Value::String(name)) if NAME.is_match(name) => {}
        Some(other) => findings.refuse(
            "InvalidName",
            format!("name {other} is not 1 to 200 letters, numbers, blanks and _.:/%&#=+-@ (NAME-1, NAME-2)"),
        ),
    }
    check_times(body, findings);
    for flag in ["error", "fault", "throttle"] {
        if body.get(flag).is_some_and(|value| !value.is_boolean()) {
            findings.refuse("InvalidSegment", format!("{flag} is not a boolean (section 3.1)"));
        }
    }
    match body.get("namespace") {
        None => {}
        Some(_) if is_segment => {
            findings.warn("namespace on a segment is for subsegments (section 3.1)".to_owned());
        }
        Some(Value::String(namespace)) if ["aws", "remote", "local"].contains(&namespace.as_str()) => {}
        Some(other) => findings.warn(format!("namespace {other} is not aws, remote or local (section 3.1)")),
    }
    blocks::check(body, findings);
    labels::check(body, is_segment, findings);
    match body.get("subsegments") {
        None => {}
        Some(_) if depth == MAX_NESTING => {
            findings.refuse("InvalidSegment", format!("subsegments are nested more than {MAX_NESTING} deep"));
        }
        Some(Value::Array(nested)) => {
            for one in nested {
                match one {
                    Value::Object(one) => check_node(one, false, depth + 1, findings),
                    _ => findings
                        .refuse("InvalidSegment", "subsegments holds something that is no object".to_owned()),
                }
            }
        }
        Some(_) => findings.refuse("InvalidSegment", "subsegments is not an array (section 3.1)".to_owned()),
    }
}

/// `start_time`, and exactly one of `end_time` and `in_progress` (section 3.1).
fn check_times(body: &Map<String, Value>, findings: &mut Findings) {
    let start = body.get("start_time");
    match start {
        None => findings.refuse("MissingStartTime", "start_time is missing (section 3.1)".to_owned()),
        Some(value) if value.is_number() => {}
        Some(other) => {
            findings.refuse("InvalidSegment", format!("start_time {other} is not a number (TIME-1)"));
        }
    }
    match (body.get("end_time"), body.get("in_progress")) {
        (None, Some(Value::Bool(true))) | (Some(Value::Number(_)), None) => {}
        (None, None) => {
            findings.refuse(
                "MissingEndTime",
                "neither end_time nor in_progress is there (section 3.1)".to_owned(),
            );
        }
        (Some(_), Some(Value::Bool(true))) => {
            findings.refuse(
                "InvalidSegment",
                "end_time and in_progress exclude each other (section 3.1)".to_owned(),
            );
        }
        (Some(Value::Number(_)), Some(Value::Bool(false))) => {
            findings.warn("in_progress is only written when true (section 3.1)".to_owned());
        }
        (end, progress) => findings.refuse(
            "InvalidSegment",
            format!("end_time {end:?} or in_progress {progress:?} is of the wrong type"),
        ),
    }
    if let (Some(start), Some(end)) =
        (start.and_then(Value::as_f64), body.get("end_time").and_then(Value::as_f64))
        && end < start
    {
        findings.refuse("InvalidSegment", format!("end_time {end} is before start_time {start} (TIME-3)"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn good() -> Value {
        json!({"name": "checkout", "id": "70de5b6f19ff9a0a", "trace_id": "1-581cf771-a006649127e371903a2de979",
               "start_time": 1_478_293_361.271, "end_time": 1_478_293_361.449})
    }

    fn code_with(changes: &Value) -> Option<&'static str> {
        let mut document = good();
        for (field, value) in changes.as_object().unwrap() {
            if value.is_null() {
                document.as_object_mut().unwrap().remove(field);
            } else {
                document[field] = value.clone();
            }
        }
        validate(&document.to_string()).err().map(|rejection| rejection.code)
    }

    #[test]
    fn section_3_2_the_minimal_documents_are_accepted() {
        let subsegment = json!({"type": "subsegment", "parent_id": "70de5b6f19ff9a0a", "name": "DynamoDB",
            "namespace": "aws", "aws": {"operation": "GetItem", "region": "eu-west-1"}});
        let running = json!({"end_time": null, "in_progress": true});
        for changes in [json!({}), subsegment, running] {
            assert_eq!(code_with(&changes), None, "{changes}");
        }
    }

    #[test]
    fn codes_by_rule() {
        for (changes, code) in [
            (json!({"id": null}), "MissingId"),
            (json!({"id": "70de5b6f19ff9a0"}), "InvalidId"),
            (json!({"id": "0000000000000000"}), "InvalidId"),
            (json!({"name": null}), "MissingName"),
            (json!({"name": "GET /users/{id}?x=1,2"}), "InvalidName"),
            (json!({"name": "tab\there"}), "InvalidName"),
            (json!({"name": "back\\slash"}), "InvalidName"),
            (json!({"name": ""}), "InvalidName"),
            (json!({"name": "ä".repeat(201)}), "InvalidName"),
            (json!({"trace_id": null}), "MissingTraceId"),
            (json!({"trace_id": "1-581cf771-a006"}), "InvalidTraceId"),
            (json!({"trace_id": "1-00000000-000000000000000000000000"}), "InvalidTraceId"),
            (json!({"type": "subsegment"}), "MissingParentId"),
            (json!({"type": "span"}), "InvalidSegment"),
            (json!({"start_time": "now"}), "InvalidSegment"),
            (json!({"start_time": null}), "MissingStartTime"),
            (json!({"end_time": null}), "MissingEndTime"),
            (json!({"in_progress": true}), "InvalidSegment"),
            (json!({"end_time": 1}), "InvalidSegment"),
            (json!({"fault": "yes"}), "InvalidSegment"),
            (json!({"subsegments": [{"name": "a,b"}]}), "MissingId"),
            (json!({"metadata": {"default": {"x": "y".repeat(70_000)}}}), "InvalidSegment"),
        ] {
            assert_eq!(
                code_with(&changes),
                Some(code),
                "{}",
                &changes.to_string()[..changes.to_string().len().min(80)]
            );
        }
        assert_eq!(validate("[]").unwrap_err().code, "MissingId");
        assert_eq!(validate("{").unwrap_err().code, "InvalidSegment");
    }

    #[test]
    fn id_5_a_trace_id_of_any_age_and_name_3_any_script_are_fine() {
        assert_eq!(code_with(&json!({"trace_id": "1-ffffffff-a006649127e371903a2de979"})), None);
        assert_eq!(code_with(&json!({"name": "日本語 名前 ٣"})), None);
        assert_eq!(code_with(&json!({"name": "ä".repeat(200)})), None);
    }

    proptest! {
        #[test]
        fn anything_is_judged_without_panic(field in "[a-z_]{1,12}", value in "(?s).{0,60}", number in any::<f64>()) {
            let mut document = good();
            document[&field] = json!(value);
            let _ = validate(&document.to_string());
            document[&field] = json!({"x": [number, {"y": null}]});
            let _ = validate(&document.to_string());
            let _ = validate(&value);
        }
    }
}
