//! Flushes for the tests, and what their documents have to be.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use otel_xray::invocation::trace_header::TraceHeader;
use otel_xray::invocation::{Batch, Collected, Invocation, Mode, Origin};
use otel_xray::translate::{Function, Masked, Translated, Translator};
use serde_json::{Map, Value};
use std::sync::Arc;

pub(crate) const TRACE: [u8; 16] = [0x67; 16];
pub(crate) const TRACE_TEXT: &str = "1-67676767-676767676767676767676767";
pub(crate) const PARENT: [u8; 8] = [0x53; 8];
pub(crate) const START: u64 = 1_795_224_538_079_123_456;

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.into()))
}

pub(crate) fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub(crate) fn id(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A span of Lambda's trace; parent 0 is Lambda's own.
pub(crate) fn span(number: u64, parent: u64, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: TRACE.to_vec(),
        span_id: id(number),
        parent_span_id: if parent == 0 { PARENT.to_vec() } else { id(parent) },
        name: format!("span {number}"),
        start_time_unix_nano: START + number * 1000,
        end_time_unix_nano: START + number * 1000 + 5_000_000,
        attributes,
        flags: if parent == 0 { 0x301 } else { 0x101 },
        ..Span::default()
    }
}

pub(crate) fn invocation(mode: Mode, is_over: bool) -> Invocation {
    Invocation {
        request_id: "request-1".into(),
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:shop".into(),
        header: TraceHeader::parse(&format!("Root={TRACE_TEXT};Parent=5353535353535353;Sampled=1")),
        mode,
        is_over,
        ..Invocation::default()
    }
}

pub(crate) fn function() -> Function {
    Function { name: "shop".into(), region: "eu-west-1".into(), ..Function::default() }
}

pub(crate) fn batch(spans: Vec<Span>, invocation: Invocation) -> Batch {
    let attributes = vec![text("telemetry.sdk.language", "nodejs"), text("service.name", "shop")];
    let resource = Resource { attributes, ..Resource::default() };
    let origin = Arc::new(Origin { resource, scope: None });
    let collected = |span| Collected { span: Box::new(span), origin: Arc::clone(&origin), request_id: None };
    Batch {
        spans: spans.into_iter().map(collected).collect(),
        invocations: vec![invocation],
        ..Batch::default()
    }
}

pub(crate) fn translate(batch: &Batch) -> Translated {
    Translator::default().translate(&Masked::of(&mut batch.clone()), &function())
}

/// Every document is one X-Ray takes, within its size, and every span is in a document or in the accounts.
pub(crate) fn assert_lawful(batch: &Batch, translated: &Translated) {
    for document in &translated.documents {
        if let Err(refused) = otel_xray_local::xray::validate(&document.json) {
            panic!("{refused}: {}", document.json.chars().take(2000).collect::<String>());
        }
        assert!(document.json.len() <= 64_000, "{} bytes (LIM-1)", document.json.len());
    }
    let told: u64 = translated.documents.iter().map(|document| document.spans).sum();
    let accounts = translated.accounts.to_json();
    let dropped: u64 = accounts["dropped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(told + dropped, batch.spans.len() as u64, "{accounts} (BET-1)");
}

/// Every node of the documents, nested ones included, with the id of its parent.
pub(crate) fn nodes(translated: &Translated) -> Vec<(Map<String, Value>, Option<String>)> {
    let mut nodes = Vec::new();
    for document in &translated.documents {
        let body: Map<String, Value> = serde_json::from_str(&document.json).unwrap();
        let parent = body.get("parent_id").map(|parent| parent.as_str().unwrap().to_owned());
        let mut waiting = vec![(body, parent)];
        while let Some((mut node, parent)) = waiting.pop() {
            let id = node["id"].as_str().unwrap().to_owned();
            if let Some(Value::Array(nested)) = node.remove("subsegments") {
                let Value::Array(nested) = Value::Array(nested) else { unreachable!() };
                waiting.extend(nested.into_iter().map(|child| match child {
                    Value::Object(child) => (child, Some(id.clone())),
                    other => panic!("{other} is no subsegment"),
                }));
            }
            nodes.push((node, parent));
        }
    }
    nodes
}

pub(crate) fn dropped(translated: &Translated, reason: &str) -> u64 {
    translated.accounts.to_json()["dropped"][reason].as_u64().unwrap_or(0)
}

pub(crate) fn trimmed(translated: &Translated, what: &str) -> u64 {
    translated.accounts.to_json()["trimmed"][what].as_u64().unwrap_or(0)
}
