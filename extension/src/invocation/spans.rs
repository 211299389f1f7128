//! Spans on their way through: open ones, and those that wait for the flush.

use super::Collected;
use super::load::Load;
use super::packed::{Packed, Source};
use super::rank::Rank;
use super::trace_header::{SpanId, TraceId};
use super::{Batch, Origin};
use crate::accounts::{Accounts, Reason};
use crate::ledger::{Charge, Ledger};
use crate::received::Answered;
use crate::received::Connection;
use crate::translate::sdk::SdkDocument;
use opentelemetry_proto::tonic::trace::v1::Span;
use otel_xray_allocator::taken_by;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};

/// What is kept of one trace, decoded. The spans of 500,000 bytes of documents, which is what X-Ray takes of a trace
/// (LIM-2), are less than that.
const MAX_TRACE_BYTES: usize = 2560 * 1024;
/// Open spans that are told of as running at once.
const MAX_TOLD: usize = 500;
/// Sources whose spans may mix.
const MAX_SOURCES: usize = 8;
/// What a span's place takes, where there is room for as many more, and its trace's.
const PLACE_BYTES: usize = 2 * size_of::<Packed>() + 64;
const OPEN_PLACE_BYTES: usize = 2 * size_of::<((TraceId, SpanId), Open)>() + 64;
const DOCUMENT_PLACE_BYTES: usize = 2 * size_of::<(SdkDocument, Charge)>() + 64;

/// A span whose end has not come.
#[derive(Debug)]
pub(super) struct Open {
    packed: Packed,
    pub(super) connection: Connection,
    /// X-Ray has been told that it runs.
    told: bool,
    /// Since when nobody waits for it, and the answer's status.
    answered: Option<(u64, u16)>,
}

/// A span whose end will not come.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) packed: Packed,
    pub(super) answered: Option<(u64, u16)>,
}

impl Open {
    /// The invocation that it was written in.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.packed.request_id()
    }
}

/// The spans held in memory, bounded in bytes.
#[derive(Debug)]
pub(super) struct Store {
    open: BTreeMap<(TraceId, SpanId), Open>,
    complete: VecDeque<Packed>,
    documents: VecDeque<(SdkDocument, Charge)>,
    /// What is held of each trace, decoded.
    traces: HashMap<Option<TraceId>, usize>,
    sources: VecDeque<Weak<Source>>,
    /// Of all that is held here, and of the documents in it.
    bytes: usize,
    document_bytes: usize,
    ledger: Ledger,
    keeps_whole_traces: bool,
    pub(super) accounts: Accounts,
}

impl Store {
    /// `keeps_whole_traces` says that something takes more of a trace than X-Ray does.
    pub(super) fn new(ledger: Ledger, keeps_whole_traces: bool) -> Self {
        Self {
            open: BTreeMap::new(),
            complete: VecDeque::new(),
            documents: VecDeque::new(),
            traces: HashMap::new(),
            sources: VecDeque::new(),
            bytes: 0,
            document_bytes: 0,
            ledger,
            keeps_whole_traces,
            accounts: Accounts::default(),
        }
    }

    /// Keeps an open span until its end comes.
    pub(super) fn start(&mut self, connection: Connection, collected: &Collected) {
        let Some(key) = key(&collected.span) else {
            self.accounts.receive_and_drop(Reason::InvalidId, 1);
            return;
        };
        self.accounts.receive(1);
        if let Some(earlier) = self.open.remove(&key) {
            self.forget(&earlier.packed);
            self.accounts.drop(Reason::Duplicate, 1);
        }
        // It may be what is waited for.
        let rank = Rank::of(&collected.span).max(Rank::Failed);
        if let Some(packed) = self.admit(collected, rank, OPEN_PLACE_BYTES) {
            self.open.insert(key, Open { packed, connection, told: false, answered: None });
            self.make_room();
            if self.bytes > self.room()
                && let Some(newest) = self.open.remove(&key)
            {
                self.forget(&newest.packed);
                self.accounts.drop(Reason::BufferFull, 1);
            }
        }
    }

    /// Whether somebody waits for an open span.
    pub(super) fn answered(&mut self, answered: &Answered) {
        let key = TraceId::from_bytes(&answered.trace_id).zip(SpanId::from_bytes(&answered.span_id));
        if let Some(open) = key.and_then(|key| self.open.get_mut(&key)) {
            open.answered = (answered.at_unix_nano > 0).then_some((answered.at_unix_nano, answered.status));
        }
    }

    /// Takes a complete span. A span that was open is the same span, received once.
    pub(super) fn end(&mut self, collected: &Collected) {
        let Some(key) = key(&collected.span) else {
            self.accounts.receive_and_drop(Reason::InvalidId, 1);
            return;
        };
        match self.open.remove(&key) {
            Some(opened) => self.forget(&opened.packed),
            None => self.accounts.receive(1),
        }
        self.complete_one(collected, Rank::of(&collected.span));
    }

    /// Takes a document of an X-Ray SDK.
    pub(super) fn keep_document(&mut self, document: SdkDocument) {
        self.accounts.receive(document.spans());
        let rank = match (document.is_segment(), document.has_failed()) {
            (true, _) => Rank::Top,
            (false, true) => Rank::Failed,
            (false, false) => Rank::Local,
        };
        if !self.has_room_in_trace(Some(document.trace_id), document.bytes(), rank) {
            self.accounts.drop(Reason::TraceBudget, document.spans());
            return;
        }
        *self.traces.entry(Some(document.trace_id)).or_default() += document.bytes();
        let charge = self.ledger.charge(taken_by(document.heap_bytes()) + DOCUMENT_PLACE_BYTES);
        self.bytes += charge.bytes();
        self.document_bytes += charge.bytes();
        self.documents.push_back((document, charge));
        self.make_room();
    }

    fn complete_one(&mut self, collected: &Collected, rank: Rank) {
        if let Some(packed) = self.admit(collected, rank, PLACE_BYTES) {
            self.complete.push_back(packed);
            self.make_room();
        }
    }

    /// The span as it is held, where its trace has room for it.
    fn admit(&mut self, collected: &Collected, rank: Rank, place_bytes: usize) -> Option<Packed> {
        let trace_id = TraceId::from_bytes(&collected.span.trace_id);
        if !self.has_room_in_trace(trace_id, 0, rank) {
            self.accounts.drop(Reason::TraceBudget, 1);
            return None;
        }
        let source = self.source(&collected.origin);
        let packed = Packed::pack(collected, &source, place_bytes, &self.ledger);
        *self.traces.entry(trace_id).or_default() += packed.decoded_bytes();
        self.bytes += packed.bytes();
        Some(packed)
    }

    fn has_room_in_trace(&self, trace_id: Option<TraceId>, bytes: usize, rank: Rank) -> bool {
        let held = self.traces.get(&trace_id).copied().unwrap_or_default();
        self.keeps_whole_traces || held + bytes < MAX_TRACE_BYTES / 100 * rank.share_percent()
    }

    /// The origin itself, or the same one where that is held already.
    pub(super) fn same_origin(&self, origin: Arc<Origin>) -> Arc<Origin> {
        let same = self.sources.iter().rev().filter_map(Weak::upgrade).find(|source| source.origin == origin);
        same.map_or(origin, |source| Arc::clone(&source.origin))
    }

    /// The source of an origin, one for all spans that share it.
    fn source(&mut self, origin: &Arc<Origin>) -> Arc<Source> {
        let is_same = |source: &Arc<Source>| Arc::ptr_eq(&source.origin, origin);
        let known = self.sources.iter().rev().filter_map(Weak::upgrade).find(is_same);
        known.unwrap_or_else(|| {
            let source = Arc::new(Source::new(origin, &self.ledger));
            if self.sources.len() >= MAX_SOURCES {
                self.sources.pop_front();
            }
            self.sources.push_back(Arc::downgrade(&source));
            source
        })
    }

    fn room(&self) -> usize {
        self.ledger.room_for(self.bytes)
    }

    /// The oldest goes, of spans or of documents, whichever take up more: a flood of the one costs nothing of the other.
    /// Open spans stay: their invocation is under way.
    fn make_room(&mut self) {
        while self.bytes > self.room() {
            let is_documents_turn = self.complete.is_empty() || self.document_bytes > self.bytes / 2;
            if is_documents_turn && let Some((document, charge)) = self.documents.pop_front() {
                self.forget_document(&document, &charge);
                self.accounts.drop(Reason::BufferFull, document.spans());
            } else if let Some(packed) = self.complete.pop_front() {
                self.forget(&packed);
                self.accounts.drop(Reason::BufferFull, 1);
            } else {
                return;
            }
        }
    }

    /// It is not held here any more.
    fn forget(&mut self, packed: &Packed) {
        self.forget_bytes(packed.bytes(), packed.head().trace_id, packed.decoded_bytes());
    }

    fn forget_document(&mut self, document: &SdkDocument, charge: &Charge) {
        self.document_bytes -= charge.bytes();
        self.forget_bytes(charge.bytes(), Some(document.trace_id), document.bytes());
    }

    fn forget_bytes(&mut self, bytes: usize, trace_id: Option<TraceId>, decoded_bytes: usize) {
        self.bytes -= bytes;
        if let Some(held) = self.traces.get_mut(&trace_id) {
            *held = held.saturating_sub(decoded_bytes);
            if *held == 0 {
                self.traces.remove(&trace_id);
            }
        }
    }

    /// Takes a span that was made here, to speak for one that never came.
    pub(super) fn add(&mut self, collected: &Collected) {
        self.accounts.receive(1);
        self.complete_one(collected, Rank::Top);
    }

    /// Takes out the open spans for which `is_closed` holds. Each must come back by [`Store::closed`].
    pub(super) fn take_open(&mut self, is_closed: impl Fn(&Open) -> bool) -> Vec<Left> {
        let keys: Vec<_> =
            self.open.iter().filter(|(_, open)| is_closed(open)).map(|(key, _)| *key).collect();
        let open = keys.iter().filter_map(|key| self.open.remove(key));
        let taken: Vec<Left> = open.map(|Open { packed, answered, .. }| Left { packed, answered }).collect();
        for left in &taken {
            self.forget(&left.packed);
        }
        taken
    }

    /// Takes back a span that was open, now complete; nothing where it could not be read again.
    pub(super) fn closed(&mut self, collected: Option<&Collected>) {
        match collected {
            Some(collected) => self.complete_one(collected, Rank::of(&collected.span)),
            None => self.accounts.drop(Reason::Unreadable, 1),
        }
    }

    /// Copies of the open spans that began before `before_unix_nano` and have not been told of (DOC-2: once each).
    pub(super) fn untold(&mut self, before_unix_nano: u64, frame: Batch) -> Option<Load> {
        let ledger = &self.ledger;
        let is_old = |open: &&mut Open| !open.told && open.packed.head().start_unix_nano <= before_unix_nano;
        let told = self.open.values_mut().filter(is_old).take(MAX_TOLD).map(|open| {
            open.told = true;
            open.packed.copy(ledger)
        });
        let told: Vec<Packed> = told.collect();
        (!told.is_empty()).then(|| Load::new(told, VecDeque::new(), frame, self.keeps_whole_traces))
    }

    /// Takes the documents, and the complete spans but those for which `waits` holds.
    pub(super) fn take(&mut self, waits: impl Fn(&Packed) -> bool, frame: Batch) -> Load {
        let mut taken = Vec::with_capacity(self.complete.len());
        for packed in std::mem::take(&mut self.complete) {
            if waits(&packed) {
                self.complete.push_back(packed);
            } else {
                self.forget(&packed);
                taken.push(packed);
            }
        }
        let documents = std::mem::take(&mut self.documents);
        for (document, charge) in &documents {
            self.forget_document(document, charge);
        }
        self.traces.shrink_to_fit();
        Load::new(taken, documents, frame, self.keeps_whole_traces)
    }

    /// In order.
    pub(super) fn open_ids(&self) -> Vec<(TraceId, SpanId)> {
        self.open.keys().copied().collect()
    }

    /// Whether there is something to take for which `waits` does not hold.
    pub(super) fn has_complete(&self, waits: impl Fn(&Packed) -> bool) -> bool {
        !self.documents.is_empty() || self.complete.iter().any(|packed| !waits(packed))
    }

    /// Spans in memory, open and complete.
    pub(super) fn held(&self) -> usize {
        let in_documents = self.documents.iter().map(|(document, _)| document.spans()).sum::<u64>();
        self.open.len() + self.complete.len() + usize::try_from(in_documents).unwrap_or(usize::MAX)
    }
}

fn key(span: &Span) -> Option<(TraceId, SpanId)> {
    Some((TraceId::from_bytes(&span.trace_id)?, SpanId::from_bytes(&span.span_id)?))
}

#[cfg(test)]
mod tests;
