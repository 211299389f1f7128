//! Spans of several invocations, over several flushes.

use crate::stage::{START, assert_lawful, batch, dropped, function, invocation, nodes, span, text};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use otel_xray::invocation::trace_header::{Sampled, TraceHeader};
use otel_xray::invocation::{Batch, Collected, Invocation, Mode};
use otel_xray::translate::{Function, Masked, Translated, Translator};
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn translate(batch: &Batch, function: &Function) -> Translated {
    let translated = Translator::default().translate(&Masked::of(&mut batch.clone()), function);
    assert_lawful(batch, &translated);
    translated
}

fn bodies(translated: &Translated) -> Vec<Map<String, Value>> {
    nodes(translated).into_iter().map(|(body, _)| body).collect()
}

/// An invocation whose trace id and parent are this byte over and over.
fn invocation_of(byte: u8, mode: Mode) -> Invocation {
    let header = format!("Root=1-{};Parent={};Sampled=1", dashed(byte), format!("{byte:02x}").repeat(8));
    Invocation {
        request_id: format!("request-{byte}"),
        header: Some(TraceHeader::parse(&header).unwrap()),
        ..invocation(mode, true)
    }
}

fn dashed(byte: u8) -> String {
    let digits = format!("{byte:02x}").repeat(16);
    format!("{}-{}", &digits[..8], &digits[8..])
}

fn handler_of(byte: u8) -> Span {
    Span {
        trace_id: vec![byte; 16],
        parent_span_id: vec![byte; 8],
        kind: SpanKind::Server.into(),
        ..span(byte.into(), 0, vec![])
    }
}

#[test]
fn env_4_row_10_spans_belong_to_the_invocation_of_their_trace() {
    // Three at once, or late: the order of the spans is not that of the invocations.
    let mut batch = batch(vec![handler_of(3), handler_of(1), handler_of(2)], invocation_of(1, Mode::Active));
    batch.invocations.push(invocation_of(2, Mode::PassThrough));
    batch.invocations.push(invocation_of(3, Mode::Active));
    let translated = translate(&batch, &function());
    let bodies = bodies(&translated);
    assert_eq!(bodies.len(), 3);
    for body in bodies {
        let byte = u8::from_str_radix(&body["id"].as_str().unwrap()[14..], 16).unwrap();
        assert_eq!(body["trace_id"], format!("1-{}", dashed(byte)));
        assert_eq!(body["parent_id"], format!("{byte:02x}").repeat(8));
        let own = (byte == 2).then(|| format!("request-{byte}"));
        let told = body.get("aws").and_then(|aws| aws.get("request_id")).and_then(Value::as_str);
        assert_eq!(told, own.as_deref(), "by the mode of its own invocation");
    }
}

#[test]
fn row_10_what_an_earlier_invocation_left_running_is_its_own_though_it_ends_in_a_later_one() {
    // Its parent never ends, and its process is in the third by now.
    let late = Span { trace_id: vec![1; 16], ..span(7, 99, vec![]) };
    for (mode, parent) in [(Mode::Active, 1), (Mode::PassThrough, 9)] {
        let mut batch = batch(vec![], invocation_of(1, mode));
        batch.invocations.push(invocation_of(3, mode));
        let handler = Span { span_id: vec![9; 8], ..handler_of(1) };
        for (span, request_id) in [(handler, "request-1"), (late.clone(), "request-3")] {
            let (span, request_id) = (Box::new(span), Some(request_id.into()));
            batch.spans.push(Collected { span, origin: Arc::default(), request_id });
        }
        let translated = translate(&batch, &function());
        let told = bodies(&translated).into_iter().find(|body| body["id"] == "0000000000000007").unwrap();
        assert_eq!((told["type"].as_str(), told.get("links")), (Some("subsegment"), None), "{mode:?}");
        assert_eq!(told["parent_id"], format!("{parent:02x}").repeat(8), "{mode:?}");
    }
    let mut unsampled = batch(vec![], invocation_of(1, Mode::Active));
    unsampled.invocations[0].header.as_mut().unwrap().sampled = Sampled::No;
    unsampled.invocations.push(invocation_of(3, Mode::Active));
    let request_id = Some("request-3".into());
    unsampled.spans.push(Collected { span: Box::new(late), origin: Arc::default(), request_id });
    assert_eq!(translate(&unsampled, &function()).documents.len(), 0, "as little as its invocation");
}

#[test]
fn row_9_a_lost_parent_is_replaced_when_the_invocation_is_over_and_noted() {
    let spans = || vec![span(1, 0, vec![]), span(3, 99, vec![])];
    for (mode, is_over, expected) in [
        (Mode::Active, false, "0000000000000063"),
        (Mode::Active, true, "5353535353535353"),
        (Mode::PassThrough, false, "0000000000000063"),
        (Mode::PassThrough, true, "0000000000000001"),
    ] {
        let translated = translate(&batch(spans(), invocation(mode, is_over)), &function());
        let orphan = bodies(&translated).into_iter().find(|body| body["id"] == "0000000000000003").unwrap();
        assert_eq!((&orphan["parent_id"], &orphan["type"]), (&json!(expected), &json!("subsegment")));
        let noted = Value::from(orphan).pointer("/metadata/otel/parent_span_id").cloned();
        assert_eq!(noted, is_over.then(|| json!("0000000000000063")), "{mode:?}");
    }
}

#[test]
fn row_4_what_is_kept_though_it_is_not_sampled_has_a_segment_of_its_own() {
    let unsampled = |mode, is_kept| {
        let header =
            TraceHeader::parse(&format!("Root=1-{};Parent=5353535353535353;Sampled=0", dashed(0x67)));
        Invocation { header, is_kept, ..invocation(mode, true) }
    };
    let spans = || [span(1, 0, vec![]), span(2, 1, vec![])].map(|span| Span { flags: 0, ..span }).to_vec();
    for (is_kept, sent) in [(false, 0), (true, 2)] {
        for (mode, parent) in [(Mode::Active, None), (Mode::PassThrough, Some("5353535353535353"))] {
            let translated = translate(&batch(spans(), unsampled(mode, is_kept)), &function());
            let bodies = bodies(&translated);
            assert_eq!((bodies.len(), dropped(&translated, "unsampled")), (sent, 2 - sent as u64));
            if let Some(top) = bodies.first() {
                assert_eq!(top.get("type"), None, "Lambda has written no segment");
                assert_eq!(top.get("parent_id").and_then(Value::as_str), parent, "{mode:?}");
            }
        }
    }
}

#[test]
fn row_12_a_fresh_trace_is_adopted_where_a_setting_says_so() {
    let fresh = |number: u64, parent: u64| {
        let parent_span_id = if parent == 0 { vec![] } else { crate::stage::id(parent) };
        Span {
            trace_id: vec![9; 16],
            parent_span_id,
            flags: 0x101,
            ..span(number, parent, vec![text("n", "x")])
        }
    };
    let mut translator = Translator::default();
    let mut flush = |spans: Vec<Span>, adopt: bool, is_over: bool| {
        let batch = batch(spans, invocation(Mode::Active, is_over));
        bodies(&translator.translate(&Masked::of(&mut batch.clone()), &Function { adopt, ..function() }))
    };
    let own = flush(vec![fresh(1, 0), fresh(2, 1)], false, false);
    assert_eq!(own[0]["trace_id"], format!("1-{}", dashed(9)));
    assert_eq!(own[0]["links"][0]["id"], "5353535353535353", "off by default: a link");

    let first = flush(vec![fresh(3, 0), fresh(4, 3)], true, false);
    let later = flush(vec![Span { start_time_unix_nano: START, ..fresh(5, 3) }], true, true);
    let parents = ["5353535353535353", "0000000000000003", "0000000000000003"];
    for (body, parent) in first.iter().chain(&later).zip(parents) {
        assert_eq!(body["trace_id"], format!("1-{}", dashed(0x67)));
        assert_eq!((&body["parent_id"], &body["type"]), (&json!(parent), &json!("subsegment")));
        assert_eq!(body.get("links"), None);
        assert_eq!(body["metadata"]["otel"]["trace_id"], format!("1-{}", dashed(9)));
    }
    assert_eq!(first.len() + later.len(), 3);
}
