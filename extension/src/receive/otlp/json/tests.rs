use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use prost::Message as _;

const NOW: u64 = 1_790_000_000_000_000_000;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn full() -> ExportTraceServiceRequest {
    let nested = vec![attribute("inner", Value::DoubleValue(0.5))];
    let attributes = vec![
        attribute("text", Value::StringValue("a \"b\" \u{1F980}".into())),
        attribute("yes", Value::BoolValue(true)),
        attribute("whole", Value::IntValue(i64::MIN)),
        attribute("bytes", Value::BytesValue(vec![0, 255, 254])),
        attribute(
            "list",
            Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(Value::IntValue(-1)) }] }),
        ),
        attribute("map", Value::KvlistValue(KeyValueList { values: nested })),
    ];
    let event = Event {
        time_unix_nano: 5,
        name: "e".into(),
        attributes: attributes.clone(),
        dropped_attributes_count: 1,
    };
    let link = Link {
        trace_id: vec![3; 16],
        span_id: vec![4; 8],
        trace_state: "b=2".into(),
        attributes: attributes.clone(),
        dropped_attributes_count: 2,
        flags: 0x301,
    };
    let span = Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        trace_state: "a=1".into(),
        parent_span_id: vec![0xef; 8],
        flags: 0x101,
        name: "GET".into(),
        kind: 3,
        start_time_unix_nano: 1_700_000_000_000_000_001,
        end_time_unix_nano: u64::MAX,
        attributes: attributes.clone(),
        dropped_attributes_count: 3,
        events: vec![event],
        dropped_events_count: 4,
        links: vec![link],
        dropped_links_count: 5,
        status: Some(Status { message: "no".into(), code: 2 }),
    };
    let scope = InstrumentationScope {
        name: "s".into(),
        version: "1".into(),
        attributes: attributes.clone(),
        dropped_attributes_count: 6,
    };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans: vec![span.clone(), span],
        schema_url: "https://example.com/1".into(),
    };
    let resource = Resource { attributes, dropped_attributes_count: 7, ..Resource::default() };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        schema_url: "https://example.com/2".into(),
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }
}

fn read(json: &str) -> (ExportTraceServiceRequest, u64) {
    let converted = to_protobuf(json.as_bytes()).unwrap();
    (ExportTraceServiceRequest::decode(converted.protobuf.as_slice()).unwrap(), converted.unreadable)
}

fn read_spans(spans: &str) -> (Vec<Span>, u64) {
    let (mut request, unreadable) =
        read(&format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#));
    (std::mem::take(&mut request.resource_spans[0].scope_spans[0].spans), unreadable)
}

#[test]
fn what_another_implementation_writes_is_read_back_whole() {
    let json = serde_json::to_string(&full()).unwrap();
    assert_eq!(read(&json), (full(), 0));
}

#[test]
fn the_mapping_s_other_spellings() {
    let cases = [
        (r#"{"start_time_unix_nano":"7"}"#, Span { start_time_unix_nano: 7, ..Span::default() }),
        (r#"{"startTimeUnixNano":7.0}"#, Span { start_time_unix_nano: 7, ..Span::default() }),
        (r#"{"startTimeUnixNano":1.79e18}"#, Span { start_time_unix_nano: NOW, ..Span::default() }),
        (r#"{"endTimeUnixNano":"1.79E+18"}"#, Span { end_time_unix_nano: NOW, ..Span::default() }),
        (
            r#"{"endTimeUnixNano":"1790000000000000000.0"}"#,
            Span { end_time_unix_nano: NOW, ..Span::default() },
        ),
        (
            r#"{"startTimeUnixNano":18446744073709549568.0}"#,
            Span { start_time_unix_nano: u64::MAX - 2047, ..Span::default() },
        ),
        (
            r#"{"attributes":[{"key":"k","value":{"intValue":-9.2e18}}]}"#,
            Span {
                attributes: vec![attribute("k", Value::IntValue(-9_200_000_000_000_000_000))],
                ..Span::default()
            },
        ),
        (r#"{"kind":"SPAN_KIND_SERVER"}"#, Span { kind: 2, ..Span::default() }),
        (r#"{"kind":"3"}"#, Span { kind: 3, ..Span::default() }),
        (
            r#"{"status":{"code":"2"}}"#,
            Span { status: Some(Status { code: 2, ..Status::default() }), ..Span::default() },
        ),
        (
            r#"{"attributes":[{"key":"k","value":{"boolValue":"true"}}]}"#,
            Span { attributes: vec![attribute("k", Value::BoolValue(true))], ..Span::default() },
        ),
        (
            r#"{"attributes":[{"key":"k","value":{"boolValue":"false"}}]}"#,
            Span { attributes: vec![attribute("k", Value::BoolValue(false))], ..Span::default() },
        ),
        (
            r#"{"spanId":"ABCDEF0123456789"}"#,
            Span { span_id: vec![0xab, 0xcd, 0xef, 1, 0x23, 0x45, 0x67, 0x89], ..Span::default() },
        ),
        (r#"{"name":null,"status":null,"events":null,"attributes":[null]}"#, Span::default()),
        (
            r#"{"name":"half \ud800","unheardOf":{"a":[1]}}"#,
            Span { name: "half \u{FFFD}\u{FFFD}\u{FFFD}".into(), ..Span::default() },
        ),
        (r#"{"attributes":[{"key":"k","value":{"doubleValue":"NaN"}}]}"#, Span::default()),
        (
            r#"{"attributes":[{"key":"k","value":{"intValue":5}}]}"#,
            Span { attributes: vec![attribute("k", Value::IntValue(5))], ..Span::default() },
        ),
        (
            r#"{"attributes":[{"key":"k","value":{"stringValue":""}}]}"#,
            Span { attributes: vec![attribute("k", Value::StringValue(String::new()))], ..Span::default() },
        ),
        (
            r#"{"attributes":[{"key":"k","value":{"doubleValue":3}}]}"#,
            Span { attributes: vec![attribute("k", Value::DoubleValue(3.0))], ..Span::default() },
        ),
    ];
    for (json, expected) in cases {
        let (mut spans, unreadable) = read_spans(json);
        assert_eq!((spans.len(), unreadable), (1, 0), "{json}");
        if json.contains("NaN") {
            let value = spans[0].attributes[0].value.take().and_then(|value| value.value);
            assert!(matches!(value, Some(Value::DoubleValue(nan)) if nan.is_nan()), "{json}: {value:?}");
        } else if !json.contains("[null]") {
            assert_eq!(spans[0], expected, "{json}");
        }
    }
}

#[test]
fn base64_of_either_alphabet_and_with_or_without_padding() {
    for (text, bytes) in [
        ("", &[][..]),
        ("YQ==", b"a"),
        ("YQ", b"a"),
        ("YR", b"a"),
        ("YWI=", b"ab"),
        ("YWI", b"ab"),
        ("YWJj", b"abc"),
        ("+/+/", &[0xfb, 0xff, 0xbf]),
        ("-_-_", &[0xfb, 0xff, 0xbf]),
        ("-_8", &[0xfb, 0xff]),
    ] {
        let json = format!(r#"{{"attributes":[{{"key":"k","value":{{"bytesValue":"{text}"}}}}]}}"#);
        let expected = vec![attribute("k", Value::BytesValue(bytes.to_vec()))];
        let (mut spans, unreadable) = read_spans(&json);
        assert_eq!((unreadable, spans.remove(0).attributes), (0, expected), "{text}");
    }
}

#[test]
fn id_8_a_value_of_the_wrong_type_costs_its_own_span() {
    for bad in [
        r#"{"traceId":"xyz"}"#,
        r#"{"traceId":"abc"}"#,
        r#"{"traceId":7}"#,
        r#"{"startTimeUnixNano":"soon"}"#,
        r#"{"startTimeUnixNano":-1}"#,
        r#"{"startTimeUnixNano":1.5}"#,
        r#"{"startTimeUnixNano":true}"#,
        r#"{"startTimeUnixNano":1.85e19}"#,
        r#"{"startTimeUnixNano":1e999}"#,
        r#"{"startTimeUnixNano":"half \ud800"}"#,
        r#"{"endTimeUnixNano":"1.5e0"}"#,
        r#"{"attributes":[{"key":"k","value":{"intValue":9.3e18}}]}"#,
        r#"{"attributes":[{"key":"k","value":{"stringValue":200}}]}"#,
        r#"{"attributes":[{"key":"k","value":{"stringValue":true}}]}"#,
        r#"{"attributes":[{"key":"k","value":{"stringValue":{"a":[1]}}}]}"#,
        r#"{"attributes":[{"key":"k","value":{"arrayValue":{"values":[{"stringValue":[]}]}}}]}"#,
        r#"{"attributes":[{"key":7,"value":{}}]}"#,
        r#"{"attributes":[7]}"#,
        r#"{"attributes":"none"}"#,
        r#"{"name":5}"#,
        r#"{"name":["a"]}"#,
        r#"{"traceState":{}}"#,
        r#"{"events":[{"name":false}]}"#,
        r#"{"status":{"message":404}}"#,
        r#"{"traceId":{}}"#,
        r#"{"kind":"SPAN_KIND_OF_MAGIC"}"#,
        r#"{"flags":4294967296}"#,
        r#"{"events":{}, "links":7}"#,
        r#"{"events":[{"timeUnixNano":[]}]}"#,
        r#"{"attributes":[{"key":"k","value":{"boolValue":"yes"}}]}"#,
        r#"{"attributes":[{"key":"k","value":{"boolValue":1}}]}"#,
        r#"{"kind":"-3"}"#,
        r#"{"kind":""}"#,
        r#"{"attributes":[{"key":"k","value":{"bytesValue":"?"}}]}"#,
        r#"{"status":[]}"#,
        "7",
        r#""text""#,
        "true",
        "-1.5",
    ] {
        let (spans, unreadable) = read_spans(&format!(r#"{bad},{{"name":"good"}}"#));
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!((names, unreadable), (vec!["good"], 1), "{bad}");
    }
    let (request, unreadable) = read(
        r#"{"resourceSpans":[{"resource":{"droppedAttributesCount":"x"},"scopeSpans":[{"spans":[{"name":"good"}]}]}]}"#,
    );
    assert_eq!((request.resource_spans[0].scope_spans[0].spans.len(), unreadable), (1, 0));
    let (request, unreadable) = read(
        r#"{"resourceSpans":[{"schemaUrl":5,"resource":{"attributes":[{"key":"a","value":{"stringValue":5}}]},
            "scopeSpans":[{"scope":{"name":7},"spans":[{"name":"good"},null]}]}]}"#,
    );
    assert_eq!((request.resource_spans[0].scope_spans[0].spans.len(), unreadable), (1, 0));
}

#[test]
fn what_is_wrong_with_the_first_of_them_is_told() {
    let why = |spans: &str| {
        let json = format!(r#"{{"resourceSpans":[{{"schemaUrl":1,"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
        to_protobuf(json.as_bytes()).unwrap().why.map(|fault| fault.to_string())
    };
    assert_eq!(why(r#"{"name":"good"}"#), None);
    assert_eq!(why(r#"{},{"name":5},{"kind":"x"}"#).as_deref(), Some("name can't be a number"));
    assert_eq!(
        why(r#"{"attributes":[{"key":"k","value":{"stringValue":{}}}]}"#).as_deref(),
        Some("stringValue can't be an object")
    );
    assert_eq!(why("[7]").as_deref(), Some("spans can't be a number"));
}

#[test]
fn bytes_that_are_no_utf_8_cost_nothing_but_themselves() {
    let converted =
        to_protobuf(b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"\xff\"}]}]}]}").unwrap();
    let request = ExportTraceServiceRequest::decode(converted.protobuf.as_slice()).unwrap();
    assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].name, "\u{FFFD}");
}

#[test]
fn a_byte_order_mark_before_the_request_is_passed_over() {
    let json = "\u{feff}{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"a\"}]}]}]}";
    assert_eq!(read(json).0.resource_spans[0].scope_spans[0].spans[0].name, "a");
}

#[test]
fn id_8_what_is_nested_too_deep_costs_its_own_span_and_the_stack_is_bounded() {
    let value = |begin: &str, end: &str, depth: usize| {
        let (begin, end) = (begin.repeat(depth), end.repeat(depth));
        format!(r#"{{"key":"k","value":{begin}{{"intValue":"1"}}{end}}}"#)
    };
    let map = (r#"{"kvlistValue":{"values":[{"key":"k","value":"#, "}]}}");
    let list = (r#"{"arrayValue":{"values":["#, "]}}");
    for ((begin, end), depth, lost) in
        [(map, 25, 0), (map, 40, 1), (map, 20_000, 1), (list, 35, 0), (list, 60, 1), (list, 50_000, 1)]
    {
        let value = value(begin, end, depth);
        for span in [
            format!(r#"{{"attributes":[{value}]}}"#),
            format!(r#"{{"events":[{{"attributes":[{value}]}}]}}"#),
        ] {
            let (spans, unreadable) = read_spans(&format!(r#"{span},{{"name":"good"}}"#));
            assert_eq!((spans.len() as u64, unreadable), (2 - lost, lost), "{begin} {depth}");
            assert_eq!(spans.last().unwrap().name, "good");
        }
        // Around spans it costs itself, and nothing beside it.
        let (mut request, unreadable) = read(&format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"a","value":{{"intValue":1}}}},{value}]}},
                "scopeSpans":[{{"scope":{{"name":"s","attributes":[{value}]}},"spans":[{{"name":"good"}}]}}]}}]}}"#
        ));
        let of = request.resource_spans.remove(0);
        let scope = of.scope_spans[0].scope.as_ref().unwrap();
        let kept = usize::from(lost == 0);
        assert_eq!((unreadable, of.scope_spans[0].spans.len()), (0, 1), "{begin} {depth}");
        assert_eq!(of.resource.unwrap().attributes.len(), 1 + kept);
        assert_eq!((scope.name.as_str(), scope.attributes.len()), ("s", kept));
    }
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    for (around, lost) in [
        (
            format!(
                r#"{{"resourceSpans":[{{"resource":{{"entityRefs":[{{"idKeys":{deep}}}]}},"scopeSpans":[{{"spans":[{{"name":"good"}}]}}]}}]}}"#
            ),
            0,
        ),
        (
            format!(
                r#"{{"x":{deep},"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"good","y":{deep}}}]}}]}}]}}"#
            ),
            0,
        ),
        (format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"good"}},{deep}]}}]}}]}}"#), 1),
        (
            format!(
                r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"good"}},{{"name":{deep}}}]}}]}}]}}"#
            ),
            1,
        ),
    ] {
        let (request, unreadable) = read(&around);
        assert_eq!((request.resource_spans[0].scope_spans[0].spans.len(), unreadable), (1, lost));
    }
}

#[test]
fn every_span_in_lists_of_lists_is_read_or_counted() {
    let deep = ["[".repeat(200), "]".repeat(200)].concat();
    let far = r#"{"name":"far","attributes":[{"key":"k","value":"#;
    let far = format!("{far}{}1{}}}]}}", r#"{"arrayValue":{"values":["#.repeat(90), "]}}".repeat(90));
    let (a, b) = (r#"{"name":"a"}"#, r#"{"name":"b"}"#);
    for (spans, kept, lost) in [
        (format!("[{a},{b}]"), "ab", 0),
        (format!("[{a},{far}]"), "a", 1),
        (format!("[{far},{a},{far},{b}],{far}"), "ab", 3),
        (format!("[[{far},{a}],7,[[{b}]]]"), "ab", 2),
        (format!("[{a},{deep},{b}],[]"), "ab", 1),
        (format!(r#"[{a},{{"name":7}},{deep}]"#), "a", 2),
    ] {
        let (read, unreadable) = read_spans(&spans);
        let names: String = read.iter().map(|span| span.name.as_str()).collect();
        assert_eq!((names.as_str(), unreadable), (kept, lost), "{spans}");
    }
}

#[test]
fn what_is_not_json_is_an_error_and_depth_is_bounded() {
    let deep = format!(r#"{{"resourceSpans":{}"#, "[".repeat(100_000));
    for bad in
        ["", "[", "{", r#"{"resourceSpans":[}"#, r#"{"a":1}{"#, "\u{0}", r#"{"resourceSpans":[{"#, &deep]
    {
        assert!(to_protobuf(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(40)]);
    }
    assert_eq!(read("{}"), (ExportTraceServiceRequest::default(), 0));
}

proptest! {
    #[test]
    fn any_change_of_a_byte_is_read_without_panic(at in any::<prop::sample::Index>(), byte: u8) {
        let mut json = serde_json::to_vec(&full()).unwrap();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(converted) = to_protobuf(&json) {
            prop_assert!(ExportTraceServiceRequest::decode(converted.protobuf.as_slice()).is_ok());
        }
    }
}
