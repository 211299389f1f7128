//! What later flushes need to know of earlier ones: how much of each trace has left, and under which ids.

use crate::trace_header::{SpanId, TraceId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;

/// Traces remembered between flushes.
const MAX_TRACES: usize = 64;
/// The same between the parts of a flush.
const MAX_TRACES_WITHIN: usize = 1024;
/// Ids remembered of one trace; past that every parent counts as known.
const MAX_IDS: usize = 2000;
/// Ids remembered of all of them between flushes.
const MAX_IDS_OF_ALL: usize = 8000;

/// Annotations X-Ray indexes of one trace (ANN-3).
pub(crate) const MAX_ANNOTATIONS: usize = 50;
/// Links that count, of one trace (LNK-1).
pub(crate) const MAX_LINKS: usize = 100;

/// What has left of one trace.
#[derive(Debug, Default)]
pub(crate) struct TraceState {
    /// Bytes of documents.
    pub(crate) bytes: usize,
    /// Annotations of the newest invocation in this trace.
    pub(crate) annotations: usize,
    /// Explicit annotations of this flush that have not been composed yet (BET-27).
    pub(crate) explicit_to_come: usize,
    pub(crate) links: usize,
    /// The function's segment.
    pub(crate) top: Option<SpanId>,
    /// The initialisation before it has been told.
    pub(crate) told_initialisation: bool,
    /// Lambda's trace, where this one was made a part of it (row 12).
    pub(crate) adopted_by: Option<(TraceId, SpanId)>,
    /// Another invocation does not begin a new count.
    keeps_count: bool,
    invocation: Option<String>,
    sent: FxHashSet<SpanId>,
    forgets: bool,
}

impl TraceState {
    /// The state of a trace that has room for so many labels and no more.
    pub(crate) fn with_room_for(annotations: usize, links: usize) -> Self {
        Self {
            annotations: MAX_ANNOTATIONS.saturating_sub(annotations),
            links: MAX_LINKS.saturating_sub(links),
            keeps_count: true,
            ..Self::default()
        }
    }

    /// Whether a span with that id has left, or may have.
    pub(crate) fn may_have_sent(&self, id: SpanId) -> bool {
        self.forgets || self.sent.contains(&id)
    }

    pub(crate) fn note_sent(&mut self, id: SpanId) {
        if self.sent.len() < MAX_IDS {
            self.sent.insert(id);
        } else {
            self.forgets = true;
        }
    }

    fn forget_ids(&mut self) {
        self.sent = FxHashSet::default();
        self.forgets = true;
    }

    /// It did not leave after all.
    pub(crate) fn forget_sent(&mut self, id: SpanId) {
        self.sent.remove(&id);
    }

    /// A new invocation in the same trace has annotations of its own (BET-27).
    pub(crate) fn begin_invocation(&mut self, request_id: &str) {
        if !self.keeps_count && self.invocation.as_deref() != Some(request_id) {
            self.invocation = Some(request_id.to_owned());
            self.annotations = 0;
        }
    }

    /// How many more explicit annotations fit.
    pub(crate) fn room_for_explicit(&self) -> usize {
        MAX_ANNOTATIONS.saturating_sub(self.annotations)
    }

    /// How many more automatic ones fit: what explicit ones will need is theirs.
    pub(crate) fn room_for_automatic(&self) -> usize {
        MAX_ANNOTATIONS.saturating_sub(self.annotations + self.explicit_to_come)
    }
}

/// The traces of late, newest last.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    traces: FxHashMap<TraceId, TraceState>,
    order: VecDeque<TraceId>,
}

impl Memory {
    pub(crate) fn trace(&mut self, id: TraceId) -> &mut TraceState {
        self.traces.entry(id).or_insert_with(|| {
            self.order.push_back(id);
            TraceState::default()
        })
    }

    pub(crate) fn known(&self, id: TraceId) -> Option<&TraceState> {
        self.traces.get(&id)
    }

    /// Forgets the oldest, between flushes or the parts of one, but those that are needed still.
    pub(crate) fn shrink(&mut self, is_within: bool, is_needed: impl Fn(TraceId) -> bool) {
        let most = if is_within { MAX_TRACES_WITHIN } else { MAX_TRACES };
        for _ in most..self.order.len() {
            let Some(oldest) = self.order.pop_front() else { break };
            if is_needed(oldest) {
                self.order.push_back(oldest);
            } else {
                self.traces.remove(&oldest);
            }
        }
        self.traces.shrink_to(2 * most);
        let mut ids = 0;
        for id in self.order.iter().rev() {
            if let Some(state) = self.traces.get_mut(id) {
                ids += state.sent.len();
                if ids > MAX_IDS_OF_ALL {
                    state.forget_ids();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(byte: u8) -> TraceId {
        TraceId::from_bytes(&[byte; 16]).unwrap()
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes() {
        let mut memory = Memory::default();
        for byte in 1..=200 {
            memory.trace(trace(byte)).bytes = usize::from(byte);
        }
        memory.shrink(true, |_| false);
        assert_eq!(memory.traces.len(), 200);
        memory.shrink(false, |id| id == trace(2));
        assert_eq!(memory.traces.len(), MAX_TRACES + 1);
        assert!(memory.known(trace(1)).is_none() && memory.known(trace(2)).is_some());
        assert_eq!(memory.known(trace(200)).unwrap().bytes, 200);

        let state = memory.trace(trace(200));
        for number in 1..=3000_u64 {
            state.note_sent(SpanId::from_bytes(&number.to_be_bytes()).unwrap());
        }
        assert_eq!(state.sent.len(), MAX_IDS);
        assert!(state.may_have_sent(SpanId::from_bytes(&9999_u64.to_be_bytes()).unwrap()));
    }

    #[test]
    fn the_ids_of_all_traces_are_bounded_and_the_oldest_traces_forget_theirs() {
        let mut memory = Memory::default();
        let id = |number: u64| SpanId::from_bytes(&number.to_be_bytes()).unwrap();
        for byte in 1..=20 {
            (1..=1000).for_each(|number| memory.trace(trace(byte)).note_sent(id(number)));
        }
        memory.shrink(false, |_| false);
        let remembered: usize = memory.traces.values().map(|state| state.sent.len()).sum();
        assert_eq!(remembered, MAX_IDS_OF_ALL);
        assert!(!memory.known(trace(20)).unwrap().may_have_sent(id(9999)));
        assert!(memory.known(trace(1)).unwrap().may_have_sent(id(9999)), "it may have");
    }

    #[test]
    fn bet_27_explicit_annotations_come_before_automatic_ones() {
        let mut state = TraceState { annotations: 10, explicit_to_come: 38, ..TraceState::default() };
        assert_eq!((state.room_for_explicit(), state.room_for_automatic()), (40, 2));
        state.begin_invocation("a");
        assert_eq!(state.annotations, 0);
        state.annotations = 5;
        state.begin_invocation("a");
        assert_eq!(state.annotations, 5);
    }
}
