//! The messages of an OTLP trace export: their fields' numbers and names in JSON, and what they take up when decoded.

use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// As deep as prost decodes.
const MAX_DEPTH: u32 = 100;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// Bytes, in JSON as hex digits: an id.
    Id,
    /// Bytes, in JSON as Base64.
    Bytes,
    Bool,
    Double,
    Fixed32,
    Fixed64,
    Int64,
    Uint32,
    /// The names in the order of their numbers, from 0.
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    /// As JSON has it: in lower camel case.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) fields: &'static [Field],
    /// What one takes up, without what its fields hold.
    decoded_bytes: usize,
    pub(crate) is_span: bool,
    /// What is wrong with it is no reason to leave out what is around it.
    pub(crate) is_apart: bool,
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

const fn message<T>(fields: &'static [Field]) -> Message {
    Message { fields, decoded_bytes: size_of::<T>(), is_span: false, is_apart: false }
}

pub(crate) static REQUEST: Message =
    message::<()>(&[many(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))]);

static RESOURCE_SPANS: Message = message::<ResourceSpans>(&[
    one(1, "resource", Kind::Message(&RESOURCE)),
    many(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
    one(3, "schemaUrl", Kind::Text),
]);

static RESOURCE: Message = message::<Resource>(&[
    many(1, "attributes", Kind::Message(&KEY_VALUE)),
    one(2, "droppedAttributesCount", Kind::Uint32),
    many(3, "entityRefs", Kind::Message(&ENTITY)),
]);

static ENTITY: Message = message::<EntityRef>(&[
    one(1, "schemaUrl", Kind::Text),
    one(2, "type", Kind::Text),
    many(3, "idKeys", Kind::Text),
    many(4, "descriptionKeys", Kind::Text),
]);

static SCOPE_SPANS: Message = message::<ScopeSpans>(&[
    one(1, "scope", Kind::Message(&SCOPE)),
    many(2, "spans", Kind::Message(&SPAN)),
    one(3, "schemaUrl", Kind::Text),
]);

static SCOPE: Message = message::<InstrumentationScope>(&[
    one(1, "name", Kind::Text),
    one(2, "version", Kind::Text),
    many(3, "attributes", Kind::Message(&KEY_VALUE)),
    one(4, "droppedAttributesCount", Kind::Uint32),
]);

static SPAN: Message = Message {
    fields: &[
        one(1, "traceId", Kind::Id),
        one(2, "spanId", Kind::Id),
        one(3, "traceState", Kind::Text),
        one(4, "parentSpanId", Kind::Id),
        one(5, "name", Kind::Text),
        one(6, "kind", Kind::Enum(SPAN_KINDS)),
        one(7, "startTimeUnixNano", Kind::Fixed64),
        one(8, "endTimeUnixNano", Kind::Fixed64),
        many(9, "attributes", Kind::Message(&KEY_VALUE)),
        one(10, "droppedAttributesCount", Kind::Uint32),
        many(11, "events", Kind::Message(&EVENT)),
        one(12, "droppedEventsCount", Kind::Uint32),
        many(13, "links", Kind::Message(&LINK)),
        one(14, "droppedLinksCount", Kind::Uint32),
        one(15, "status", Kind::Message(&STATUS)),
        one(16, "flags", Kind::Fixed32),
    ],
    decoded_bytes: size_of::<Span>(),
    is_span: true,
    is_apart: true,
};

const SPAN_KINDS: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

static EVENT: Message = message::<Event>(&[
    one(1, "timeUnixNano", Kind::Fixed64),
    one(2, "name", Kind::Text),
    many(3, "attributes", Kind::Message(&KEY_VALUE)),
    one(4, "droppedAttributesCount", Kind::Uint32),
]);

static LINK: Message = message::<Link>(&[
    one(1, "traceId", Kind::Id),
    one(2, "spanId", Kind::Id),
    one(3, "traceState", Kind::Text),
    many(4, "attributes", Kind::Message(&KEY_VALUE)),
    one(5, "droppedAttributesCount", Kind::Uint32),
    one(6, "flags", Kind::Fixed32),
]);

static STATUS: Message = message::<Status>(&[
    one(2, "message", Kind::Text),
    one(3, "code", Kind::Enum(&["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"])),
]);

static KEY_VALUE: Message = Message {
    is_apart: true,
    ..message::<KeyValue>(&[one(1, "key", Kind::Text), one(2, "value", Kind::Message(&ANY_VALUE))])
};

static ANY_VALUE: Message = message::<AnyValue>(&[
    one(1, "stringValue", Kind::Text),
    one(2, "boolValue", Kind::Bool),
    one(3, "intValue", Kind::Int64),
    one(4, "doubleValue", Kind::Double),
    one(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
    one(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
    one(7, "bytesValue", Kind::Bytes),
]);

static ARRAY_VALUE: Message = message::<()>(&[many(1, "values", Kind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = message::<()>(&[many(1, "values", Kind::Message(&KEY_VALUE))]);

/// About how many bytes an export request takes up when decoded, beside its texts: an empty span is two bytes on the
/// wire and some hundred in memory. Of what can't be read, the part before the fault.
pub(crate) fn decoded_bytes(request: &[u8]) -> usize {
    let mut total = 0;
    weigh(request, &REQUEST, MAX_DEPTH, &mut total);
    total
}

/// About how many bytes a span takes up when decoded, with its texts.
pub(crate) fn span_bytes(span: &[u8]) -> usize {
    let mut total = size_of::<Span>() + span.len();
    weigh(span, &SPAN, MAX_DEPTH, &mut total);
    total
}

/// The same for a resource or a scope.
pub(crate) fn origin_bytes(message: &[u8]) -> usize {
    let mut total = message.len();
    // Where one has attributes, the other has none, or a text.
    weigh(message, &RESOURCE, MAX_DEPTH, &mut total);
    weigh(message, &SCOPE, MAX_DEPTH, &mut total);
    total
}

/// The same for one of the messages in a span, by the number of its field.
pub(crate) fn field_bytes(number: u32, value: &[u8]) -> usize {
    let mut total = value.len();
    if let Some(Kind::Message(message)) =
        SPAN.fields.iter().find(|field| field.number == number).map(|field| field.kind)
    {
        total += message.decoded_bytes;
        weigh(value, message, MAX_DEPTH, &mut total);
    }
    total
}

fn weigh(mut bytes: &[u8], message: &Message, depth: u32, total: &mut usize) -> Option<()> {
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, number, &mut bytes, DecodeContext::default()).ok()?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
        let (inner, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        let field = message.fields.iter().find(|field| field.number == number);
        match field.map(|field| (field.kind, field.repeated)) {
            Some((Kind::Message(message), _)) if depth > 0 => {
                *total += message.decoded_bytes;
                weigh(inner, message, depth - 1, total)?;
            }
            Some((Kind::Text, true)) => *total += size_of::<String>(),
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;

    fn request(scope_spans: Vec<ScopeSpans>) -> Vec<u8> {
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    #[test]
    fn what_is_small_on_the_wire_is_weighed_as_it_is_in_memory() {
        let attributes = vec![KeyValue { value: Some(AnyValue::default()), ..KeyValue::default() }; 100];
        let spans = vec![Span { attributes, ..Span::default() }; 10];
        let bytes = request(vec![ScopeSpans { spans, ..ScopeSpans::default() }]);
        let spans = 10 * (size_of::<Span>() + 100 * (size_of::<KeyValue>() + size_of::<AnyValue>()));
        let expected = size_of::<ResourceSpans>() + size_of::<ScopeSpans>() + spans;
        assert_eq!(decoded_bytes(&bytes), expected);
        assert!(decoded_bytes(&bytes[..bytes.len() - 3]) <= expected);
    }

    #[test]
    fn every_field_has_a_number_and_a_name_of_its_own() {
        fn check(message: &'static Message, depth: u32) {
            let numbers: std::collections::HashSet<u32> =
                message.fields.iter().map(|field| field.number).collect();
            let names: std::collections::HashSet<&str> =
                message.fields.iter().map(|field| field.name).collect();
            assert_eq!((numbers.len(), names.len()), (message.fields.len(), message.fields.len()));
            for field in message.fields {
                if let (Kind::Message(inner), 1..) = (field.kind, depth) {
                    check(inner, depth - 1);
                }
            }
        }
        check(&REQUEST, 6);
    }
}
