//! One span to its bytes on the wire and back. Here, because this crate is compiled for speed.

use crate::trace_header::{SpanId, TraceId};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message as _};

/// Fields of a span.
const TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const PARENT_SPAN_ID: u32 = 4;
const KIND: u32 = 6;
const START_TIME: u32 = 7;

/// What a span says of its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    pub trace_id: Option<TraceId>,
    pub id: Option<SpanId>,
    pub parent: Option<SpanId>,
    pub kind: SpanKind,
    pub start_unix_nano: u64,
}

pub fn decode(span: &[u8]) -> Result<Span, DecodeError> {
    Span::decode(span)
}

pub fn encode(span: &Span) -> Box<[u8]> {
    span.encode_to_vec().into_boxed_slice()
}

/// What a span says that was encoded here, as far as it can be read.
pub fn head(span: &[u8]) -> Head {
    let mut head = Head::default();
    let _ = read_head(span, &mut head);
    head
}

fn read_head(mut bytes: &[u8], head: &mut Head) -> Option<()> {
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        // They are written in their order.
        if number > START_TIME {
            return Some(());
        }
        match (number, wire_type) {
            (_, WireType::LengthDelimited) => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                match number {
                    TRACE_ID => head.trace_id = TraceId::from_bytes(value),
                    SPAN_ID => head.id = SpanId::from_bytes(value),
                    PARENT_SPAN_ID => head.parent = SpanId::from_bytes(value),
                    _ => {}
                }
            }
            (KIND, WireType::Varint) => {
                let kind = i32::try_from(decode_varint(&mut bytes).ok()?).ok();
                head.kind = kind.and_then(|kind| SpanKind::try_from(kind).ok()).unwrap_or_default();
            }
            (START_TIME, WireType::SixtyFourBit) => {
                let (value, rest) = bytes.split_first_chunk::<8>()?;
                bytes = rest;
                head.start_unix_nano = u64::from_le_bytes(*value);
            }
            _ => skip_field(wire_type, number, &mut bytes, DecodeContext::default()).ok()?,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_head_says_where_a_span_belongs() {
        let span = Span {
            trace_id: vec![7; 16],
            span_id: vec![1; 8],
            parent_span_id: vec![2; 8],
            trace_state: "a=1".into(),
            name: "GET".into(),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: 5,
            end_time_unix_nano: 9,
            flags: 0x101,
            ..Span::default()
        };
        let expected = Head {
            trace_id: TraceId::from_bytes(&[7; 16]),
            id: SpanId::from_bytes(&[1; 8]),
            parent: SpanId::from_bytes(&[2; 8]),
            kind: SpanKind::Client,
            start_unix_nano: 5,
        };
        let encoded = encode(&span);
        assert_eq!((head(&encoded), decode(&encoded)), (expected, Ok(span)));
        assert_eq!(head(&encode(&Span::default())), Head::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (head(&bytes), decode(&bytes));
        }
    }
}
