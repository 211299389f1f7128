//! The laws on random flushes.

use super::stage::{assert_lawful, attribute, batch, id, invocation, nodes, span, text, translate};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use otel_xray::invocation::Mode;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: &[&str] = &[
    "aws.dynamodb.table_names",
    "aws.error.code",
    "aws.log.group.arns",
    "aws.queue_url",
    "aws.region",
    "aws.remote.service",
    "aws.request_id",
    "aws.s3.key",
    "aws.service",
    "aws.span.kind",
    "aws.xray.annotations",
    "aws.xray.metadata.AWS.x",
    "aws.xray.metadata.cart",
    "client.address",
    "cloud.resource_id",
    "db.connection_string",
    "db.namespace",
    "db.query.text",
    "db.system",
    "error.type",
    "exception.stacktrace",
    "faas.coldstart",
    "gen_ai.provider.name",
    "http.host",
    "http.method",
    "http.request.header.cookie",
    "http.response.status_code",
    "http.response.body.size",
    "http.target",
    "messaging.destination.name",
    "messaging.system",
    "net.peer.port",
    "otel.scope.name",
    "peer.service",
    "rpc.grpc.status_code",
    "rpc.method",
    "rpc.service",
    "rpc.system",
    "server.address",
    "server.port",
    "url.full",
    "url.path",
    "url.query",
    "user.id",
    "user_agent.original",
    "anything else",
    "",
];

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => ".{0,40}",
        1 => prop::sample::select(vec![
            "aws-api", "postgresql", "aws_sqs", "LOCAL_ROOT", "aws.bedrock", "{\"a\": 1}", "[1", "https://u:p@h:1/x?token=1",
            "DynamoDB/PutItem", "ThrottlingException", "503", "::1", "anything else",
        ]).prop_map(str::to_owned),
        1 => (0_usize..3000).prop_map(|n| "ä\u{0}\"".repeat(n)),
    ]
}

fn any_value() -> impl Strategy<Value = Any> {
    let leaf = prop_oneof![
        4 => any_text().prop_map(Any::StringValue),
        2 => any::<i64>().prop_map(Any::IntValue),
        1 => (0_i64..700).prop_map(Any::IntValue),
        1 => any::<f64>().prop_map(Any::DoubleValue),
        1 => any::<bool>().prop_map(Any::BoolValue),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Any::BytesValue),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let any = |value| AnyValue { value: Some(value) };
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(move |values| Any::ArrayValue(ArrayValue {
                values: values.into_iter().map(any).collect()
            })),
            prop::collection::vec((".{0,5}", inner), 0..4).prop_map(|entries| Any::KvlistValue(
                KeyValueList {
                    values: entries.into_iter().map(|(key, value)| attribute(&key, value)).collect(),
                }
            )),
        ]
    })
}

fn any_attributes(most: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    let one = (prop::sample::select(KEYS), any_value()).prop_map(|(key, value)| attribute(key, value));
    prop::collection::vec(one, 0..most)
}

fn any_span(number: u64) -> impl Strategy<Value = Span> {
    let events = prop::collection::vec(
        (prop::sample::select(vec!["exception", "log", "HTTP request failure"]), any_attributes(4)),
        0..3,
    );
    let links = prop::collection::vec((prop::sample::select(vec![0_usize, 16]), 0_usize..10), 0..3);
    let times = prop_oneof![
        3 => Just((0_u64, 5_000_000_u64)).prop_map(|(a, b)| (super::stage::START + a, super::stage::START + b)),
        1 => any::<(u64, u64)>(),
        1 => Just((0, 0)),
        1 => Just((super::stage::START, 1)),
    ];
    (
        (any_text(), 0..7_i32, 0..number, prop::sample::select(vec![0_u32, 0x1, 0x101, 0x301, 0x100])),
        any_attributes(8),
        events,
        links,
        (times, 0..4_i32, any_text()),
    )
        .prop_map(
            move |((name, kind, parent, flags), attributes, events, links, (times, status, message))| Span {
                name,
                kind,
                flags,
                start_time_unix_nano: times.0,
                end_time_unix_nano: times.1,
                status: Some(Status { code: status, message }),
                events: events
                    .into_iter()
                    .map(|(name, attributes)| Event { name: name.into(), attributes, ..Event::default() })
                    .collect(),
                links: links
                    .into_iter()
                    .map(|(trace, id)| Link {
                        trace_id: vec![9; trace],
                        span_id: vec![9; id],
                        ..Link::default()
                    })
                    .collect(),
                ..span(number, parent, attributes)
            },
        )
}

fn any_flush() -> impl Strategy<Value = Vec<Span>> {
    (1_u64..12).prop_flat_map(|count| (1..=count).map(|number| any_span(number).boxed()).collect::<Vec<_>>())
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Active, Mode::PassThrough, Mode::Unknown])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p2_bet_1_bet_10_every_document_is_valid_nothing_is_lost_and_the_same_again(
        spans in any_flush(), mode in any_mode(), is_over in any::<bool>(),
    ) {
        let batch = batch(spans, invocation(mode, is_over));
        let translated = translate(&batch);
        assert_lawful(&batch, &translated);
        prop_assert_eq!(translated.documents, translate(&batch).documents);
    }

    #[test]
    fn id_3_ids_and_parents_are_kept(spans in any_flush(), mode in any_mode()) {
        let hex = |id: &[u8]| format!("{:016x}", u64::from_be_bytes(id.try_into().unwrap()));
        let given: BTreeMap<String, String> =
            spans.iter().map(|span| (hex(&span.span_id), hex(&span.parent_span_id))).collect();
        let translated = translate(&batch(spans, invocation(mode, false)));
        let nodes = nodes(&translated);
        let of_spans: Vec<_> = nodes.iter().filter(|(node, _)| given.contains_key(node["id"].as_str().unwrap())).collect();
        let ids: BTreeSet<_> = of_spans.iter().map(|(node, _)| node["id"].as_str().unwrap()).collect();
        prop_assert_eq!(ids.len(), of_spans.len(), "each id once");
        let told: u64 = translated.documents.iter().map(|document| document.spans).sum();
        prop_assert_eq!(ids.len() as u64, told, "each span's own id");
        for (node, parent) in of_spans {
            let given = &given[node["id"].as_str().unwrap()];
            let service = nodes.iter().any(|(other, _)| Some(other["id"].as_str().unwrap()) == parent.as_deref());
            prop_assert!(parent.as_deref() == Some(given) || service || parent.as_deref() == Some("5353535353535353"));
        }
    }

    #[test]
    fn bet_2_one_bad_span_never_changes_another_document(spans in any_flush(), bad in any_span(99), place in any::<prop::sample::Index>()) {
        let alone = translate(&batch(spans.clone(), invocation(Mode::Active, false)));
        let bad = Span { trace_id: vec![0; 16], ..bad };
        let mut with_bad = spans;
        with_bad.insert(place.index(with_bad.len() + 1), bad);
        let together = translate(&batch(with_bad, invocation(Mode::Active, false)));
        prop_assert_eq!(alone.documents, together.documents);
    }

    #[test]
    fn bet_2_a_span_of_another_trace_changes_nothing_either(spans in any_flush(), other in any_span(99)) {
        let alone = translate(&batch(spans.clone(), invocation(Mode::Active, false)));
        let other = Span { trace_id: vec![1; 16], span_id: id(99), ..other };
        let mut with_other = spans;
        with_other.push(other);
        let together = translate(&batch(with_other, invocation(Mode::Active, false)));
        let ours: Vec<_> = together.documents.into_iter().filter(|one| one.json.contains(super::stage::TRACE_TEXT)).collect();
        let ours: Vec<_> = ours.iter().filter(|one| one.json[37..72] == *super::stage::TRACE_TEXT).cloned().collect();
        prop_assert_eq!(alone.documents, ours);
    }

    #[test]
    fn lim_2_bet_29_many_spans_stay_lawful(parents in prop::collection::vec(any::<prop::sample::Index>(), 60..400), size in 0_usize..3000) {
        let spans: Vec<Span> = parents
            .iter()
            .enumerate()
            .map(|(at, parent)| {
                let number = at as u64 + 1;
                let kind = if number.is_multiple_of(5) { 3 } else { 1 };
                Span { kind, ..span(number, parent.index(at + 1) as u64, vec![text("filler", &"x".repeat(size))]) }
            })
            .collect();
        let batch = batch(spans, invocation(Mode::Active, true));
        let translated = translate(&batch);
        assert_lawful(&batch, &translated);
        let bytes: usize = translated.documents.iter().map(|document| document.json.len()).sum();
        prop_assert!(bytes <= 480_000, "{} bytes of one trace", bytes);
        let nodes = nodes(&translated);
        let ids: BTreeSet<_> = nodes.iter().map(|(node, _)| node["id"].as_str().unwrap().to_owned()).collect();
        for (node, parent) in &nodes {
            let parent = parent.as_deref().unwrap();
            prop_assert!(parent == "5353535353535353" || ids.contains(parent), "{} hangs on nothing", node["id"]);
        }
    }
}
