//! OTLP in JSON, turned into OTLP in protobuf as it is read: nothing is held but the outcome.
//!
//! By OTLP's JSON mapping: ids are hex digits, 64-bit integers text or numbers, enumerations numbers (names are taken
//! too), fields in camel case (snake case is taken too), and what is not known is passed over. Whole numbers may be
//! written as floats, and Base64 by either alphabet and without padding. A value of the wrong type, or nested too deep,
//! costs the span it is in, and elsewhere only itself.

use super::otlp_schema::{Field, Kind, Message, REQUEST};
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

const BASE64: GeneralPurpose = lenient(&STANDARD);
const BASE64_URL: GeneralPurpose = lenient(&URL_SAFE);
/// Lists in lists whose items are read one by one.
const MAX_LISTS: u8 = 8;
/// The first whole number that no field takes.
const TWO_TO_THE_64: f64 = 18_446_744_073_709_551_616.0;

const fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

/// An export request as protobuf, and the spans that had to be left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Converted {
    pub protobuf: Vec<u8>,
    pub unreadable: u64,
    /// What is wrong with the first of them.
    pub why: Option<Fault>,
}

/// A value that its field can't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    field: &'static str,
    found: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, found } = self;
        write!(f, "{field} can't be {found}")
    }
}

/// Reads an `ExportTraceServiceRequest` in JSON.
pub fn to_protobuf(json: &[u8]) -> Result<Converted, serde_json::Error> {
    static WHOLE: Field = Field { number: 0, name: "", kind: Kind::Message(&REQUEST), repeated: false };
    let mut protobuf = Vec::with_capacity(json.len() / 2);
    let mut faults = Faults::default();
    // Some editors and languages put one before every text.
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    // Bytes that are no UTF-8 in one text are no reason to refuse the others.
    let json = String::from_utf8_lossy(json);
    let mut deserializer = serde_json::Deserializer::from_str(&json);
    let whole = Slot { field: &WHOLE, out: &mut protobuf, faults: &mut faults };
    deserializer.deserialize_map(whole)?;
    deserializer.end()?;
    Ok(Converted { protobuf, unreadable: faults.spans, why: faults.first })
}

#[derive(Debug, Default)]
struct Faults {
    /// In the span that is being read.
    here: Option<Fault>,
    /// Spans that were left out.
    spans: u64,
    /// What is read now is read by itself, however deep it is in the request.
    is_apart: bool,
    /// The lists around it that should be one.
    lists: u8,
    first: Option<Fault>,
}

impl Faults {
    fn leave_out(&mut self, fault: Fault) {
        self.spans += 1;
        self.first.get_or_insert(fault);
    }
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

    /// A value of the wrong type. Where a whole span should be, it costs that span and not the one around it.
    fn fault(&mut self, found: &'static str) {
        let fault = Fault { field: self.field.name, found };
        match self.field.kind {
            Kind::Message(message) if message.is_span => self.faults.leave_out(fault),
            _ => drop(self.faults.here.get_or_insert(fault)),
        }
    }

    /// Any value but a message, as it is written.
    fn put_raw(mut self, raw: &str) {
        let mut inner = serde_json::Deserializer::from_str(raw);
        match raw.as_bytes().first() {
            None | Some(b'n') => {}
            // As bytes, because half of a surrogate pair is then no error: JavaScript can cut a text there.
            Some(b'"') => {
                let (field, faults) = (self.field, &mut *self.faults);
                let slot = Slot { field, out: &mut *self.out, faults };
                if inner.deserialize_bytes(slot).is_err() {
                    self.fault("this text");
                }
            }
            Some(b'[') if self.field.repeated => {
                let (field, faults) = (self.field, &mut *self.faults);
                let slot = Slot { field, out: &mut *self.out, faults };
                if inner.deserialize_seq(slot).is_err() {
                    self.fault("this list");
                }
            }
            Some(b'[') => self.fault("a list"),
            Some(b'{') => self.fault("an object"),
            Some(b't' | b'f') if matches!(self.field.kind, Kind::Bool) => {
                self.put_varint(u64::from(raw == "true"));
            }
            Some(b't' | b'f') => self.fault("a boolean"),
            Some(_) if matches!(self.field.kind, Kind::Text | Kind::Id | Kind::Bytes | Kind::Bool) => {
                self.fault("a number");
            }
            Some(_) => self.put_numeral(raw, "this number"),
        }
    }

    /// A list where a message should be: each of its own, so that one of them costs no other.
    fn put_list(mut self, raw: &str) {
        if self.faults.lists == MAX_LISTS {
            return self.fault("nested so deep");
        }
        self.faults.lists += 1;
        let slot = Slot { field: self.field, out: &mut *self.out, faults: &mut *self.faults };
        let read = serde_json::Deserializer::from_str(raw).deserialize_seq(slot);
        self.faults.lists -= 1;
        if read.is_err() {
            self.fault("this list");
        }
    }

    /// A message by itself: what is too deep in it, which bounds the stack, costs the message and not what is around it.
    fn put_apart(mut self, raw: &str) {
        let (begin, outer_fault) = (self.out.len(), self.faults.here);
        self.faults.is_apart = true;
        let slot = Slot { field: self.field, out: &mut *self.out, faults: &mut *self.faults };
        let read = serde_json::Deserializer::from_str(raw).deserialize_any(slot);
        self.faults.is_apart = false;
        if read.is_err() {
            self.out.truncate(begin);
            self.faults.here = outer_fault;
            self.fault("nested so deep");
        }
    }

    /// An integer, if it fits the field.
    fn put_integer(&mut self, value: i128, found: &'static str) {
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
            _ => self.fault(found),
        }
    }

    fn put_varint(&mut self, value: u64) {
        self.key(WireType::Varint);
        encode_varint(value, self.out);
    }

    /// A number as it is written, in JSON or in a text.
    fn put_numeral(&mut self, numeral: &str, found: &'static str) {
        match (numeral.parse::<i128>(), numeral.parse::<f64>()) {
            (Ok(whole), _) if !matches!(self.field.kind, Kind::Double) => self.put_integer(whole, found),
            (_, Ok(number)) => self.put_number(number, found),
            _ => self.fault(found),
        }
    }

    fn put_number(&mut self, value: f64, found: &'static str) {
        if matches!(self.field.kind, Kind::Double) {
            self.key(WireType::SixtyFourBit);
            self.out.extend_from_slice(&value.to_le_bytes());
        } else if value.fract() == 0.0 && value.abs() < TWO_TO_THE_64 {
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range, as was just seen")]
            self.put_integer(value as i128, found);
        } else {
            self.fault(found);
        }
    }

    fn put_text(&mut self, text: &[u8]) {
        let lossy = String::from_utf8_lossy(text);
        let decoded = match self.field.kind {
            Kind::Text => return self.put_bytes(lossy.as_bytes()),
            Kind::Id => unhex(text),
            Kind::Bytes => BASE64.decode(text).or_else(|_| BASE64_URL.decode(text)).ok(),
            Kind::Enum(names) => {
                match names.iter().zip(0..).find(|(name, _)| **name == lossy) {
                    Some((_, number)) => self.put_integer(number, "this name"),
                    None => self.put_numeral(&lossy, "this name"),
                }
                return;
            }
            Kind::Bool if matches!(text, b"true" | b"false") => {
                return self.put_varint(u64::from(text == b"true"));
            }
            Kind::Bool | Kind::Message(_) => None,
            _ => return self.put_numeral(&lossy, "this text"),
        };
        match decoded {
            Some(bytes) => self.put_bytes(&bytes),
            None => self.fault("this text"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if matches!(self.field.kind, Kind::Message(_)) {
            return deserializer.deserialize_any(self);
        }
        // As it is written, because asking for one type makes an error of every other.
        self.put_raw(<&RawValue>::deserialize(deserializer)?.get());
        Ok(())
    }
}

/// One of a list.
struct Item<'a>(Slot<'a>);

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self(mut slot) = self;
        match slot.field.kind {
            Kind::Message(message) if !message.is_apart || slot.faults.is_apart => {
                deserializer.deserialize_any(slot)?;
            }
            Kind::Message(_) => match <&RawValue>::deserialize(deserializer)?.get() {
                raw if raw.starts_with('[') => slot.put_list(raw),
                raw => slot.put_apart(raw),
            },
            _ => match <&RawValue>::deserialize(deserializer)?.get() {
                // Each list in a list would be another level of the stack.
                raw if raw.starts_with('[') => slot.fault("a list"),
                raw => slot.put_raw(raw),
            },
        }
        Ok(())
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

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(mut self, _: bool) -> Result<(), E> {
        self.fault("a boolean");
        Ok(())
    }

    fn visit_u64<E>(mut self, _: u64) -> Result<(), E> {
        self.fault("a number");
        Ok(())
    }

    fn visit_i64<E>(mut self, _: i64) -> Result<(), E> {
        self.fault("a number");
        Ok(())
    }

    fn visit_f64<E>(mut self, _: f64) -> Result<(), E> {
        self.fault("a number");
        Ok(())
    }

    fn visit_str<E>(mut self, _: &str) -> Result<(), E> {
        self.fault("a text");
        Ok(())
    }

    fn visit_bytes<E>(mut self, text: &[u8]) -> Result<(), E> {
        self.put_text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        if !self.field.repeated {
            self.fault("a list");
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        loop {
            let slot = Slot { field: self.field, out: self.out, faults: self.faults };
            if items.next_element_seed(Item(slot))?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            self.fault("an object");
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        if self.field.number == 0 {
            return read_members(&mut members, message, self.out, self.faults);
        }
        let outer_fault = self.faults.here.take();
        // Where it belongs, so that what is large is there once; how long it is goes before it.
        let begin = self.out.len();
        self.key(WireType::LengthDelimited);
        let head = self.out.len();
        read_members(&mut members, message, self.out, self.faults)?;
        let inner_fault = self.faults.here.take();
        self.faults.here = outer_fault;
        match inner_fault {
            Some(fault) if message.is_span => {
                self.faults.leave_out(fault);
                self.out.truncate(begin);
            }
            inner_fault => {
                self.faults.here = self.faults.here.or(inner_fault);
                let mut length = Vec::with_capacity(5);
                encode_varint((self.out.len() - head) as u64, &mut length);
                self.out.splice(head..head, length);
            }
        }
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
            let json =
                format!(r#"{{"resourceSpans":[{{"schemaUrl":1,"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
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
            to_protobuf(b"{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"\xff\"}]}]}]}")
                .unwrap();
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
            (
                format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"good"}},{deep}]}}]}}]}}"#),
                1,
            ),
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
}
