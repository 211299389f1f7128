//! Whatever stands in the fields of an X-Ray SDK's document, X-Ray takes the rest.

use crate::stage::{TRACE_TEXT, translate};
use otel_xray::invocation::Batch;
use otel_xray::translate::sdk::SdkDocument;
use proptest::prelude::*;
use serde_json::{Value, json};

fn full(is_segment: bool) -> Value {
    let mut document = json!({
        "id": "00000000000000a1", "trace_id": TRACE_TEXT, "parent_id": "5353535353535353", "name": "work",
        "start_time": 1_795_224_538.25, "end_time": 1_795_224_538.5, "error": true, "fault": false, "throttle": false,
        "http": {"request": {"method": "GET", "url": "https://h/", "user_agent": "u", "client_ip": "127.0.0.1"},
                 "response": {"status": 200, "content_length": 5}},
        "aws": {"operation": "GetItem", "retries": 2, "table_names": ["t"], "account_id": "1", "ecs": {"container": "c"},
                "cloudwatch_logs": [{"log_group": "g", "arn": "a"}], "elastic_beanstalk": {"deployment_id": 5},
                "xray": {"sdk": "s", "auto_instrumentation": true}, "resource_names": ["r"], "ec2": {}, "eks": {}},
        "service": {"version": "1"}, "user": "u", "origin": "AWS::Lambda::Function", "resource_arn": "arn",
        "annotations": {"a": 1, "b": "x", "c": true}, "metadata": {"default": {"none": null, "list": [null]}},
        "cause": {"working_directory": "/", "paths": ["/opt"], "message": "m", "exceptions": [
            {"id": "00000000000000e1", "message": "m", "type": "T", "remote": false, "truncated": 1, "skipped": 2,
             "cause": "00000000000000e2", "stack": [{"path": "a.py", "line": 1, "label": "f"}]}]},
        "links": [{"trace_id": TRACE_TEXT, "id": "00000000000000a9", "attributes": {"a": 1}}],
        "precursor_ids": ["00000000000000a8"], "custom": {"deep": [{"a": 1}]},
        "subsegments": [{"id": "00000000000000a2", "name": "inner", "start_time": 1.5, "end_time": 2.5, "traced": true,
            "namespace": "aws", "sql": {"sanitized_query": "SELECT ?", "preparation": "call"}, "annotations": {"a": 1},
            "cause": "00000000000000e1", "subsegments": [{"id": "00000000000000a3", "name": "innermost",
            "start_time": 1.5, "in_progress": true}]}],
    });
    if !is_segment {
        document["type"] = "subsegment".into();
    }
    document
}

/// What must be right for X-Ray to know the document at all.
const NEEDED: &[&str] = &["id", "trace_id", "parent_id", "type"];

/// All places in a document, but for what it can't be without.
fn places(value: &Value, path: &str, into: &mut Vec<String>) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(name, inner)| (name.clone(), inner)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, inner)| (at.to_string(), inner)).collect(),
        _ => return,
    };
    for (name, inner) in entries {
        if !path.is_empty() || !NEEDED.contains(&name.as_str()) {
            into.push(format!("{path}/{name}"));
        }
        places(inner, &format!("{path}/{name}"), into);
    }
}

fn wrong() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1_000_000_i64..1_000_000).prop_map(Value::from),
        (0.0..1e6).prop_map(Value::from),
        "[a-z0-9]{1,20}".prop_map(Value::from),
        Just(json!([])),
        Just(json!([null, 1, "x", {}, []])),
        Just(json!({})),
        Just(json!({"a": null, "id": 7, "stack": [7]})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn doc_1_a_value_that_x_ray_does_not_take_costs_no_document(
        is_segment: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), wrong()), 1..4),
    ) {
        let mut document = full(is_segment);
        let mut all = Vec::new();
        places(&document, "", &mut all);
        for (at, value) in changes {
            // A place in what has been replaced is gone.
            if let Some(place) = document.pointer_mut(&all[at.index(all.len())]) {
                *place = value;
            }
        }
        let document = SdkDocument::parse(document.to_string()).unwrap();
        let translated = translate(&Batch { sdk_documents: vec![document], ..Batch::default() });
        prop_assert_eq!(translated.documents.len(), 1);
        let sent = &translated.documents[0].json;
        match otel_xray_local::xray::validate(sent) {
            Ok(accepted) => prop_assert_eq!(accepted.id.as_str(), "00000000000000a1"),
            // Without any time there is nothing to make one of.
            Err(refused) => prop_assert_eq!(refused.code, "MissingStartTime", "{}: {}", refused, sent),
        }
    }
}
