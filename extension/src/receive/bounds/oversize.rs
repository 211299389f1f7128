//! Spans that take up far more than X-Ray shows of one are shortened before they are decoded: attributes, events and
//! links that have no room are left out, long texts are cut. Pure.

use super::otlp_schema::{field_bytes, span_bytes};
use crate::translate::{weight, wire};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use prost::{DecodeError, Message as _};
use std::borrow::Cow;

/// What one span may take up in memory. X-Ray's OTLP endpoint takes spans of 200 kB (OEP-3), and no document is longer
/// than 64 kB (LIM-1).
const MAX_SPAN_BYTES: usize = 256 * 1024;
/// Encoded, none that is shorter takes up more: an empty attribute is two bytes on the wire.
const SMALL_BYTES: usize = 2 * 1024;
/// Of that, up to where attributes go, events behind them, and links. The rest is for the span itself.
const ATTRIBUTES_TO: usize = 160 * 1024;
const EVENTS_TO: usize = 208 * 1024;
const LINKS_TO: usize = 232 * 1024;
/// Texts of the span itself.
const MAX_TEXT_BYTES: usize = 8 * 1024;
/// A text that has less room than this is left out.
const MIN_TEXT_BYTES: usize = 256;

const NAME: u32 = 5;
const ATTRIBUTES: u32 = 9;
const EVENTS: u32 = 11;
const LINKS: u32 = 13;
const STATUS: u32 = 15;
const MAX_ID_BYTES: usize = 16;

/// A span that is decoded.
#[derive(Debug)]
pub(crate) struct Fitted {
    pub(crate) span: Span,
    /// About what it takes up.
    pub(crate) bytes: usize,
    /// Something was left out of it.
    pub(crate) is_shortened: bool,
}

/// Decodes a span, shortened where it is too large.
pub(crate) fn fitted(encoded: &[u8]) -> Result<Fitted, DecodeError> {
    if encoded.len() <= SMALL_BYTES {
        let span = wire::decode(encoded)?;
        return Ok(Fitted { bytes: weight::of_span(&span), span, is_shortened: false });
    }
    let (short, bytes) = within_limit(encoded);
    let span = wire::decode(&short)?;
    Ok(Fitted { span, bytes, is_shortened: short.len() != encoded.len() })
}

/// The encoded span, shortened where it is too large.
fn within_limit(span: &[u8]) -> (Cow<'_, [u8]>, usize) {
    let bytes = span_bytes(span);
    if bytes <= MAX_SPAN_BYTES {
        return (Cow::Borrowed(span), bytes);
    }
    match shortened(span) {
        Some(short) => {
            let bytes = span_bytes(&short);
            (Cow::Owned(short), bytes)
        }
        // It can't be read.
        None => (Cow::Borrowed(&[0xff]), 0),
    }
}

fn shortened(span: &[u8]) -> Option<Vec<u8>> {
    let mut short = Vec::new();
    let mut used = 0;
    for (limit, wanted) in [(0, 0), (ATTRIBUTES_TO, ATTRIBUTES), (EVENTS_TO, EVENTS), (LINKS_TO, LINKS)] {
        let mut left_out = 0;
        let mut counted = 0;
        let mut rest = span;
        while !rest.is_empty() {
            let begin = rest;
            let (number, wire_type) = decode_key(&mut rest).ok()?;
            let mut value = rest;
            skip_field(wire_type, number, &mut rest, DecodeContext::default()).ok()?;
            let whole = &begin[..begin.len() - rest.len()];
            value = &value[..value.len() - rest.len()];
            match wire_type {
                WireType::Varint if number == wanted + 1 && wanted > 0 => {
                    counted = decode_varint(&mut value).ok()?;
                }
                WireType::Varint if [ATTRIBUTES, EVENTS, LINKS].contains(&number.wrapping_sub(1)) => {}
                WireType::LengthDelimited => {
                    decode_varint(&mut value).ok()?;
                    if [ATTRIBUTES, EVENTS, LINKS].contains(&number) {
                        if number != wanted {
                            continue;
                        }
                        let bytes = field_bytes(number, value);
                        if used + bytes <= limit {
                            used += bytes;
                            short.extend_from_slice(whole);
                        } else if number == ATTRIBUTES
                            && let Some(cut) = cut_attribute(value, limit.saturating_sub(used))
                        {
                            used += field_bytes(number, &cut);
                            put(number, &cut, &mut short);
                        } else {
                            left_out += 1;
                        }
                    } else if wanted == 0 {
                        put_own(number, value, whole, &mut short);
                    }
                }
                _ if wanted == 0 => short.extend_from_slice(whole),
                _ => {}
            }
        }
        let counted = counted.saturating_add(left_out);
        if wanted > 0 && counted > 0 {
            encode_key(wanted + 1, WireType::Varint, &mut short);
            encode_varint(counted.min(u64::from(u32::MAX)), &mut short);
        }
    }
    Some(short)
}

/// What is neither attribute, event nor link.
fn put_own(number: u32, value: &[u8], whole: &[u8], short: &mut Vec<u8>) {
    match number {
        NAME => put(number, cut_text(value, MAX_TEXT_BYTES), short),
        STATUS => {
            if let Ok(mut status) = Status::decode(value) {
                let end = cut_text(status.message.as_bytes(), MAX_TEXT_BYTES).len();
                status.message.truncate(end);
                put(number, &status.encode_to_vec(), short);
            }
        }
        _ if value.len() <= MAX_ID_BYTES => short.extend_from_slice(whole),
        _ => {}
    }
}

/// An attribute with as much of its text as there is room for; of other kinds nothing.
fn cut_attribute(attribute: &[u8], room: usize) -> Option<Vec<u8>> {
    // What is not a text may take up very much when it is decoded.
    if field_bytes(ATTRIBUTES, attribute) > 2 * attribute.len() + 1024 {
        return None;
    }
    let mut attribute = KeyValue::decode(attribute).ok()?;
    let room = room.checked_sub(attribute.key.len() + 2 * MIN_TEXT_BYTES)?;
    let Some(Value::StringValue(text)) = &mut attribute.value.as_mut()?.value else { return None };
    let end = cut_text(text.as_bytes(), room).len();
    text.truncate(end);
    (end >= MIN_TEXT_BYTES).then(|| attribute.encode_to_vec())
}

/// At most so many bytes of a text, whole characters.
fn cut_text(text: &[u8], most: usize) -> &[u8] {
    if text.len() <= most {
        return text;
    }
    let is_inside = |at: &usize| text[*at] & 0xc0 == 0x80;
    let end = (0..=most).rev().find(|at| !is_inside(at)).unwrap_or(0);
    &text[..end]
}

fn put(number: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
    use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
    use proptest::prelude::*;

    fn text(key: &str, value: &str) -> KeyValue {
        let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
        KeyValue { key: key.into(), value, ..KeyValue::default() }
    }

    fn span() -> Span {
        Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            parent_span_id: vec![3; 8],
            name: "GET".into(),
            kind: 3,
            start_time_unix_nano: 5,
            end_time_unix_nano: 6,
            attributes: vec![text("first", "1"), text("second", "2")],
            dropped_attributes_count: 1,
            status: Some(Status { code: 2, message: "failed".into() }),
            flags: 0x101,
            ..Span::default()
        }
    }

    fn brought_within(span: &Span) -> Span {
        let encoded = span.encode_to_vec();
        let (short, bytes) = within_limit(&encoded);
        assert!(bytes <= MAX_SPAN_BYTES, "{bytes}");
        let decoded = Span::decode(&*short).unwrap();
        assert!(weight::of_span(&decoded) <= 2 * MAX_SPAN_BYTES, "{}", weight::of_span(&decoded));
        decoded
    }

    #[test]
    fn what_is_short_needs_no_look_before_it_is_decoded() {
        for part in [
            Span { attributes: vec![KeyValue::default()], ..Span::default() },
            Span { events: vec![Event::default()], ..Span::default() },
            Span { links: vec![Link::default()], ..Span::default() },
        ] {
            let part = part.encode_to_vec();
            let Fitted { bytes, is_shortened, .. } = fitted(&part.repeat(SMALL_BYTES / part.len())).unwrap();
            assert!(bytes <= MAX_SPAN_BYTES && !is_shortened, "{bytes}");
        }
    }

    #[test]
    fn an_ordinary_span_is_left_as_it_is() {
        let encoded = span().encode_to_vec();
        let (same, bytes) = within_limit(&encoded);
        assert!(matches!(same, Cow::Borrowed(_)) && *same == *encoded);
        assert!(bytes >= size_of::<Span>() && bytes < 1000);
    }

    #[test]
    fn lim_1_what_is_too_large_is_cut_or_left_out_and_counted_in_the_span() {
        let long = "ü".repeat(200_000);
        let huge = Span { attributes: vec![text("a", "1"), text("long", &long), text("z", "2")], ..span() };
        let short = brought_within(&huge);
        assert_eq!(
            (&short.name, short.status.as_ref(), short.flags),
            (&huge.name, huge.status.as_ref(), 0x101)
        );
        assert_eq!((&short.trace_id, &short.span_id), (&huge.trace_id, &huge.span_id));
        let Some(Value::StringValue(cut)) = &short.attributes[1].value.as_ref().unwrap().value else {
            panic!()
        };
        assert!(cut.len() > 100_000 && long.starts_with(cut.as_str()));
        assert_eq!(short.attributes.len() + short.dropped_attributes_count as usize, 3 + 1);

        let event = Event { name: "e".into(), ..Event::default() };
        let link = Link { trace_id: vec![7; 16], ..Link::default() };
        let many = Span { events: vec![event; 50_000], links: vec![link; 10_000], ..span() };
        let short = brought_within(&many);
        assert_eq!(short.attributes, many.attributes);
        assert!(short.events.len() > 500 && short.links.len() > 100, "{}", short.links.len());
        assert_eq!(short.events.len() + short.dropped_events_count as usize, 50_000);
        assert_eq!(short.links.len() + short.dropped_links_count as usize, 10_000);
        assert_eq!(short.dropped_attributes_count, 1);

        let empty = Span { attributes: vec![KeyValue::default(); 400_000], ..span() };
        assert_eq!(empty.encode_to_vec().len() / 400_000, 2, "two bytes each on the wire");
        assert!(brought_within(&empty).attributes.len() < 4000);
        let values = vec![AnyValue::default(); 400_000];
        let list = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) };
        let nested = KeyValue { value: Some(list), ..text("list", "") };
        assert_eq!(
            brought_within(&Span { attributes: vec![nested, text("a", "1")], ..span() }).attributes.len(),
            1
        );
        assert_eq!(
            brought_within(&Span { name: long.clone(), trace_state: long, ..span() }).name.len(),
            MAX_TEXT_BYTES
        );
    }

    #[test]
    fn p2_a_count_that_cannot_be_right_costs_no_span() {
        let long = text("long", &"x".repeat(MAX_SPAN_BYTES));
        let mut encoded =
            Span { attributes: vec![long; 8], dropped_attributes_count: 0, ..span() }.encode_to_vec();
        encode_key(ATTRIBUTES + 1, WireType::Varint, &mut encoded);
        encode_varint(u64::MAX, &mut encoded);
        let (short, _) = within_limit(&encoded);
        assert_eq!(Span::decode(&*short).unwrap().dropped_attributes_count, u32::MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_shortened_without_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = shortened(&noise);
            let mut bytes = Span { attributes: vec![KeyValue::default(); 10_000], ..span() }.encode_to_vec();
            bytes.extend(noise);
            let (_, bytes) = within_limit(&bytes);
            prop_assert!(bytes <= MAX_SPAN_BYTES);
        }
    }
}
