//! The spans that translators are measured with: traces of ten spans each, as a busy function leaves them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otel_xray::invocation::{Batch, Collected, Origin};
use otel_xray::translate::Function;
use std::sync::Arc;

const SPANS_OF_A_TRACE: usize = 10;
const BEGIN_UNIX_NANO: u64 = 1_795_224_538_079_123_456;

const STACK: &str = "Traceback (most recent call last):\n  File \"/var/task/app.py\", line 41, in handler\n    \
     return pay(order)\n  File \"/var/task/payment.py\", line 17, in pay\n    raise CardDeclined(card)\n\
     payment.CardDeclined: the card was declined\n";

/// `traces` traces as one request: handler, AWS calls, HTTP calls, database calls, local work, one exception.
pub fn request(traces: usize) -> ExportTraceServiceRequest {
    let spans = (0..traces).flat_map(trace).collect();
    let scope = InstrumentationScope {
        name: "opentelemetry.instrumentation.botocore".into(),
        version: "0.60b0".into(),
        ..InstrumentationScope::default()
    };
    let resource = Resource {
        attributes: vec![
            text("service.name", "checkout"),
            text("telemetry.sdk.language", "python"),
            text("telemetry.sdk.name", "opentelemetry"),
            text("telemetry.sdk.version", "1.39.1"),
            text("cloud.provider", "aws"),
            text("cloud.platform", "aws_lambda"),
            text("cloud.region", "eu-west-1"),
            text("faas.name", "checkout"),
            text("faas.version", "$LATEST"),
        ],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans,
            ..ResourceSpans::default()
        }],
    }
}

/// The same spans as the extension has them when it flushes, outside any invocation.
pub fn batch(resource_spans: Vec<ResourceSpans>) -> Batch {
    let mut spans = Vec::new();
    for from_resource in resource_spans {
        let resource = from_resource.resource.unwrap_or_default();
        for from_scope in from_resource.scope_spans {
            let origin = Arc::new(Origin { resource: resource.clone(), scope: from_scope.scope });
            spans.extend(from_scope.spans.into_iter().map(|span| Collected {
                span: Box::new(span),
                origin: Arc::clone(&origin),
                request_id: None,
            }));
        }
    }
    Batch { spans, ..Batch::default() }
}

/// The function that left them.
pub fn function() -> Function {
    Function { name: "checkout".into(), region: "eu-west-1".into(), ..Function::default() }
}

fn trace(number: usize) -> Vec<Span> {
    (0..SPANS_OF_A_TRACE).map(|place| span(number, place)).collect()
}

fn span(trace: usize, place: usize) -> Span {
    let id = |place: usize| {
        let mut id = [0_u8; 8];
        id[..4].copy_from_slice(&u32::try_from(trace + 1).unwrap_or(u32::MAX).to_be_bytes());
        id[7] = u8::try_from(place + 1).unwrap_or(u8::MAX);
        id.to_vec()
    };
    let mut trace_id = vec![0x67; 16];
    trace_id[8..].copy_from_slice(&(trace as u64 + 1).to_be_bytes());
    let start = BEGIN_UNIX_NANO + (trace * 10_000_000 + place * 1_000_000) as u64;
    let (name, kind, attributes) = call(trace, place);
    let mut span = Span {
        trace_id,
        span_id: id(place),
        parent_span_id: if place == 0 { Vec::new() } else { id(0) },
        name: name.into(),
        kind: kind.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start + 900_000,
        attributes,
        flags: 0x101,
        ..Span::default()
    };
    if place == 9 {
        span.status = Some(Status { code: StatusCode::Error.into(), message: "CardDeclined".into() });
        span.events.push(Event {
            time_unix_nano: start + 800_000,
            name: "exception".into(),
            attributes: vec![
                text("exception.type", "payment.CardDeclined"),
                text("exception.message", "the card was declined"),
                text("exception.stacktrace", STACK),
            ],
            ..Event::default()
        });
    }
    span
}

fn call(trace: usize, place: usize) -> (&'static str, SpanKind, Vec<KeyValue>) {
    match place {
        0 => (
            "app.handler",
            SpanKind::Server,
            vec![
                text("faas.invocation_id", &format!("8e4b1a2c-{trace:04x}-4b7e-9d1f-000000000000")),
                text("cloud.resource_id", "arn:aws:lambda:eu-west-1:123456789012:function:checkout"),
                text("cloud.account.id", "123456789012"),
                text("faas.trigger", "http"),
                flag("faas.coldstart", trace == 0),
                text("http.request.method", "POST"),
                text("url.path", "/orders"),
                text("url.scheme", "https"),
                text("server.address", "api.example.com"),
                text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101"),
                text("client.address", "203.0.113.7"),
                number("http.response.status_code", 200),
            ],
        ),
        1..=3 => (
            "DynamoDB.GetItem",
            SpanKind::Client,
            vec![
                text("rpc.system", "aws-api"),
                text("rpc.service", "DynamoDB"),
                text("rpc.method", "GetItem"),
                text("cloud.region", "eu-west-1"),
                text("server.address", "dynamodb.eu-west-1.amazonaws.com"),
                number("server.port", 443),
                list("aws.dynamodb.table_names", &["orders"]),
                text("aws.request_id", "0O2LPEHS4QRBVV4KQNSO5AEMVJF66Q9ASUAAJG"),
                number("http.response.status_code", 200),
                number("retry_attempts", 0),
            ],
        ),
        4 | 5 => (
            "GET",
            SpanKind::Client,
            vec![
                text("http.request.method", "GET"),
                text("url.full", &format!("https://prices.example.com/v2/articles/{trace}?currency=EUR")),
                text("server.address", "prices.example.com"),
                number("server.port", 443),
                text("network.protocol.version", "1.1"),
                number("http.response.status_code", if place == 5 { 404 } else { 200 }),
            ],
        ),
        6 | 7 => (
            "SELECT shop",
            SpanKind::Client,
            vec![
                text("db.system.name", "postgresql"),
                text("db.namespace", "shop"),
                text(
                    "db.query.text",
                    "SELECT id, price FROM articles WHERE id = 4711 AND name LIKE 'blue%' ORDER BY id LIMIT 10",
                ),
                text("server.address", "shop.cluster-abc.eu-west-1.rds.amazonaws.com"),
                number("server.port", 5432),
                text("db.operation.name", "SELECT"),
            ],
        ),
        _ => (
            "payment.pay",
            SpanKind::Internal,
            vec![text("order.id", "o-4711"), number("order.items", 3), flag("order.gift", false)],
        ),
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn flag(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn list(key: &str, values: &[&str]) -> KeyValue {
    let values = values
        .iter()
        .map(|value| AnyValue { value: Some(Value::StringValue((*value).to_owned())) })
        .collect();
    attribute(key, Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue { values }))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
