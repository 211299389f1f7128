//! OTLP in JSON, turned into OTLP in protobuf as it is read: nothing is held but the outcome.
//!
//! By OTLP's JSON mapping: ids are hex digits, 64-bit integers text or numbers, enumerations numbers (names are taken
//! too), fields in camel case (snake case is taken too), and what is not known is passed over. A value of the wrong type
//! costs the span it is in, and elsewhere only itself.

use super::otlp_schema::{Field, Kind, Message, REQUEST};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// An export request as protobuf, and the spans that had to be left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Converted {
    pub protobuf: Vec<u8>,
    pub unreadable: u64,
}

/// Reads an `ExportTraceServiceRequest` in JSON.
pub fn to_protobuf(json: &[u8]) -> Result<Converted, serde_json::Error> {
    static WHOLE: Field = Field { number: 0, name: "", kind: Kind::Message(&REQUEST), repeated: false };
    let mut protobuf = Vec::with_capacity(json.len() / 2);
    let mut faults = Faults::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let whole = Slot { field: &WHOLE, out: &mut protobuf, faults: &mut faults };
    deserializer.deserialize_map(whole)?;
    deserializer.end()?;
    Ok(Converted { protobuf, unreadable: faults.spans })
}

#[derive(Debug, Default)]
struct Faults {
    /// In the span that is being read.
    here: bool,
    /// Spans that were left out.
    spans: u64,
}

/// The place of one field's value in its message.
struct Slot<'a> {
    field: &'static Field,
    out: &'a mut Vec<u8>,
    faults: &'a mut Faults,
}

impl Slot<'_> {
    fn key(&mut self, wire_type: WireType) {
        encode_key(self.field.number, wire_type, self.out);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.key(WireType::LengthDelimited);
        encode_varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    fn fault(&mut self) {
        self.faults.here = true;
    }

    /// An integer, if it fits the field.
    fn put_integer(&mut self, value: i128) {
        let kind = self.field.kind;
        match (kind, u32::try_from(value), u64::try_from(value), i64::try_from(value)) {
            (Kind::Fixed32, Ok(value), ..) => {
                self.key(WireType::ThirtyTwoBit);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            (Kind::Fixed64, _, Ok(value), _) => {
                self.key(WireType::SixtyFourBit);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            (Kind::Uint32 | Kind::Enum(_), Ok(value), ..) => self.put_varint(u64::from(value)),
            (Kind::Int64, _, _, Ok(value)) => self.put_varint(value.cast_unsigned()),
            _ => self.fault(),
        }
    }

    fn put_varint(&mut self, value: u64) {
        self.key(WireType::Varint);
        encode_varint(value, self.out);
    }

    fn put_number(&mut self, value: f64) {
        if matches!(self.field.kind, Kind::Double) {
            self.key(WireType::SixtyFourBit);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else if value.fract() == 0.0 && value.abs() < 1e18 {
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range, as was just seen")]
            self.put_integer(value as i128);
        } else {
            self.fault();
        }
    }

    fn put_text(&mut self, text: &[u8]) {
        let lossy = String::from_utf8_lossy(text);
        let decoded = match self.field.kind {
            Kind::Text => Some(lossy.as_bytes().to_vec()),
            Kind::Id => unhex(text),
            Kind::Bytes => STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok(),
            Kind::Enum(names) => {
                match names.iter().zip(0..).find(|(name, _)| **name == lossy) {
                    Some((_, number)) => self.put_integer(number),
                    None => self.fault(),
                }
                return;
            }
            Kind::Bool | Kind::Message(_) => None,
            _ => {
                match (lossy.parse::<i128>(), lossy.parse::<f64>()) {
                    (Ok(whole), _) if !matches!(self.field.kind, Kind::Double) => self.put_integer(whole),
                    (_, Ok(number)) => self.put_number(number),
                    _ => self.fault(),
                }
                return;
            }
        };
        match decoded {
            Some(bytes) => self.put_bytes(&bytes),
            None => self.fault(),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.field.kind {
            // As bytes, because half of a surrogate pair is then no error: JavaScript can cut a text there.
            Kind::Text => deserializer.deserialize_option(self),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.kind {
            Kind::Message(_) if self.field.number == 0 => f.write_str("an ExportTraceServiceRequest"),
            _ => write!(f, "{} as OTLP has it", self.field.name),
        }
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => self.put_varint(u64::from(value)),
            _ => self.fault(),
        }
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.put_number(value as f64),
            _ => self.put_integer(i128::from(value)),
        }
        Ok(())
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.put_number(value as f64),
            _ => self.put_integer(i128::from(value)),
        }
        Ok(())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        self.put_number(value);
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.put_text(text.as_bytes());
        Ok(())
    }

    fn visit_bytes<E>(mut self, text: &[u8]) -> Result<(), E> {
        self.put_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        if !self.field.repeated {
            self.fault();
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        loop {
            let slot = Slot { field: self.field, out: self.out, faults: self.faults };
            if items.next_element_seed(slot)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            self.fault();
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        if self.field.number == 0 {
            return read_members(&mut members, message, self.out, self.faults);
        }
        let outer_fault = std::mem::take(&mut self.faults.here);
        let mut inner = Vec::new();
        read_members(&mut members, message, &mut inner, self.faults)?;
        if message.is_span && self.faults.here {
            self.faults.spans += 1;
        } else {
            self.put_bytes(&inner);
        }
        self.faults.here = outer_fault || (self.faults.here && !message.is_span);
        Ok(())
    }
}

fn read_members<'de, A: MapAccess<'de>>(
    members: &mut A,
    message: &'static Message,
    out: &mut Vec<u8>,
    faults: &mut Faults,
) -> Result<(), A::Error> {
    while let Some(name) = members.next_key::<std::borrow::Cow<'de, str>>()? {
        match message.fields.iter().find(|field| is_same(field.name, &name)) {
            Some(field) => members.next_value_seed(Slot { field, out, faults: &mut *faults })?,
            None => drop(members.next_value::<IgnoredAny>()?),
        }
    }
    Ok(())
}

/// Whether a name in lower camel case, or in snake case, is this one in camel case.
fn is_same(camel: &str, name: &str) -> bool {
    let mut upper = false;
    let mut wanted = camel.chars();
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if wanted.next() != Some(if std::mem::take(&mut upper) { c.to_ascii_uppercase() } else { c }) {
            return false;
        }
    }
    wanted.next().is_none()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
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
            (r#"{"kind":"SPAN_KIND_SERVER"}"#, Span { kind: 2, ..Span::default() }),
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
                Span {
                    attributes: vec![attribute("k", Value::StringValue(String::new()))],
                    ..Span::default()
                },
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
    fn id_8_a_value_of_the_wrong_type_costs_its_own_span() {
        for bad in [
            r#"{"traceId":"xyz"}"#,
            r#"{"traceId":"abc"}"#,
            r#"{"traceId":7}"#,
            r#"{"startTimeUnixNano":"soon"}"#,
            r#"{"startTimeUnixNano":-1}"#,
            r#"{"startTimeUnixNano":1.5}"#,
            r#"{"startTimeUnixNano":true}"#,
            r#"{"kind":"SPAN_KIND_OF_MAGIC"}"#,
            r#"{"flags":4294967296}"#,
            r#"{"events":{}, "links":7}"#,
            r#"{"events":[{"timeUnixNano":[]}]}"#,
            r#"{"attributes":[{"key":"k","value":{"boolValue":"true"}}]}"#,
            r#"{"attributes":[{"key":"k","value":{"bytesValue":"?"}}]}"#,
            r#"{"status":[]}"#,
            "7",
        ] {
            let (spans, unreadable) = read_spans(&format!(r#"{bad},{{"name":"good"}}"#));
            let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            let counted = u64::from(bad != "7");
            assert_eq!((names, unreadable), (vec!["good"], counted), "{bad}");
        }
        let (request, unreadable) = read(
            r#"{"resourceSpans":[{"resource":{"droppedAttributesCount":"x"},"scopeSpans":[{"spans":[{"name":"good"}]}]}]}"#,
        );
        assert_eq!((request.resource_spans[0].scope_spans[0].spans.len(), unreadable), (1, 0));
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
}
