//! A span as it is held: its bytes on the wire, which are a fraction of what it takes up when it is decoded.

use super::{Collected, Origin};
use crate::ledger::{Charge, Ledger};
use crate::translate::weight;
use crate::translate::wire;
pub(super) use crate::translate::wire::Head;
use otel_xray_allocator::taken_by;
use std::sync::Arc;

/// Where spans come from, counted once for all of them.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) origin: Arc<Origin>,
    _charge: Charge,
}

impl Source {
    pub(super) fn new(origin: &Arc<Origin>, ledger: &Ledger) -> Self {
        let bytes = size_of::<Self>() + weight::of_origin(&origin.resource, origin.scope.as_ref());
        Self { origin: Arc::clone(origin), _charge: ledger.charge(bytes) }
    }
}

/// A span that is held.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Box<[u8]>,
    source: Arc<Source>,
    request_id: Option<Arc<str>>,
    /// What it takes up when it is decoded.
    decoded_bytes: u32,
    charge: Charge,
}

impl Packed {
    /// `place_bytes` is what the place takes in which it is kept.
    pub(super) fn pack(
        collected: &Collected,
        source: &Arc<Source>,
        place_bytes: usize,
        ledger: &Ledger,
    ) -> Self {
        let bytes = wire::encode(&collected.span);
        Self {
            decoded_bytes: u32::try_from(weight::of_span(&collected.span)).unwrap_or(u32::MAX),
            charge: ledger.charge(taken_by(bytes.len()) + place_bytes),
            bytes,
            source: Arc::clone(source),
            request_id: collected.request_id.clone(),
        }
    }

    /// What [`Packed::pack`] was given. `None` if that can't be read again, for example because it is nested too deep.
    pub(super) fn unpack(&self) -> Option<Collected> {
        let span = wire::decode(&self.bytes).ok()?;
        Some(Collected {
            span: Box::new(span),
            origin: Arc::clone(&self.source.origin),
            request_id: self.request_id.clone(),
        })
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    pub(super) fn decoded_bytes(&self) -> usize {
        self.decoded_bytes as usize
    }

    /// What it takes as it is held.
    pub(super) fn bytes(&self) -> usize {
        self.charge.bytes()
    }

    pub(super) fn head(&self) -> Head {
        wire::head(&self.bytes)
    }

    /// Another one of the same, which is counted by itself.
    pub(super) fn copy(&self, ledger: &Ledger) -> Self {
        Self {
            bytes: self.bytes.clone(),
            source: Arc::clone(&self.source),
            request_id: self.request_id.clone(),
            decoded_bytes: self.decoded_bytes,
            charge: ledger.charge(self.charge.bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace_header::SpanId;
    use super::*;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
    use prost::Message as _;

    #[test]
    fn a_span_comes_out_as_it_went_in_and_is_counted_while_it_is_held() {
        let ledger = Ledger::new(1000);
        let span = Span {
            trace_id: vec![7; 16],
            span_id: vec![1; 8],
            parent_span_id: vec![2; 8],
            name: "GET".into(),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: 5,
            end_time_unix_nano: 9,
            flags: 0x101,
            events: vec![Event::default()],
            ..Span::default()
        };
        let collected = Collected {
            span: Box::new(span.clone()),
            origin: Arc::default(),
            request_id: Some(Arc::from("r")),
        };
        let source = Arc::new(Source::new(&collected.origin, &ledger));
        let of_source = ledger.held_bytes();
        let packed = Packed::pack(&collected, &source, 100, &ledger);
        assert!(packed.bytes() >= 100 + span.encoded_len() && packed.decoded_bytes() > packed.bytes());
        assert_eq!(ledger.held_bytes(), of_source + packed.bytes());
        assert_eq!(packed.head().id, SpanId::from_bytes(&[1; 8]));
        let copy = packed.copy(&ledger);
        assert_eq!(ledger.held_bytes(), of_source + 2 * packed.bytes());
        for one in [packed, copy] {
            let unpacked = one.unpack().unwrap();
            assert_eq!((*unpacked.span, unpacked.request_id.as_deref()), (span.clone(), Some("r")));
        }
        drop(source);
        assert_eq!(ledger.held_bytes(), 0);
    }
}
