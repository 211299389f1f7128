//! The fields with a fixed type: xray.md sections 3.1 and 3.4 to 3.6, as a table.

use super::findings::{Findings, quoted};
use serde_json::{Map, Value};

/// Characters of a string field (LIM-6).
const MAX_STRING_CHARS: usize = 250;

#[derive(Clone, Copy)]
enum Kind {
    /// At most 250 characters (LIM-6).
    Text,
    /// Of any length: a query, a connection string.
    LongText,
    Integer,
    Number,
    Boolean,
    Object,
    Texts,
    Objects,
}
use Kind::{Boolean, Integer, LongText, Number, Object, Objects, Text, Texts};

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Text | LongText => "a string",
            Integer => "an integer",
            Number => "a number",
            Boolean => "a boolean",
            Object => "an object",
            Texts => "an array of strings",
            Objects => "an array of objects",
        }
    }

    fn fits(self, value: &Value) -> bool {
        let all = |fits: fn(&Value) -> bool| value.as_array().is_some_and(|array| array.iter().all(fits));
        match self {
            Text | LongText => value.is_string(),
            Integer => value.is_i64() || value.is_u64(),
            Number => value.is_number(),
            Boolean => value.is_boolean(),
            Object => value.is_object(),
            Texts => all(Value::is_string),
            Objects => all(Value::is_object),
        }
    }
}

/// What may carry a field. Elsewhere it is a warning: the service ignores what it does not look for (DOC-6).
#[derive(Clone, Copy, PartialEq)]
enum On {
    Both,
    Segment,
    Subsegment,
}
use On::{Both, Segment, Subsegment};

/// A block's path, what may carry these of its fields, and the fields.
type Row = (&'static str, On, &'static [(&'static str, Kind)]);

const FIELDS: &[Row] = &[
    (
        "",
        Both,
        &[("http", Object), ("aws", Object), ("error", Boolean), ("throttle", Boolean), ("fault", Boolean)],
    ),
    ("", Segment, &[("origin", Text), ("user", Text), ("resource_arn", Text), ("service", Object)]),
    ("", Subsegment, &[("sql", Object), ("traced", Boolean), ("precursor_ids", Texts)]),
    (
        "service",
        Segment,
        &[
            ("version", Text),
            ("compiler", Text),
            ("compiler_version", Text),
            ("runtime", Text),
            ("runtime_version", Text),
        ],
    ),
    ("http", Both, &[("request", Object), ("response", Object)]),
    ("http/request", Both, &[("method", Text), ("url", Text), ("user_agent", Text), ("client_ip", Text)]),
    ("http/request", Segment, &[("x_forwarded_for", Boolean)]),
    ("http/request", Subsegment, &[("traced", Boolean)]),
    ("http/response", Both, &[("status", Integer), ("content_length", Integer)]),
    (
        "aws",
        Both,
        &[("account_id", Text), ("request_id", Text), ("function_arn", Text), ("resource_names", Texts)],
    ),
    (
        "aws",
        Segment,
        &[
            ("cloudwatch_logs", Objects),
            ("ec2", Object),
            ("ecs", Object),
            ("eks", Object),
            ("elastic_beanstalk", Object),
            ("xray", Object),
        ],
    ),
    (
        "aws",
        Subsegment,
        &[
            ("operation", Text),
            ("region", Text),
            ("queue_url", Text),
            ("table_name", Text),
            ("table_names", Texts),
            ("retries", Integer),
            ("id_2", Text),
            ("topic_arn", Text),
            ("bucket_name", Text),
            ("key", LongText),
            ("function_name", Text),
            ("queue_name", Text),
        ],
    ),
    (
        "aws/ec2",
        Segment,
        &[("instance_id", Text), ("availability_zone", Text), ("instance_size", Text), ("ami_id", Text)],
    ),
    (
        "aws/ecs",
        Segment,
        &[
            ("container", Text),
            ("container_id", Text),
            ("container_arn", Text),
            ("task_arn", Text),
            ("task_family", Text),
            ("cluster_arn", Text),
            ("availability_zone", Text),
            ("launch_type", Text),
        ],
    ),
    ("aws/eks", Segment, &[("pod", Text), ("cluster_name", Text), ("container_id", Text)]),
    (
        "aws/elastic_beanstalk",
        Segment,
        &[("environment_name", Text), ("version_label", Text), ("deployment_id", Number)],
    ),
    (
        "aws/xray",
        Segment,
        &[
            ("sdk", Text),
            ("sdk_version", Text),
            ("auto_instrumentation", Boolean),
            ("sampling_rule_name", Text),
        ],
    ),
    (
        "sql",
        Subsegment,
        &[
            ("connection_string", LongText),
            ("url", Text),
            ("sanitized_query", LongText),
            ("database_type", Text),
            ("database_version", Text),
            ("driver_version", Text),
            ("user", Text),
            ("preparation", Text),
        ],
    ),
];

pub(super) fn check(body: &Map<String, Value>, is_segment: bool, findings: &mut Findings) {
    for (path, on, fields) in FIELDS {
        let Some(block) = block(body, path) else { continue };
        for (name, kind) in *fields {
            let Some(value) = block.get(*name) else { continue };
            let field = format!("{path}/{name}").trim_start_matches('/').replace('/', ".");
            check_field(&field, value, *kind, findings);
            if *on == if is_segment { Subsegment } else { Segment } {
                let place = if is_segment { "subsegments" } else { "segments" };
                findings.warn(format!("{field} is for {place} (section 3)"));
            }
        }
    }
    check_preparation(body, findings);
    check_credentials(body, findings);
}

/// The object at `path`; a block that is no object is told by the row above it.
fn block<'a>(body: &'a Map<String, Value>, path: &str) -> Option<&'a Map<String, Value>> {
    path.split('/').filter(|part| !part.is_empty()).try_fold(body, |block, part| block.get(part)?.as_object())
}

fn check_field(field: &str, value: &Value, kind: Kind, findings: &mut Findings) {
    if !kind.fits(value) {
        let message = format!("{field} {} is not {} (section 3)", quoted(value), kind.name());
        return findings.refuse("InvalidSegment", message);
    }
    if let (Text, Value::String(text)) = (kind, value) {
        let chars = text.chars().count();
        if chars > MAX_STRING_CHARS {
            findings.warn(format!("{field} has {chars} characters, more than {MAX_STRING_CHARS} (LIM-6)"));
        }
    }
}

fn check_preparation(body: &Map<String, Value>, findings: &mut Findings) {
    let preparation = block(body, "sql").and_then(|sql| sql.get("preparation"));
    if let Some(other) = preparation.filter(|value| *value != "call" && *value != "statement") {
        findings.warn(format!("sql.preparation {} is not call or statement (section 3.6)", quoted(other)));
    }
}

/// A password in a URL is seen by everyone who sees the trace.
fn check_credentials(body: &Map<String, Value>, findings: &mut Findings) {
    for path in ["http/request", "sql"] {
        let url = block(body, path).and_then(|block| block.get("url")).and_then(Value::as_str);
        let rest = url.and_then(|url| url.split_once("://")).map_or("", |(_, rest)| rest);
        if rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
            findings.warn(format!("{}.url carries credentials (section 3.4)", path.replace('/', ".")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_as(is_segment: bool, body: &Value) -> Findings {
        let mut findings = Findings::default();
        check(body.as_object().unwrap(), is_segment, &mut findings);
        findings
    }

    #[test]
    fn values_of_the_right_type_pass_on_the_right_document() {
        for (is_segment, body) in [
            (
                true,
                json!({"origin": "AWS::Lambda::Function", "user": "u", "service": {"version": "1"},
                "http": {"request": {"method": "GET", "url": "https://h/@me", "x_forwarded_for": true},
                         "response": {"status": 200, "content_length": 0}},
                "aws": {"account_id": "123456789012", "request_id": "r", "cloudwatch_logs": [{"log_group": "g"}],
                        "elastic_beanstalk": {"deployment_id": 5}, "xray": {"auto_instrumentation": true}}}),
            ),
            (
                false,
                json!({"sql": {"sanitized_query": "SELECT ?".repeat(100), "preparation": "call", "url": "jdbc:x"},
                "aws": {"operation": "GetItem", "table_names": ["t"], "retries": 2, "key": "k".repeat(300)},
                "http": {"request": {"traced": true}}, "precursor_ids": ["70de5b6f19ff9a0a"], "traced": false}),
            ),
        ] {
            let findings = check_as(is_segment, &body);
            assert_eq!((findings.refused, findings.warnings), (None, vec![]), "{body}");
        }
    }

    #[test]
    fn values_of_the_wrong_type_are_refused_with_field_value_and_rule() {
        for (body, message) in [
            (json!({"http": 1}), "http 1 is not an object (section 3)"),
            (json!({"http": {"request": "GET"}}), "http.request \"GET\" is not an object (section 3)"),
            (
                json!({"http": {"response": {"status": "200"}}}),
                "http.response.status \"200\" is not an integer (section 3)",
            ),
            (
                json!({"http": {"response": {"status": 200.5}}}),
                "http.response.status 200.5 is not an integer (section 3)",
            ),
            (
                json!({"http": {"request": {"url": null}}}),
                "http.request.url null is not a string (section 3)",
            ),
            (json!({"aws": []}), "aws [] is not an object (section 3)"),
            (json!({"aws": {"operation": 1}}), "aws.operation 1 is not a string (section 3)"),
            (
                json!({"aws": {"table_names": "t"}}),
                "aws.table_names \"t\" is not an array of strings (section 3)",
            ),
            (
                json!({"aws": {"xray": {"auto_instrumentation": 1}}}),
                "aws.xray.auto_instrumentation 1 is not a boolean (section 3)",
            ),
            (
                json!({"aws": {"cloudwatch_logs": ["g"]}}),
                "aws.cloudwatch_logs [\"g\"] is not an array of objects (section 3)",
            ),
            (json!({"sql": {"sanitized_query": 1}}), "sql.sanitized_query 1 is not a string (section 3)"),
            (json!({"fault": "yes"}), "fault \"yes\" is not a boolean (section 3)"),
            (json!({"origin": 5}), "origin 5 is not a string (section 3)"),
        ] {
            let refused = check_as(true, &body).refused;
            assert_eq!(refused, Some(("InvalidSegment", message.to_owned())), "{body}");
        }
    }

    #[test]
    fn what_the_service_tolerates_is_a_warning() {
        for (is_segment, body, message) in [
            (true, json!({"user": "x".repeat(251)}), "user has 251 characters, more than 250 (LIM-6)"),
            (true, json!({"sql": {}}), "sql is for subsegments (section 3)"),
            (false, json!({"origin": "AWS::Lambda"}), "origin is for segments (section 3)"),
            (
                false,
                json!({"sql": {"preparation": "x"}}),
                "sql.preparation \"x\" is not call or statement (section 3.6)",
            ),
            (false, json!({"sql": {"url": "pg://u:p@h/db"}}), "sql.url carries credentials (section 3.4)"),
            (
                true,
                json!({"http": {"request": {"url": "https://u:p@h"}}}),
                "http.request.url carries credentials (section 3.4)",
            ),
        ] {
            let findings = check_as(is_segment, &body);
            assert_eq!((findings.refused, findings.warnings), (None, vec![message.to_owned()]), "{body}");
        }
    }
}
