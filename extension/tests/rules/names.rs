//! Names of segments and of calls.

use crate::stage::{batch, function, invocation, span, text};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use otel_xray::invocation::{Batch, Collected, Mode, Origin};
use otel_xray::translate::{Function, Masked, Translator};
use serde_json::Value;
use std::sync::Arc;

/// The document of a span that is alone in its flush, under Active tracing.
fn document_of(span: Span) -> Value {
    let batch = batch(vec![span], invocation(Mode::Active, true));
    let translated = Translator::default().translate(&Masked::of(&mut batch.clone()), &function());
    assert_eq!(translated.documents.len(), 1);
    serde_json::from_str(&translated.documents[0].json).unwrap()
}

fn call(attributes: Vec<KeyValue>) -> Span {
    Span { kind: SpanKind::Client.into(), name: "the span's name".into(), ..span(2, 1, attributes) }
}

#[test]
fn bet_15_the_first_name_there_is_for_a_call() {
    // Each is what counts as soon as those above it are not there.
    let sources = [
        (vec![text("aws.remote.service", "remote-service")], "remote-service"),
        (vec![text("service.peer.name", "new-peer")], "new-peer"),
        (vec![text("peer.service", "old-peer")], "old-peer"),
        (vec![text("db.namespace", "orders")], "orders@server.example"),
        (vec![text("db.name", "old-orders")], "old-orders@server.example"),
        (vec![text("messaging.destination.name", "queue")], "queue"),
        (vec![text("rpc.service", "shop.Cart")], "shop.Cart"),
        (vec![text("url.full", "https://new.example/a")], "new.example"),
        (vec![text("http.url", "https://old.example/a")], "old.example"),
        (vec![text("server.address", "server.example")], "server.example"),
        (vec![text("net.peer.name", "peer.example")], "peer.example"),
        (vec![text("http.host", "host.example")], "host.example"),
        (vec![], "the spans name"),
    ];
    for first in 0..sources.len() {
        let attributes = sources[first..].iter().flat_map(|(attributes, _)| attributes.clone()).collect();
        let document = document_of(call(attributes));
        assert_eq!(
            (document["name"].as_str(), &document["namespace"]),
            (Some(sources[first].1), &"remote".into())
        );
    }
    let local = Span { kind: SpanKind::Internal.into(), ..call(vec![text("peer.service", "cart")]) };
    assert_eq!(document_of(local)["name"], "the spans name", "local work has its span's name");
}

#[test]
fn name_3_names_of_every_source_are_cleaned_and_the_original_kept() {
    let bad = "a?b{c}*\u{7}d, é";
    let sources = [
        call(vec![text("peer.service", bad)]),
        call(vec![text("aws.remote.service", bad)]),
        call(vec![text("rpc.system", "aws-api"), text("rpc.service", bad)]),
        call(vec![text("messaging.destination.name", bad)]),
        call(vec![text("db.namespace", bad)]),
        call(vec![text("rpc.service", bad)]),
        call(vec![text("server.address", bad)]),
        Span { name: bad.into(), ..span(2, 1, vec![]) },
    ];
    for source in sources {
        let document = document_of(source);
        assert_eq!(document["name"], "abcd é");
        assert!(document["metadata"].to_string().contains("a?b{c}*"), "{}", document["metadata"]);
    }
}

#[test]
fn bet_14_the_name_of_a_segment() {
    let in_a_function = function();
    let elsewhere = Function::default();
    let local = || vec![text("aws.local.service", "local-service")];
    for (attributes, service, function, expected) in [
        (local(), "shop", &in_a_function, "shop"),
        (local(), "shop-service", &elsewhere, "local-service"),
        (vec![], "shop-service", &elsewhere, "shop-service"),
        (vec![], "unknown_service:node", &elsewhere, "GET /"),
        (vec![], "unknown_service:node", &in_a_function, "shop"),
    ] {
        let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
        let span = Span {
            name: "GET /".into(),
            kind: SpanKind::Server.into(),
            parent_span_id: vec![],
            ..span(1, 0, attributes)
        };
        let origin = Arc::new(Origin { resource, scope: None });
        let spans = vec![Collected { span: Box::new(span), origin, request_id: None }];
        let translated =
            Translator::default().translate(&Masked::of(&mut Batch { spans, ..Batch::default() }), function);
        let document: Value = serde_json::from_str(&translated.documents[0].json).unwrap();
        assert_eq!((document["name"].as_str(), document.get("type")), (Some(expected), None));
    }
}
