//! What is in a document, and how many there are for a span.

use crate::stage::{batch, function, id, invocation, nodes, span, text, translate, trimmed};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};
use otel_xray::invocation::{Batch, Mode};
use otel_xray::translate::{Masked, Translator};
use serde_json::{Map, Value, json};

fn bodies(spans: Vec<Span>, mode: Mode) -> Vec<Map<String, Value>> {
    let translated = translate(&batch(spans, invocation(mode, true)));
    nodes(&translated).into_iter().map(|(body, _)| body).collect()
}

fn client(
    number: u64,
    parent: u64,
    attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>,
) -> Span {
    Span { kind: SpanKind::Client.into(), ..span(number, parent, attributes) }
}

fn failed(span: Span, kind: &str, message: &str) -> Span {
    let attributes = vec![text("exception.type", kind), text("exception.message", message)];
    Span {
        events: vec![Event { name: "exception".into(), attributes, ..Event::default() }],
        status: Some(Status { code: StatusCode::Error.into(), message: format!("status: {message}") }),
        ..span
    }
}

#[test]
fn doc_6_only_fields_that_xray_knows() {
    const KNOWN: [&str; 24] = [
        "annotations",
        "aws",
        "cause",
        "end_time",
        "error",
        "fault",
        "http",
        "id",
        "in_progress",
        "links",
        "metadata",
        "name",
        "namespace",
        "origin",
        "parent_id",
        "precursor_ids",
        "resource_arn",
        "service",
        "sql",
        "start_time",
        "throttle",
        "trace_id",
        "type",
        "user",
    ];
    let spans = || {
        vec![
            failed(span(1, 0, vec![text("user.id", "u-1"), text("other", "x")]), "E", "m"),
            client(2, 1, vec![text("db.system.name", "mysql"), text("db.namespace", "shop")]),
            client(3, 1, vec![text("rpc.system", "aws-api"), text("http.request.method", "POST")]),
            Span { end_time_unix_nano: 0, ..span(4, 1, vec![]) },
        ]
    };
    for mode in [Mode::Active, Mode::PassThrough] {
        let bodies = bodies(spans(), mode);
        assert_eq!(bodies.len(), 4);
        for name in bodies.iter().flat_map(Map::keys) {
            assert!(KNOWN.contains(&name.as_str()), "{name}");
        }
    }
}

#[test]
fn meta_1_metadata_has_namespaces_and_none_of_xrays_own() {
    let body = bodies(
        vec![span(
            1,
            0,
            vec![
                text("plain", "1"),
                text("aws.xray.metadata.cart", r#"{"total": 2}"#),
                text("aws.xray.metadata.list", "[3]"),
                text("aws.xray.metadata.text", "no JSON"),
                text("aws.xray.metadata.AWS.debug", r#"{"a": 4}"#),
            ],
        )],
        Mode::Active,
    )
    .remove(0);
    let metadata = body["metadata"].as_object().unwrap();
    assert!(metadata.values().all(Value::is_object));
    assert_eq!(metadata["default"]["plain"], "1");
    assert_eq!(metadata["cart"], json!({"total": 2}));
    assert_eq!(metadata["list"], json!({"value": [3]}));
    assert_eq!(metadata["text"], json!({"value": "no JSON"}));
    assert_eq!(metadata["user.AWS.debug"], json!({"a": 4}));
    assert!(!metadata.keys().any(|namespace| namespace.starts_with("AWS.")));
}

#[test]
fn lnk_1_lim_8_twenty_links_for_a_segment_and_a_hundred_for_a_trace() {
    let links = (1..=30).map(|n| Link { trace_id: vec![7; 16], span_id: id(n), ..Link::default() });
    let spans = (1..=7).map(|n| Span { links: links.clone().collect(), ..span(n, n - 1, vec![]) }).collect();
    let translated = translate(&batch(spans, invocation(Mode::PassThrough, true)));
    let counts: Vec<usize> = nodes(&translated)
        .iter()
        .map(|(body, _)| body.get("links").map_or(0, |links| links.as_array().unwrap().len()))
        .collect();
    assert_eq!(counts, [20, 20, 20, 20, 20, 0, 0]);
    assert_eq!(trimmed(&translated, "link_budget"), 110);
}

#[test]
fn bet_4_what_a_block_changes_is_still_whole_in_metadata() {
    let url = format!("https://example.com/{}", "p".repeat(300));
    let name = "n".repeat(300);
    let note = "x".repeat(2000);
    let attributes = vec![
        text("http.request.method", "GET"),
        text("url.full", &url),
        text("peer.service", &name),
        text("aws.xray.annotations", "note"),
        text("note", &note),
    ];
    let body = bodies(vec![client(2, 1, attributes)], Mode::Active).remove(0);
    assert_eq!(body["http"]["request"]["url"].as_str().unwrap().len(), 250);
    assert_eq!(body["name"].as_str().unwrap().len(), 200);
    assert_eq!(body["annotations"]["note"].as_str().unwrap().len(), 1000);
    let metadata = &body["metadata"];
    assert_eq!(metadata["default"]["url.full"], url);
    assert_eq!(metadata["default"]["note"], note);
    assert!(metadata.to_string().contains(&name), "{metadata}");
}

#[test]
fn bet_12_a_call_at_the_top_of_a_trace_is_two_documents_but_one_under_lambdas_segment() {
    for kind in [SpanKind::Client, SpanKind::Producer] {
        let top = || Span { kind: kind.into(), ..span(1, 0, vec![text("peer.service", "cart")]) };
        let [one] = bodies(vec![top()], Mode::Active).try_into().unwrap();
        assert_eq!(
            (&one["name"], &one["namespace"], &one["type"]),
            (&json!("cart"), &json!("remote"), &json!("subsegment"))
        );

        let [segment, call] = bodies(vec![top()], Mode::PassThrough).try_into().unwrap();
        assert_eq!(
            (segment.get("type"), segment.get("namespace"), &segment["name"]),
            (None, None, &json!("shop"))
        );
        assert_eq!(
            (&call["type"], &call["name"], &call["namespace"]),
            (&json!("subsegment"), &json!("cart"), &json!("remote"))
        );
        assert_eq!(call["id"], "0000000000000001", "the span's id is the call's");
        assert_eq!(call["parent_id"], segment["id"]);
        assert_eq!(segment["parent_id"], "5353535353535353");
        assert_eq!((&segment["start_time"], &segment["end_time"]), (&call["start_time"], &call["end_time"]));
    }
}

#[test]
fn bet_19_an_exception_is_told_where_it_was_raised_and_the_status_message_always() {
    let spans = vec![
        failed(span(1, 0, vec![]), "OutOfStock", "no such order"),
        failed(span(2, 1, vec![]), "OutOfStock", "no such order"),
        failed(span(3, 2, vec![]), "OutOfStock", "no such order"),
        failed(span(4, 1, vec![]), "Other", "no such order"),
        span(5, 1, vec![]),
    ];
    let bodies = bodies(spans, Mode::Active);
    let raised = &bodies[2]["cause"]["exceptions"][0]["id"];
    assert_eq!(raised.as_str().unwrap().len(), 16);
    assert_eq!((&bodies[0]["cause"], &bodies[1]["cause"]), (raised, raised));
    assert_eq!(bodies[3]["cause"]["exceptions"][0]["type"], "Other");
    assert_eq!(bodies[4].get("cause"), None);
    for body in &bodies[..4] {
        assert_eq!(body["metadata"]["otel"]["status_message"], "status: no such order");
    }
}

#[test]
fn lam_21_a_call_to_a_service_that_traces_too_is_a_plain_subsegment() {
    for service in ["Lambda", "API Gateway", "SFN", "SNS"] {
        let attributes = vec![
            text("rpc.system", "aws-api"),
            text("rpc.service", service),
            text("http.request.method", "POST"),
            text("url.full", "https://aws.example/"),
        ];
        let body = bodies(vec![client(2, 1, attributes)], Mode::Active).remove(0);
        assert_eq!((&body["type"], &body["namespace"]), (&json!("subsegment"), &json!("aws")));
        assert!(!Value::from(body).to_string().contains("\"traced\""), "{service}");
    }
}

#[test]
fn doc_2_doc_3_one_document_in_progress_and_one_final_one_for_an_id() {
    let mut translator = Translator::default();
    let mut flush = |spans: Vec<Span>| {
        let translated = translator
            .translate(&Masked::of(&mut batch(spans, invocation(Mode::Active, false))), &function());
        nodes(&translated)
            .into_iter()
            .map(|(body, _)| {
                (body["id"].clone(), body.contains_key("in_progress"), body.contains_key("end_time"))
            })
            .collect::<Vec<_>>()
    };
    let open = || Span { end_time_unix_nano: 0, ..span(1, 0, vec![]) };
    let at = json!("0000000000000001");
    assert_eq!(flush(vec![open(), open()]), [(at.clone(), true, false)]);
    assert_eq!(flush(vec![open(), span(1, 0, vec![])]), [(at, false, true)], "the last of a flush counts");
    let again = translator.translate(&Masked::of(&mut Batch::default()), &function());
    assert!(again.documents.is_empty(), "what has left is not sent again");
}
