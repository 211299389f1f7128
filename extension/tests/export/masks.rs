//! What must not leave by OTLP (xray.md section 14.3, PL-80): every case of `tests/masks.tsv`, as a collector gets it.

use crate::masks_table::{cases, tells};
use crate::otlp::Collector;
use crate::stage::batch;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use otel_xray::invocation::{Collected, Origin};
use std::sync::Arc;

/// Every text in a list of attributes; of JSON, those in it.
fn texts(list: &[KeyValue], into: &mut Vec<String>) {
    list.iter().filter_map(|one| one.value.as_ref()).for_each(|value| texts_of(value, into));
}

fn texts_of(value: &AnyValue, into: &mut Vec<String>) {
    match &value.value {
        Some(Any::StringValue(text)) => {
            if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) {
                into.extend(object.values().filter_map(|value| value.as_str().map(str::to_owned)));
            }
            into.push(text.clone());
        }
        Some(Any::ArrayValue(array)) => array.values.iter().for_each(|value| texts_of(value, into)),
        Some(Any::KvlistValue(list)) => texts(&list.values, into),
        _ => {}
    }
}

fn texts_of_span(span: &Span) -> Vec<String> {
    let mut shown = vec![span.name.clone()];
    texts(&span.attributes, &mut shown);
    span.events.iter().for_each(|event| texts(&event.attributes, &mut shown));
    span.links.iter().for_each(|link| texts(&link.attributes, &mut shown));
    shown
}

#[tokio::test]
async fn bet_23_pl_80_what_leaves_by_otlp_is_masked() {
    let collector = Collector::start().await;
    let mut stage = collector.stage(&[]).await;
    let mut flush = batch(1, 1);
    for (number, case) in cases().iter().enumerate() {
        let [from_resource] = &case.request(number).resource_spans[..] else { panic!("one resource") };
        let resource = from_resource.resource.clone().unwrap();
        flush.spans.push(Collected {
            span: Box::new(case.span(number)),
            origin: Arc::new(Origin { resource, scope: None }),
            request_id: None,
        });
    }
    stage.flush(flush).await;

    let mut seen = vec![false; cases().len()];
    let mut wrong = Vec::new();
    let requests = collector.requests.lock().unwrap();
    for from_resource in requests.iter().flat_map(|(_, request)| &request.resource_spans) {
        let mut of_resource = Vec::new();
        texts(&from_resource.resource.as_ref().unwrap().attributes, &mut of_resource);
        for span in from_resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            if tells(&format!("{span:?} {of_resource:?}")) {
                wrong.push(format!("{span:?} {of_resource:?}"));
            }
            let number = u64::from_be_bytes(span.span_id[..].try_into().unwrap());
            let Some(case) = usize::try_from(number - 1).ok().and_then(|at| cases().get(at).cloned()) else {
                continue;
            };
            let shown = [texts_of_span(span), of_resource.clone()].concat();
            if !shown.contains(&case.shown) {
                wrong.push(format!("{case:?} is shown as {shown:?}"));
            }
            seen[usize::try_from(number - 1).unwrap()] = true;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.iter().all(|seen| *seen), "every case has left");
}
