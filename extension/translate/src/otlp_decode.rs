//! OTLP bytes to spans. One span that can't be decoded costs only itself (ID-8, BET-2).

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

/// What an export request holds.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub resource_spans: Vec<ResourceSpans>,
    /// Spans that could not be decoded.
    pub unreadable: u64,
}

/// Decodes an `ExportTraceServiceRequest`. An error says that not even the spans' bounds could be found.
pub fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => Ok(Decoded { resource_spans: request.resource_spans, unreadable: 0 }),
        Err(error) => one_by_one(body).ok_or(error),
    }
}

/// Takes the messages apart level by level, down to those that can't be decoded.
fn one_by_one(request: &[u8]) -> Option<Decoded> {
    let mut decoded = Decoded::default();
    for bytes in fields(request)?.into_iter().filter_map(|(field, bytes)| (field == 1).then_some(bytes)) {
        let (resource_spans, unreadable) = match ResourceSpans::decode(bytes) {
            Ok(whole) => (whole, 0),
            Err(_) => spans_of_resource(bytes)?,
        };
        decoded.resource_spans.push(resource_spans);
        decoded.unreadable += unreadable;
    }
    Some(decoded)
}

fn spans_of_resource(bytes: &[u8]) -> Option<(ResourceSpans, u64)> {
    let mut resource_spans = ResourceSpans::default();
    let mut unreadable = 0;
    for (field, bytes) in fields(bytes)? {
        match field {
            1 => resource_spans.resource = Message::decode(bytes).ok(),
            2 => {
                let (scope_spans, lost) = spans_of_scope(bytes)?;
                resource_spans.scope_spans.push(scope_spans);
                unreadable += lost;
            }
            _ => {}
        }
    }
    Some((resource_spans, unreadable))
}

fn spans_of_scope(bytes: &[u8]) -> Option<(ScopeSpans, u64)> {
    let mut scope_spans = ScopeSpans::default();
    let mut unreadable = 0;
    for (field, bytes) in fields(bytes)? {
        match field {
            1 => scope_spans.scope = Message::decode(bytes).ok(),
            2 => match Span::decode(bytes) {
                Ok(span) => scope_spans.spans.push(span),
                Err(_) => unreadable += 1,
            },
            _ => {}
        }
    }
    Some((scope_spans, unreadable))
}

/// The fields of a message that hold bytes, with their numbers. `None` when it breaks off.
fn fields(mut message: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (number, wire_type) = decode_key(&mut message).ok()?;
        if wire_type == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
            let (bytes, rest) = message.split_at_checked(length)?;
            fields.push((number, bytes));
            message = rest;
        } else {
            skip_field(wire_type, number, &mut message, DecodeContext::default()).ok()?;
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use proptest::prelude::*;

    fn request() -> ExportTraceServiceRequest {
        let span = |name: &str| Span { name: name.into(), span_id: vec![1; 8], ..Span::default() };
        let scope_spans = vec![ScopeSpans {
            spans: vec![span("first"), span("second"), span("third")],
            ..ScopeSpans::default()
        }];
        let resource = Some(Resource { dropped_attributes_count: 7, ..Resource::default() });
        let other = ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span("other")], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }, other],
        }
    }

    fn names(decoded: &Decoded) -> Vec<&str> {
        let scopes = decoded.resource_spans.iter().flat_map(|one| &one.scope_spans);
        scopes.flat_map(|one| &one.spans).map(|span| span.name.as_str()).collect()
    }

    #[test]
    fn id_8_bet_2_invalid_utf_8_costs_only_its_own_span() {
        let mut bytes = request().encode_to_vec();
        let whole = decode(&bytes).unwrap();
        assert_eq!((names(&whole).len(), whole.unreadable), (4, 0));
        let at = bytes.windows(6).position(|window| window == b"second").unwrap();
        bytes[at] = 0xff;
        let decoded = decode(&bytes).unwrap();
        assert_eq!(names(&decoded), ["first", "third", "other"]);
        assert_eq!(decoded.unreadable, 1);
        assert_eq!(decoded.resource_spans[0].resource.as_ref().unwrap().dropped_attributes_count, 7);
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        let bytes = request().encode_to_vec();
        for end in [1, 5, bytes.len() - 1] {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(noise in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
            let _ = decode(&noise);
            let mut bytes = request().encode_to_vec();
            let at = at.index(bytes.len());
            bytes.splice(at..at, noise);
            let _ = decode(&bytes);
        }
    }
}
