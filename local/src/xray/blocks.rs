//! `http`, `aws`, `sql`, `cause`, `service` and the single strings: xray.md sections 3.1 and 3.4 to 3.7.

use super::document::{Findings, is_id};
use serde_json::{Map, Value};

/// Characters of a string field (LIM-6).
const MAX_STRING_CHARS: usize = 250;

pub(super) fn check(body: &Map<String, Value>, findings: &mut Findings) {
    for field in ["origin", "user", "resource_arn"] {
        string(field, body.get(field), findings);
    }
    for block in ["http", "aws", "sql", "service"] {
        if body.get(block).is_some_and(|value| !value.is_object()) {
            findings.refuse("InvalidSegment", format!("{block} is not an object (section 3.1)"));
        }
    }
    if let Some(http) = body.get("http") {
        check_http(http, findings);
    }
    if let Some(aws) = body.get("aws") {
        check_aws(aws, findings);
    }
    if let Some(sql) = body.get("sql") {
        for field in
            ["url", "user", "database_type", "database_version", "driver_version", "connection_string"]
        {
            string(&format!("sql.{field}"), sql.get(field), findings);
        }
    }
    if let Some(cause) = body.get("cause") {
        check_cause(cause, findings);
    }
}

/// A string within its length. A longer one is known to be cut rather than refused.
fn string(field: &str, value: Option<&Value>, findings: &mut Findings) {
    match value {
        None => {}
        Some(Value::String(text)) => {
            let chars = text.chars().count();
            if chars > MAX_STRING_CHARS && !field.ends_with("connection_string") {
                findings
                    .warn(format!("{field} has {chars} characters, more than {MAX_STRING_CHARS} (LIM-6)"));
            }
        }
        Some(other) => {
            findings.refuse("InvalidSegment", format!("{field} {other} is not a string (section 3)"));
        }
    }
}

fn integer(field: &str, value: Option<&Value>, findings: &mut Findings) {
    if let Some(other) = value.filter(|value| !value.is_i64() && !value.is_u64()) {
        findings.refuse("InvalidSegment", format!("{field} {other} is not an integer (section 3)"));
    }
}

fn boolean(field: &str, value: Option<&Value>, findings: &mut Findings) {
    if let Some(other) = value.filter(|value| !value.is_boolean()) {
        findings.refuse("InvalidSegment", format!("{field} {other} is not a boolean (section 3)"));
    }
}

fn check_http(http: &Value, findings: &mut Findings) {
    let request = http.get("request");
    let response = http.get("response");
    for (name, part) in [("request", request), ("response", response)] {
        if part.is_some_and(|part| !part.is_object()) {
            findings.refuse("InvalidSegment", format!("http.{name} is not an object (section 3.4)"));
        }
    }
    let request_field = |field: &str| request.and_then(|request| request.get(field));
    for field in ["method", "url", "user_agent", "client_ip"] {
        string(&format!("http.request.{field}"), request_field(field), findings);
    }
    for field in ["x_forwarded_for", "traced"] {
        boolean(&format!("http.request.{field}"), request_field(field), findings);
    }
    for field in ["status", "content_length"] {
        let value = response.and_then(|response| response.get(field));
        integer(&format!("http.response.{field}"), value, findings);
    }
    let url = request_field("url").and_then(Value::as_str).unwrap_or_default();
    if url
        .split_once("://")
        .is_some_and(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default().contains('@'))
    {
        findings.warn("http.request.url carries credentials (section 3.4)".to_owned());
    }
}

fn check_aws(aws: &Value, findings: &mut Findings) {
    for field in
        ["operation", "account_id", "region", "request_id", "queue_url", "table_name", "id_2", "function_arn"]
    {
        string(&format!("aws.{field}"), aws.get(field), findings);
    }
    integer("aws.retries", aws.get("retries"), findings);
    for field in ["table_names", "resource_names", "cloudwatch_logs"] {
        if aws.get(field).is_some_and(|value| !value.is_array()) {
            findings.refuse("InvalidSegment", format!("aws.{field} is not an array (section 3.5)"));
        }
    }
}

/// The id of a child's exception, or an object with exceptions (section 3.7).
fn check_cause(cause: &Value, findings: &mut Findings) {
    let object = match cause {
        Value::String(id) if is_id(id) => return,
        Value::Object(object) => object,
        other => {
            return findings
                .refuse("InvalidSegment", format!("cause {other} is neither an id nor an object"));
        }
    };
    string("cause.working_directory", object.get("working_directory"), findings);
    let Some(exceptions) = object.get("exceptions") else { return };
    let Value::Array(exceptions) = exceptions else {
        return findings
            .refuse("InvalidSegment", "cause.exceptions is not an array (section 3.7)".to_owned());
    };
    for exception in exceptions {
        match exception.get("id").and_then(Value::as_str) {
            Some(id) if is_id(id) => {}
            _ => findings.refuse(
                "InvalidSegment",
                "an exception needs an id of 16 hex digits (section 3.7)".to_owned(),
            ),
        }
        for field in ["message", "type", "cause"] {
            if exception.get(field).is_some_and(|value| !value.is_string()) {
                findings.refuse("InvalidSegment", format!("exception.{field} is not a string (section 3.7)"));
            }
        }
        boolean("exception.remote", exception.get("remote"), findings);
        integer("exception.truncated", exception.get("truncated"), findings);
        integer("exception.skipped", exception.get("skipped"), findings);
        for frame in exception.get("stack").and_then(Value::as_array).into_iter().flatten() {
            integer("exception.stack.line", frame.get("line"), findings);
            if !frame.is_object() {
                findings.refuse("InvalidSegment", "a stack frame is not an object (section 3.7)".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_by_field() {
        for (body, refused, warned) in [
            (
                json!({"http": {"request": {"method": "GET", "url": "https://h/"}, "response": {"status": 200}}}),
                false,
                0,
            ),
            (json!({"http": {"response": {"status": "200"}}}), true, 0),
            (json!({"http": {"response": {"status": 200.5}}}), true, 0),
            (json!({"http": {"request": "GET"}}), true, 0),
            (json!({"http": {"request": {"url": "https://u:p@h/"}}}), false, 1),
            (json!({"http": {"request": {"url": "x".repeat(251)}}}), false, 1),
            (json!({"aws": {"operation": 1}}), true, 0),
            (json!({"aws": {"table_names": "t"}}), true, 0),
            (json!({"aws": []}), true, 0),
            (json!({"sql": {"sanitized_query": "SELECT ?".repeat(100), "database_type": "mysql"}}), false, 0),
            (json!({"cause": "70de5b6f19ff9a0a"}), false, 0),
            (json!({"cause": "no id"}), true, 0),
            (
                json!({"cause": {"exceptions": [{"id": "70de5b6f19ff9a0a", "stack": [{"line": 1}]}]}}),
                false,
                0,
            ),
            (json!({"cause": {"exceptions": [{"message": "no id"}]}}), true, 0),
            (
                json!({"cause": {"exceptions": [{"id": "70de5b6f19ff9a0a", "stack": [{"line": "1"}]}]}}),
                true,
                0,
            ),
            (json!({"origin": 5}), true, 0),
        ] {
            let mut findings = Findings::default();
            check(body.as_object().unwrap(), &mut findings);
            let seen = (findings.refused.is_some(), findings.warnings.len());
            assert_eq!(seen, (refused, warned), "{body} {findings:?}");
        }
    }
}
