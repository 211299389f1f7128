//! The worst flushes: valid documents or a counted reason, never a panic.

use super::stage::{
    START, TRACE, assert_lawful, attribute, batch, dropped, id, invocation, nodes, span, text, translate,
    trimmed,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use otel_xray::invocation::{Batch, Mode};
use otel_xray::translate::Translated;

/// Translates in every mode, and returns what it is under Active tracing.
fn lawful(spans: Vec<Span>) -> Translated {
    for mode in [Mode::PassThrough, Mode::Unknown] {
        let batch = batch(spans.clone(), invocation(mode, true));
        assert_lawful(&batch, &translate(&batch));
    }
    let batch: Batch = batch(spans, invocation(Mode::Active, true));
    let translated = translate(&batch);
    assert_lawful(&batch, &translated);
    translated
}

#[test]
fn tv_19_an_attribute_of_a_megabyte_is_cut_and_says_how_long_it_was() {
    let translated = lawful(vec![span(1, 0, vec![text("huge", &"x".repeat(1_000_000))])]);
    assert_eq!(translated.documents.len(), 1);
    assert!(translated.documents[0].json.contains("... (1000000 characters)"));
    assert_eq!(trimmed(&translated, "document_shortened"), 1);
}

#[test]
fn bet_27_of_five_thousand_annotations_fifty_are_indexed_and_the_others_are_in_metadata() {
    let names: Vec<String> = (0..5000).map(|n| format!("label.{n}")).collect();
    let mut attributes: Vec<_> = names.iter().map(|name| text(name, "v")).collect();
    let list = names.iter().map(|name| AnyValue { value: Some(Any::StringValue(name.clone())) }).collect();
    attributes.push(attribute("aws.xray.annotations", Any::ArrayValue(ArrayValue { values: list })));
    let translated = lawful(vec![span(1, 0, attributes)]);
    let nodes = nodes(&translated);
    let indexed: usize = nodes
        .iter()
        .filter_map(|(node, _)| node.get("annotations")?.as_object())
        .map(serde_json::Map::len)
        .sum();
    assert_eq!(indexed, 50);
    assert_eq!(trimmed(&translated, "annotation_budget"), 4950);
    let kept: usize = nodes
        .iter()
        .filter_map(|(node, _)| node.get("metadata")?.get("default")?.as_object())
        .map(serde_json::Map::len)
        .sum();
    assert_eq!(kept, 4950);
}

#[test]
fn bet_27_fifty_for_a_whole_trace_explicit_ones_first_and_the_top_before_its_children() {
    let label = |n: u64| attribute(&format!("label.{n}"), Any::IntValue(1));
    let spans: Vec<Span> = (1..=30)
        .map(|n| {
            let list = [format!("label.{n}"), "both".into()]
                .map(|name| AnyValue { value: Some(Any::StringValue(name)) });
            let names =
                attribute("aws.xray.annotations", Any::ArrayValue(ArrayValue { values: list.to_vec() }));
            let automatic = attribute("faas.coldstart", Any::BoolValue(true));
            span(n, u64::from(n > 1), vec![names, label(n), text("both", "x"), automatic])
        })
        .collect();
    let translated = lawful(spans);
    let nodes = nodes(&translated);
    let annotations = |n: u64| {
        let (node, _) = nodes.iter().find(|(node, _)| node["id"] == format!("{n:016x}")).unwrap();
        node.get("annotations").map_or(0, |annotations| annotations.as_object().unwrap().len())
    };
    assert_eq!((1..=30).map(annotations).sum::<usize>(), 50);
    assert_eq!((annotations(1), annotations(25), annotations(26)), (2, 2, 0));
}

#[test]
fn bet_8_two_hundred_levels_of_nesting_in_a_value_and_of_spans() {
    let mut deep = Any::IntValue(1);
    for _ in 0..200 {
        deep = Any::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(deep) }] });
    }
    let translated = lawful(vec![span(1, 0, vec![attribute("deep", deep)])]);
    assert!(translated.documents[0].json.contains("nested too deep"));
    let chain = (1..=200).map(|n| span(n, n - 1, vec![])).collect();
    let translated = lawful(chain);
    assert!(translated.documents.len() < 50, "local work is nested (BET-29)");
    assert_eq!(nodes(&translated).len(), 200);
}

#[test]
fn id_4_id_8_zero_and_short_ids_are_counted() {
    let spans = vec![
        Span { trace_id: vec![0; 16], ..span(1, 0, vec![]) },
        Span { span_id: vec![0; 8], ..span(2, 0, vec![]) },
        Span { trace_id: vec![1; 15], ..span(3, 0, vec![]) },
        Span { span_id: vec![1; 9], ..span(4, 0, vec![]) },
        Span { span_id: vec![], ..span(5, 0, vec![]) },
        Span { parent_span_id: vec![1; 3], ..span(6, 0, vec![]) },
        span(7, 0, vec![]),
    ];
    let translated = lawful(spans);
    assert_eq!((translated.documents.len(), dropped(&translated, "invalid_id")), (1, 6));
}

#[test]
fn time_1_to_time_4_times_in_1970_and_2200_and_backwards() {
    let year_2200 = 7_258_118_400_000_000_000;
    for (start, end) in [
        (0, 1),
        (1, 2),
        (5_000, 9_000),
        (year_2200, year_2200 + 1),
        (u64::MAX - 1, u64::MAX),
        (START, 1),
        (0, 0),
    ] {
        let odd = Span { start_time_unix_nano: start, end_time_unix_nano: end, ..span(1, 0, vec![]) };
        let translated = lawful(vec![odd]);
        let json = &translated.documents[0].json;
        assert!(!json.contains("e-") && !json.contains("e+"), "{json} (TIME-2)");
        assert_eq!(json.contains("\"in_progress\":true"), end == 0, "{json} (TIME-4)");
    }
}

#[test]
fn id_5_the_first_digits_of_a_trace_id_are_no_date() {
    for first in [[0; 4], [0xff; 4]] {
        let mut trace_id = TRACE.to_vec();
        trace_id[..4].copy_from_slice(&first);
        let translated = lawful(vec![Span { trace_id, ..span(1, 0, vec![]) }]);
        assert_eq!(translated.documents.len(), 1);
    }
}

#[test]
fn bet_9_of_duplicates_the_last_is_kept() {
    let spans = (0..100).map(|n| Span { name: format!("try {n}"), ..span(1, 0, vec![]) }).collect();
    let translated = lawful(spans);
    assert_eq!(dropped(&translated, "duplicate"), 99);
    assert!(translated.documents[0].json.contains("try 99"));
}

#[test]
fn tv_21_map_68_lnk_1_links() {
    let link = |trace: usize, n: u64| Link { trace_id: vec![7; trace], span_id: id(n), ..Link::default() };
    let spans = vec![Span { links: vec![link(16, 1), link(3, 2), link(16, 3)], ..span(1, 0, vec![]) }];
    let translated = lawful(spans);
    assert_eq!(nodes(&translated)[0].0["links"].as_array().unwrap().len(), 2);
    assert_eq!(trimmed(&translated, "link_invalid"), 1);

    let many = Span { links: (1..=50).map(|n| link(16, n)).collect(), ..span(1, 0, vec![]) };
    let translated = lawful(vec![many]);
    assert_eq!(nodes(&translated)[0].0["links"].as_array().unwrap().len(), 20);
    assert_eq!(nodes(&translated)[0].0["metadata"]["otel"]["links"].as_array().unwrap().len(), 30);
    assert_eq!(trimmed(&translated, "link_budget"), 30);
}

#[test]
fn lim_2_ten_thousand_spans_of_one_trace_keep_what_tells_most() {
    let spans: Vec<Span> = (1..=10_000)
        .map(|n| {
            let is_call = n % 10 == 0;
            let mut one =
                span(n, if n == 1 { 0 } else { 1 + (n - 2) / 10 }, vec![text("note", &"n".repeat(300))]);
            one.kind = if is_call { 3 } else { 1 };
            if n % 500 == 0 {
                one.status =
                    Some(opentelemetry_proto::tonic::trace::v1::Status { code: 2, message: "failed".into() });
            }
            one
        })
        .collect();
    let translated = lawful(spans);
    let bytes: usize = translated.documents.iter().map(|document| document.json.len()).sum();
    assert!((400_000..=480_000).contains(&bytes), "{bytes}");
    let nodes = nodes(&translated);
    let faults = nodes.iter().filter(|(node, _)| node.get("fault").is_some()).count();
    assert_eq!(faults, 20, "what failed is kept");
    assert!(nodes.iter().any(|(node, _)| node["id"] == format!("{:016x}", 1)), "and the top");
    assert_eq!(dropped(&translated, "trace_budget") + nodes.len() as u64, 10_000);
}

#[test]
fn lim_2_what_an_earlier_flush_sent_counts() {
    let mut translator = otel_xray::translate::Translator::default();
    let mut sent = 0;
    for flush in 0..20_u64 {
        let spans =
            (1..=100).map(|n| span(flush * 100 + n, 0, vec![text("note", &"n".repeat(500))])).collect();
        let batch = batch(spans, invocation(Mode::Active, false));
        let translated = translator
            .translate(&otel_xray::translate::Masked::of(&mut batch.clone()), &super::stage::function());
        assert_lawful(&batch, &translated);
        sent += translated.documents.iter().map(|document| document.json.len()).sum::<usize>();
    }
    assert!((400_000..=480_000).contains(&sent), "{sent}");
}

#[test]
fn bet_21_bet_6_thousands_of_frames_events_and_exceptions() {
    let frames: Vec<String> = (0..5000).map(|n| format!("    at f{n} (/var/task/app.js:{n}:1)")).collect();
    let stack = frames.join("\n");
    let event = |n: usize| Event {
        name: "exception".into(),
        attributes: vec![
            text("exception.type", &format!("E{n}")),
            text("exception.stacktrace", &format!("Error: x\n{stack}")),
        ],
        ..Event::default()
    };
    let mut events: Vec<Event> = (0..40).map(event).collect();
    events.extend((0..1000).map(|n| Event { name: format!("event {n}"), ..Event::default() }));
    let translated = lawful(vec![Span { events, ..span(1, 0, vec![]) }]);
    let (node, _) = &nodes(&translated)[0];
    let exceptions = node["cause"]["exceptions"].as_array().unwrap();
    assert_eq!(exceptions.len(), 10);
    assert_eq!(exceptions[9]["skipped"], 30);
    assert!(exceptions[0]["truncated"].as_u64().unwrap() >= 4950);
    let told: usize = nodes(&translated)
        .iter()
        .filter_map(|(node, _)| Some(node.get("metadata")?.get("otel")?.get("events")?.as_array()?.len()))
        .sum();
    assert_eq!(told, 100);
}

#[test]
fn bet_13_a_span_that_is_its_own_parent_and_a_circle_of_spans() {
    let translated = lawful(vec![span(1, 1, vec![]), span(2, 3, vec![]), span(3, 2, vec![])]);
    assert_eq!(translated.documents.len(), 3);
}
