//! One entry of `TraceSummaries`.

use super::trace::{Node, Trace};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What a list of traces shows of one. Without a segment there is no duration (MAP-S6).
pub(crate) fn summary(trace: &Trace) -> Value {
    let segments: Vec<&Node> = trace.nodes().into_iter().filter(|node| node.is_segment).collect();
    let (start, end) = trace.start_and_end_seconds();
    let failed = |flag: &str| segments.iter().any(|segment| segment.flag(flag));
    let distinct = |pointer: &str| -> BTreeSet<&str> {
        segments.iter().map(|segment| segment.text(pointer)).filter(|text| !text.is_empty()).collect()
    };
    let mut summary = json!({
        "Id": trace.id,
        "StartTime": start,
        "HasFault": failed("fault"),
        "HasError": failed("error"),
        "HasThrottle": failed("throttle"),
        "IsPartial": segments.iter().any(|segment| segment.end_seconds().is_none()),
        "Annotations": annotations(trace),
        "ServiceIds": segments.iter().map(|segment| service_id(segment)).collect::<Vec<_>>(),
        "ResourceARNs": distinct("/resource_arn").into_iter().map(|arn| json!({"ARN": arn})).collect::<Vec<_>>(),
        "Users": distinct("/user").into_iter().map(|user| json!({"UserName": user})).collect::<Vec<_>>(),
    });
    if let Some(root) = trace.roots.first() {
        summary["Duration"] = json!(end - start);
        summary["ResponseTime"] = json!(root.end_seconds().map(|end| end - root.start_seconds()));
        summary["EntryPoint"] = service_id(root);
        summary["Http"] = http(root);
    }
    summary
}

fn service_id(segment: &Node) -> Value {
    let mut id = json!({"Name": segment.name(), "Names": [segment.name()]});
    for (field, pointer) in [("Type", "/origin"), ("AccountId", "/aws/account_id")] {
        if !segment.text(pointer).is_empty() {
            id[field] = json!(segment.text(pointer));
        }
    }
    id
}

fn http(root: &Node) -> Value {
    let mut http = Map::new();
    for (field, pointer) in [
        ("HttpURL", "/http/request/url"),
        ("HttpStatus", "/http/response/status"),
        ("HttpMethod", "/http/request/method"),
        ("UserAgent", "/http/request/user_agent"),
        ("ClientIp", "/http/request/client_ip"),
    ] {
        if !root.value(pointer).is_null() {
            http.insert(field.to_owned(), root.value(pointer).clone());
        }
    }
    Value::Object(http)
}

/// Each value of each annotation once.
fn annotations(trace: &Trace) -> Value {
    let mut annotations = Map::new();
    for node in trace.nodes() {
        for (key, value) in node.value("/annotations").as_object().into_iter().flatten() {
            let kind = match value {
                Value::Bool(_) => "BooleanValue",
                Value::Number(_) => "NumberValue",
                _ => "StringValue",
            };
            let one = json!({"AnnotationValue": {kind: value}, "ServiceIds": []});
            let values = annotations.entry(key.clone()).or_insert_with(|| json!([]));
            if let Value::Array(values) = values
                && !values.contains(&one)
            {
                values.push(one);
            }
        }
    }
    Value::Object(annotations)
}
