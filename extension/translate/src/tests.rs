use super::*;
use crate::flush::{Batch, Collected, Invocation, Mode, Origin};
use crate::trace_header::{SpanId, TraceHeader};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const TRACE: [u8; 16] =
    [0x57, 0x59, 0xe9, 0x88, 0xbd, 0x86, 0x2e, 0x3f, 0xe1, 0xbe, 0x46, 0xa9, 0x94, 0x27, 0x27, 0x93];
const TRACE_TEXT: &str = "1-5759e988-bd862e3fe1be46a994272793";
const PARENT: [u8; 8] = [0x53, 0x99, 0x5c, 0x3f, 0x42, 0xcd, 0x8a, 0xd8];
const PARENT_TEXT: &str = "53995c3f42cd8ad8";
const START: u64 = 1_795_224_538_079_123_456;

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.into()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Any::IntValue(value))
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn list(key: &str, values: &[&str]) -> KeyValue {
    let values = values.iter().map(|v| AnyValue { value: Some(Any::StringValue((*v).into())) }).collect();
    attribute(key, Any::ArrayValue(ArrayValue { values }))
}

fn span(name: &str, kind: SpanKind, parent: &[u8], attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: TRACE.to_vec(),
        span_id: vec![name.len().try_into().unwrap(); 8],
        parent_span_id: parent.to_vec(),
        name: name.into(),
        kind: kind.into(),
        start_time_unix_nano: START,
        end_time_unix_nano: START + 25_000_000,
        attributes,
        flags: 0x101,
        ..Span::default()
    }
}

fn handler(attributes: Vec<KeyValue>) -> Span {
    Span { flags: 0x301, ..span("app.handler", SpanKind::Server, &PARENT, attributes) }
}

fn invocation(header: &str, mode: Mode) -> Invocation {
    Invocation {
        request_id: "request-1".into(),
        function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:shop".into(),
        header: TraceHeader::parse(header),
        mode,
        is_over: false,
        ..Invocation::default()
    }
}

fn translate(batch: &Batch, function: &Function) -> Translated {
    Translator::default().translate(&Masked::of(&mut batch.clone()), function)
}

fn function() -> Function {
    Function {
        name: "shop".into(),
        version: "$LATEST".into(),
        region: "eu-west-1".into(),
        account_id: Some("123456789012".into()),
        memory_mb: "512".into(),
        annotations: vec!["tenant".into()],
        ..Function::default()
    }
}

fn batch(spans: Vec<Span>, invocation: Invocation) -> Batch {
    let resource =
        Resource { attributes: vec![text("telemetry.sdk.language", "python")], ..Resource::default() };
    let origin = Arc::new(Origin { resource, scope: None });
    let collected = |span| Collected {
        span: Box::new(span),
        origin: Arc::clone(&origin),
        request_id: Some("request-1".into()),
    };
    Batch {
        spans: spans.into_iter().map(collected).collect(),
        invocations: vec![invocation],
        ..Batch::default()
    }
}

fn sampled() -> String {
    format!("Root={TRACE_TEXT};Parent={PARENT_TEXT};Sampled=1")
}

/// The documents of spans under Active tracing.
fn documents(spans: Vec<Span>) -> Vec<Value> {
    let translated = translate(&batch(spans, invocation(&sampled(), Mode::Active)), &function());
    translated.documents.iter().map(|document| serde_json::from_str(&document.json).unwrap()).collect()
}

fn one(span: Span) -> Value {
    documents(vec![span]).remove(0)
}

fn client(name: &str, attributes: Vec<KeyValue>) -> Value {
    one(span(name, SpanKind::Client, &[9; 8], attributes))
}

/// A part of a document; what is not there is null.
fn at<'a>(document: &'a Value, path: &str) -> &'a Value {
    document.pointer(path).unwrap_or(&Value::Null)
}

#[test]
fn in_parts_a_flush_leaves_the_same_documents() {
    let spans = (0..2_000_u16).map(|number| {
        let mut one = span("work", SpanKind::Internal, &[], vec![self::number("n", i64::from(number))]);
        one.trace_id = [vec![7; 14], (number / 8 + 1).to_be_bytes().to_vec()].concat();
        one.span_id = (u64::from(number) + 1).to_be_bytes().to_vec();
        one
    });
    let mut batch = batch(spans.collect(), invocation(&sampled(), Mode::PassThrough));
    let whole = translate(&batch, &function());
    let mut translator = Translator::default();
    let spans = std::mem::take(&mut batch.spans);
    let parts: Vec<Translated> = spans
        .chunks(40)
        .map(|part| {
            let mut part = Batch { spans: part.to_vec(), is_part: true, ..batch.clone() };
            translator.translate(&Masked::of(&mut part), &function())
        })
        .collect();
    let texts = |documents: &[TranslatedDocument]| -> Vec<String> {
        documents.iter().map(|document| document.json.clone()).collect()
    };
    let in_parts: Vec<String> = parts.iter().flat_map(|part| texts(&part.documents)).collect();
    assert_eq!(texts(&whole.documents), in_parts);
    assert_eq!(whole.documents.iter().map(|document| document.spans).sum::<u64>(), 2_000);
    let mut accounts = Accounts::default();
    for part in parts {
        accounts.add(part.accounts);
    }
    assert_eq!(whole.accounts.to_json(), accounts.to_json());
}

#[test]
fn tv_11_row_1_under_active_the_handler_is_one_subsegment_and_there_is_no_segment() {
    let documents = documents(vec![handler(vec![]), span("step", SpanKind::Internal, &[11; 8], vec![])]);
    assert_eq!(documents.len(), 2);
    let top = &documents[0];
    assert_eq!(at(top, "/type"), "subsegment");
    assert_eq!(at(top, "/parent_id"), PARENT_TEXT);
    assert_eq!(at(top, "/name"), "app.handler");
    assert_eq!(at(top, "/trace_id"), TRACE_TEXT);
    assert_eq!(at(top, "/start_time").to_string(), "1795224538.079123");
    assert_eq!(at(top, "/namespace"), &Value::Null);
    assert_eq!(at(top, "/metadata/otel/resource/telemetry.sdk.language"), "python");
    assert_eq!(at(&documents[1], "/parent_id"), "0b0b0b0b0b0b0b0b");
    assert_eq!(at(&documents[1], "/metadata"), &Value::Null, "the resource stands once (BET-7)");
}

#[test]
fn tv_12_rows_2_and_3_elsewhere_the_handler_is_the_functions_segment() {
    for mode in [Mode::PassThrough, Mode::Unknown] {
        let translated = translate(&batch(vec![handler(vec![])], invocation(&sampled(), mode)), &function());
        let document: Value = serde_json::from_str(&translated.documents[0].json).unwrap();
        assert_eq!(at(&document, "/type"), &Value::Null);
        assert_eq!(at(&document, "/name"), "shop");
        assert_eq!(at(&document, "/origin"), "AWS::Lambda::Function");
        assert_eq!(at(&document, "/parent_id"), PARENT_TEXT);
        assert_eq!(at(&document, "/resource_arn"), "arn:aws:lambda:eu-west-1:123456789012:function:shop");
        assert_eq!(at(&document, "/aws/request_id"), "request-1");
        assert_eq!(at(&document, "/aws/account_id"), "123456789012");
        assert_eq!(at(&document, "/metadata/otel/span_name"), "app.handler");
    }
}

#[test]
fn rows_4_and_6_tv_15_unsampled_spans_are_counted_and_not_sent() {
    let unsampled = format!("Root={TRACE_TEXT};Parent={PARENT_TEXT};Sampled=0");
    let undecided = format!("Root={TRACE_TEXT}");
    let flagged = Span { flags: 0x102, ..handler(vec![]) };
    let unflagged = || Span { flags: 0, ..handler(vec![]) };
    for (span, header) in [(unflagged(), &unsampled), (unflagged(), &undecided), (flagged, &sampled())] {
        let translated = translate(&batch(vec![span], invocation(header, Mode::Active)), &function());
        assert!(translated.documents.is_empty());
        assert_eq!(translated.accounts.to_json()["dropped"], json!({"unsampled": 1}));
    }
    assert_eq!(documents(vec![unflagged()]).len(), 1, "flags of 0 say nothing (OTL-5)");
}

#[test]
fn row_5_tv_13_a_trace_of_its_own_is_a_segment_with_a_link() {
    let mut own = handler(vec![]);
    own.trace_id = vec![3; 16];
    own.parent_span_id = vec![];
    let mut child = span("step", SpanKind::Internal, &[11; 8], vec![]);
    child.trace_id = vec![3; 16];
    let documents = documents(vec![own, child]);
    assert_eq!(at(&documents[0], "/type"), &Value::Null);
    assert_eq!(at(&documents[0], "/links"), &json!([{"trace_id": TRACE_TEXT, "id": PARENT_TEXT}]));
    assert_eq!(at(&documents[1], "/type"), "subsegment");
}

#[test]
fn row_7_tv_14_a_nested_server_span_is_a_subsegment() {
    let nested =
        one(span("GET /users", SpanKind::Server, &[11; 8], vec![text("http.request.method", "GET")]));
    assert_eq!((at(&nested, "/type"), at(&nested, "/namespace")), (&json!("subsegment"), &Value::Null));
}

#[test]
fn tv_8_bet_16_an_aws_call() {
    let document = client(
        "DynamoDB.GetItem",
        vec![
            text("rpc.system", "aws-api"),
            text("rpc.service", "DynamoDB"),
            text("rpc.method", "DynamoDB/GetItem"),
            text("aws.table_name", "t"),
            text("cloud.region", "eu-west-1"),
            text("aws.request_id", "ABC"),
            number("http.response.status_code", 200),
        ],
    );
    assert_eq!(at(&document, "/name"), "DynamoDB");
    assert_eq!(at(&document, "/namespace"), "aws");
    assert_eq!(
        at(&document, "/aws"),
        &json!({"operation": "GetItem", "table_name": "t", "request_id": "ABC"})
    );
    assert_eq!(at(&document, "/http"), &json!({"response": {"status": 200}}));
    assert_eq!(at(&document, "/fault"), &Value::Null);
}

#[test]
fn aws_resources_by_family() {
    let cases = [
        (text("aws.sqs.queue.url", "https://sqs/q"), "/aws/queue_url", json!("https://sqs/q")),
        (text("aws.sns.topic.arn", "arn:t"), "/aws/topic_arn", json!("arn:t")),
        (text("aws.s3.bucket", "b"), "/aws/bucket_name", json!("b")),
        (text("aws.extended_request_id", "x"), "/aws/id_2", json!("x")),
        (text("aws.lambda.function.name", "f"), "/aws/function_name", json!("f")),
        (list("aws.dynamodb.table_names", &["a", "b"]), "/aws/table_names", json!(["a", "b"])),
        (list("aws.dynamodb.table_names", &["a"]), "/aws/table_name", json!("a")),
        (text("aws.secretsmanager.secret.arn", "arn:s"), "/aws/resource_names", json!(["arn:s"])),
        (text("cloud.region", "us-east-1"), "/aws/region", json!("us-east-1")),
        (number("http.request.resend_count", 2), "/aws/retries", json!(2)),
    ];
    for (attribute, path, expected) in cases {
        let document = client("call", vec![text("rpc.system", "aws-api"), attribute]);
        assert_eq!(at(&document, path), &expected, "{path}");
    }
}

#[test]
fn a_queue_is_named_by_the_url_that_is_called_where_that_is_a_queues() {
    let cases = [
        (
            "https://sqs.eu-west-1.amazonaws.com/123456789012/orders",
            json!("https://sqs.eu-west-1.amazonaws.com/123456789012/orders"),
        ),
        ("https://sqs.eu-west-1.amazonaws.com/", Value::Null),
        ("https://sqs.eu-west-1.amazonaws.com", Value::Null),
        ("http://localhost:5555//", Value::Null),
        ("https://sqs.eu-west-1.amazonaws.com/?Action=ListQueues/a/b", Value::Null),
    ];
    for (url, expected) in cases {
        let called = vec![text("rpc.system", "aws-api"), text("rpc.service", "SQS"), text("url.full", url)];
        assert_eq!(at(&client("SQS", called), "/aws/queue_url"), &expected, "{url}");
    }
}

#[test]
fn tv_9_bet_23_an_http_call() {
    let document = client(
        "GET",
        vec![
            text("http.request.method", "GET"),
            text("url.full", "https://user:secret@api.example.com/v1?k=1&token=t"),
            number("http.response.status_code", 503),
        ],
    );
    assert_eq!(at(&document, "/name"), "api.example.com");
    assert_eq!(at(&document, "/namespace"), "remote");
    assert_eq!(at(&document, "/fault"), &json!(true));
    let expected = json!({
        "request": {"method": "GET", "url": "https://api.example.com/v1?k=1&token=REDACTED"},
        "response": {"status": 503},
    });
    assert_eq!(at(&document, "/http"), &expected);
    assert!(!document.to_string().contains("secret"));
}

#[test]
fn bet_3_old_conventions_are_read_too() {
    let document = client(
        "HTTP POST",
        vec![
            text("http.method", "POST"),
            text("http.scheme", "https"),
            text("net.peer.name", "old.example.com"),
            number("net.peer.port", 8443),
            text("http.target", "/a?b=1"),
            text("http.status_code", "404"),
        ],
    );
    assert_eq!(at(&document, "/http/request/url"), "https://old.example.com:8443/a?b=1");
    assert_eq!((at(&document, "/error"), at(&document, "/fault")), (&json!(true), &Value::Null));
}

#[test]
fn tv_10_bet_22_a_database_call() {
    let document = client(
        "SELECT",
        vec![
            text("db.system.name", "postgresql"),
            text("db.namespace", "shop"),
            text("server.address", "db1"),
            number("server.port", 5432),
            text("db.query.text", "SELECT * FROM users WHERE email = 'a@b.c'"),
        ],
    );
    assert_eq!(at(&document, "/name"), "shop@db1");
    let expected = json!({
        "url": "postgresql://db1:5432/shop", "database_type": "postgresql",
        "sanitized_query": "SELECT * FROM users WHERE email = ?",
    });
    assert_eq!(at(&document, "/sql"), &expected);
    for (namespace, system) in [("0", "redis"), ("", "redis"), ("15", "valkey"), ("", "memcached")] {
        let mut attributes = vec![text("db.system.name", system), text("server.address", "r")];
        if !namespace.is_empty() {
            attributes.push(text("db.namespace", namespace));
        }
        let redis = client("GET", attributes);
        assert_eq!(at(&redis, "/name"), &json!(format!("{system}@r")), "one node, whatever the number");
        assert_eq!(at(&redis, "/sql"), &Value::Null);
    }
}

#[test]
fn bet_17_a_throttled_aws_call_is_error_and_throttle() {
    let mut throttled = span(
        "DynamoDB.PutItem",
        SpanKind::Client,
        &[9; 8],
        vec![
            text("rpc.system", "aws-api"),
            number("http.response.status_code", 400),
            text("aws.error.code", "ProvisionedThroughputExceededException"),
        ],
    );
    throttled.status = Some(Status { code: StatusCode::Error.into(), message: String::new() });
    let document = one(throttled);
    let flags = ["/error", "/throttle", "/fault"].map(|flag| at(&document, flag) == &json!(true));
    assert_eq!(flags, [true, true, false]);
}

#[test]
fn err_2_map_24_an_exception_becomes_fault_and_cause() {
    let stack = "Traceback (most recent call last):\n  File \"/var/task/app.py\", line 9, in handler\n    raise ValueError(1)\nValueError: no such order\n";
    let mut failed = handler(vec![]);
    failed.status = Some(Status { code: StatusCode::Error.into(), message: "no such order".into() });
    failed.events = vec![Event {
        name: "exception".into(),
        attributes: vec![
            text("exception.type", "ValueError"),
            text("exception.message", "no such order"),
            text("exception.stacktrace", stack),
        ],
        ..Event::default()
    }];
    let document = one(failed);
    assert_eq!(at(&document, "/fault"), &json!(true));
    let exception = at(&document, "/cause/exceptions/0");
    assert_eq!(at(exception, "/type"), "ValueError");
    assert_eq!(at(exception, "/message"), "no such order");
    assert_eq!(
        at(exception, "/stack"),
        &json!([{"path": "/var/task/app.py", "line": 9, "label": "handler"}])
    );
    assert_eq!(at(exception, "/id").as_str().unwrap().len(), 16);
}

#[test]
fn map_26_a_status_message_alone_is_a_cause_too() {
    let mut failed = span("call", SpanKind::Client, &[9; 8], vec![]);
    failed.status = Some(Status { code: StatusCode::Error.into(), message: "refused".into() });
    let document = one(failed);
    assert_eq!(at(&document, "/cause/exceptions/0/message"), "refused");
    assert_eq!(at(&document, "/cause/exceptions/0/remote"), &json!(true));
}

#[test]
fn bet_24_to_26_lam_22_tv_21_annotations_and_metadata() {
    let document = one(handler(vec![
        list("aws.xray.annotations", &["order id", "too.long", "items"]),
        text("order id", "o-1"),
        text("too.long", &"x".repeat(2000)),
        list("items", &["a"]),
        text("tenant", "acme"),
        attribute("faas.coldstart", Any::BoolValue(true)),
        text("aws.xray.metadata.cart", r#"{"total": 12.5}"#),
        text("other", "kept"),
        text("http.request.header.authorization", "Bearer s3cr3t"),
    ]));
    let annotations = at(&document, "/annotations");
    assert_eq!(at(annotations, "/order_id"), "o-1");
    assert_eq!(at(annotations, "/tenant"), "acme");
    assert_eq!(at(annotations, "/faas.coldstart"), &json!(true));
    assert_eq!(at(annotations, "/too.long").as_str().unwrap().len(), 1000);
    assert_eq!(at(annotations, "/items"), &Value::Null);
    assert_eq!(at(&document, "/metadata/default/items"), &json!(["a"]));
    assert_eq!(at(&document, "/metadata/default/too.long").as_str().unwrap().len(), 2000);
    assert_eq!(at(&document, "/metadata/cart/total"), &json!(12.5));
    assert_eq!(at(&document, "/metadata/default/other"), "kept");
    assert!(!document.to_string().contains("s3cr3t"));
}

#[test]
fn tv_19_lim_1_a_huge_span_is_cut_not_dropped() {
    let translated = translate(
        &batch(
            vec![handler(vec![text("huge", &"ä".repeat(150_000)), text("huge2", &"x".repeat(300_000))])],
            invocation(&sampled(), Mode::Active),
        ),
        &function(),
    );
    let document = &translated.documents[0];
    assert!(document.json.len() <= 64_000);
    assert!(document.json.contains("(150000 characters)"));
    let many = (0..3000).map(|i| text(&format!("key{i}"), &"v".repeat(100))).collect();
    let spread = documents(vec![handler(many)]);
    assert!(spread.len() > 5);
    let of_all: usize =
        spread.iter().map(|document| at(document, "/metadata/default").as_object().map_or(0, Map::len)).sum();
    assert_eq!(of_all, 3000, "step 4: what does not fit moves to subsegments of its own");
    for (index, overflow) in spread[1..].iter().enumerate() {
        assert_eq!(at(overflow, "/parent_id"), at(&spread[0], "/id"));
        assert_eq!(
            at(overflow, "/name").as_str().unwrap(),
            format!("app.handler metadata {}/{}", index + 1, spread.len() - 1)
        );
    }
}

#[test]
fn bet_9_id_8_duplicates_and_bad_ids_cost_only_themselves() {
    let mut bad = handler(vec![]);
    bad.span_id = vec![1; 7];
    let mut zero = handler(vec![]);
    zero.trace_id = vec![0; 16];
    let again = handler(vec![text("second", "yes")]);
    let spans = vec![handler(vec![]), bad, zero, again, span("ok", SpanKind::Internal, &[11; 8], vec![])];
    let translated = translate(&batch(spans, invocation(&sampled(), Mode::Active)), &function());
    assert_eq!(translated.documents.len(), 2);
    assert!(translated.documents[0].json.contains("second"));
    assert_eq!(translated.accounts.to_json()["dropped"], json!({"duplicate": 1, "invalid_id": 2}));
}

#[test]
fn time_3_time_4_odd_times() {
    let backwards = one(Span { end_time_unix_nano: START - 5, ..handler(vec![]) });
    assert_eq!(at(&backwards, "/end_time"), at(&backwards, "/start_time"));
    assert_eq!(at(&backwards, "/metadata/otel/end_time_unix_nano"), &json!((START - 5).to_string()));
    let open = one(Span { end_time_unix_nano: 0, ..handler(vec![]) });
    assert_eq!((at(&open, "/in_progress"), at(&open, "/end_time")), (&json!(true), &Value::Null));
}

#[test]
fn bet_5_bet_6_facts_without_a_field_are_in_metadata() {
    let mut rich = span("work", SpanKind::Internal, &[11; 8], vec![text("otel.scope.name", "shop.tracer")]);
    rich.events =
        vec![Event { name: "cache.miss".into(), attributes: vec![text("key", "k")], ..Event::default() }];
    rich.trace_state = "a=b".into();
    rich.dropped_attributes_count = 3;
    let document = one(rich);
    let otel = at(&document, "/metadata/otel");
    assert_eq!(at(otel, "/scope/name"), "shop.tracer");
    assert_eq!(at(otel, "/events/0/name"), "cache.miss");
    assert_eq!(at(otel, "/events/0/attributes/key"), "k");
    assert_eq!(at(otel, "/trace_state"), "a=b");
    assert_eq!(at(otel, "/dropped_attributes"), &json!(3));
}

fn any_attribute() -> impl Strategy<Value = KeyValue> {
    let keys = prop::sample::select(vec![
        "http.request.method",
        "http.response.status_code",
        "url.full",
        "rpc.system",
        "rpc.method",
        "db.system",
        "db.statement",
        "aws.xray.annotations",
        "aws.xray.metadata.x",
        "exception.stacktrace",
        "server.port",
        "other",
    ]);
    let values = prop_oneof![
        ".{0,40}".prop_map(Any::StringValue),
        any::<i64>().prop_map(Any::IntValue),
        any::<f64>().prop_map(Any::DoubleValue),
        any::<bool>().prop_map(Any::BoolValue),
    ];
    (keys, values).prop_map(|(key, value)| attribute(key, value))
}

proptest! {
    #[test]
    fn laws_same_input_same_bytes_nothing_lost_ids_kept(
        name in ".{0,60}",
        kind in 0..6,
        attributes in prop::collection::vec(any_attribute(), 0..8),
        times in any::<(u64, u64)>(),
    ) {
        let mut given = handler(attributes);
        given.name = name;
        given.kind = kind;
        (given.start_time_unix_nano, given.end_time_unix_nano) = times;
        let id = given.span_id.clone();
        let spans = batch(vec![given], invocation(&sampled(), Mode::Active));
        let first = translate(&spans, &function());
        prop_assert_eq!(&first.documents, &translate(&spans, &function()).documents);
        prop_assert_eq!(first.documents.len(), 1);
        let document: Value = serde_json::from_str(&first.documents[0].json).unwrap();
        prop_assert_eq!(at(&document, "/id").as_str().unwrap(), SpanId::from_bytes(&id).unwrap().to_string());
        prop_assert!(first.documents[0].json.len() <= 64_000);
        prop_assert!(!at(&document, "/name").as_str().unwrap().is_empty());
    }
}
