//! Ids of what has none of its own, made of what it belongs to, so that a retry uses the same (BET-10).

use crate::trace_header::{SpanId, TraceId};

/// What an id is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The exception at this place of a span's cause.
    Exception(usize),
    /// The segment around a call that has no segment (BET-12).
    Service,
    /// What came before the first invocation.
    Initialisation,
    /// The metadata that did not fit (xray.md section 14.5).
    Overflow(usize),
    /// What an X-Ray SDK has given no id.
    Anonymous(usize),
}

/// An id that is the same whenever trace, span and purpose are.
pub(crate) fn id(trace_id: TraceId, span_id: SpanId, purpose: Purpose) -> SpanId {
    let (tag, number) = match purpose {
        Purpose::Exception(number) => (b'e', number),
        Purpose::Service => (b's', 0),
        Purpose::Initialisation => (b'i', 0),
        Purpose::Overflow(number) => (b'o', number),
        Purpose::Anonymous(number) => (b'a', number),
    };
    let number = (number as u64).to_le_bytes();
    let bytes = trace_id.as_bytes().iter().chain(span_id.as_bytes()).chain([&tag]).chain(&number);
    // FNV-1a, 64 bit: stable across versions, unlike the standard library's hashers.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // One of 2^64 ids is all zeros, which is none.
    SpanId::from_bytes(&hash.max(1).to_be_bytes()).unwrap_or(span_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn bet_10_the_same_for_the_same_and_different_for_anything_else() {
        let trace = |byte| TraceId::from_bytes(&[byte; 16]).unwrap();
        let span = |byte| SpanId::from_bytes(&[byte; 8]).unwrap();
        let purposes = [
            Purpose::Exception(0),
            Purpose::Exception(1),
            Purpose::Service,
            Purpose::Initialisation,
            Purpose::Overflow(0),
            Purpose::Overflow(1),
            Purpose::Anonymous(0),
        ];
        let ids: HashSet<SpanId> = (1..4)
            .flat_map(|t| (1..4).map(move |s| (t, s)))
            .flat_map(|(t, s)| purposes.map(|purpose| id(trace(t), span(s), purpose)))
            .collect();
        assert_eq!(ids.len(), 3 * 3 * purposes.len());
        assert_eq!(id(trace(1), span(1), Purpose::Service), id(trace(1), span(1), Purpose::Service));
    }
}
