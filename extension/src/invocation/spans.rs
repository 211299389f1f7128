//! Spans on their way through: open ones, and those that wait for the flush.

use super::Collected;
use super::trace_header::{SpanId, TraceId};
use crate::accounts::{Accounts, Reason};
use crate::receive::Connection;
use crate::translate::sdk::SdkDocument;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::{BTreeMap, VecDeque};

/// A span whose end has not come.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) collected: Collected,
    pub(super) connection: Connection,
    /// X-Ray has been told that it runs.
    told: bool,
    bytes: usize,
}

/// The spans held in memory, bounded in bytes.
#[derive(Debug)]
pub(super) struct Store {
    open: BTreeMap<(TraceId, SpanId), Open>,
    complete: VecDeque<(Collected, usize)>,
    documents: VecDeque<SdkDocument>,
    bytes: usize,
    limit_bytes: usize,
    pub(super) accounts: Accounts,
}

impl Store {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            open: BTreeMap::new(),
            complete: VecDeque::new(),
            documents: VecDeque::new(),
            bytes: 0,
            limit_bytes,
            accounts: Accounts::default(),
        }
    }

    /// Keeps an open span until its end comes.
    pub(super) fn start(&mut self, connection: Connection, collected: Collected) {
        let Some(key) = key(&collected.span) else {
            self.accounts.receive_and_drop(Reason::InvalidId, 1);
            return;
        };
        let bytes = collected.span.encoded_len();
        self.accounts.receive(1);
        self.bytes += bytes;
        if let Some(earlier) = self.open.insert(key, Open { collected, connection, told: false, bytes }) {
            self.bytes -= earlier.bytes;
            self.accounts.drop(Reason::Duplicate, 1);
        }
        self.make_room();
    }

    /// Takes a complete span. A span that was open is the same span, received once.
    pub(super) fn end(&mut self, collected: Collected) {
        let opened = key(&collected.span).and_then(|key| self.open.remove(&key));
        match opened {
            Some(opened) => self.bytes -= opened.bytes,
            None => self.accounts.receive(1),
        }
        self.complete_one(collected);
    }

    /// Takes a document of an X-Ray SDK.
    pub(super) fn keep_document(&mut self, document: SdkDocument) {
        self.accounts.receive(document.spans());
        self.bytes += document.bytes();
        self.documents.push_back(document);
        self.make_room();
    }

    fn complete_one(&mut self, collected: Collected) {
        let bytes = collected.span.encoded_len();
        self.bytes += bytes;
        self.complete.push_back((collected, bytes));
        self.make_room();
    }

    fn make_room(&mut self) {
        while self.bytes > self.limit_bytes {
            let (bytes, spans) = if let Some((_, bytes)) = self.complete.pop_front() {
                (bytes, 1)
            } else if let Some(document) = self.documents.pop_front() {
                (document.bytes(), document.spans())
            } else if let Some((_, open)) = self.open.pop_first() {
                (open.bytes, 1)
            } else {
                return;
            };
            self.bytes -= bytes;
            self.accounts.drop(Reason::BufferFull, spans);
        }
    }

    /// Takes a span that was made here, to speak for one that never came.
    pub(super) fn add(&mut self, collected: Collected) {
        self.accounts.receive(1);
        self.complete_one(collected);
    }

    /// Takes out the open spans for which `is_closed` holds. Each must come back by [`Store::closed`].
    pub(super) fn take_open(&mut self, is_closed: impl Fn(&Open) -> bool) -> Vec<Collected> {
        let keys: Vec<_> =
            self.open.iter().filter(|(_, open)| is_closed(open)).map(|(key, _)| *key).collect();
        let taken: Vec<Open> = keys.iter().filter_map(|key| self.open.remove(key)).collect();
        self.bytes -= taken.iter().map(|open| open.bytes).sum::<usize>();
        taken.into_iter().map(|open| open.collected).collect()
    }

    /// Takes back spans that were open, now complete.
    pub(super) fn closed(&mut self, spans: Vec<Collected>) {
        for span in spans {
            self.complete_one(span);
        }
    }

    /// Copies of the open spans that began before `before_unix_nano` and have not been told of (DOC-2: once each).
    pub(super) fn untold(&mut self, before_unix_nano: u64) -> Vec<Collected> {
        let is_old =
            |open: &&mut Open| !open.told && open.collected.span.start_time_unix_nano <= before_unix_nano;
        let told = self.open.values_mut().filter(is_old).map(|open| {
            open.told = true;
            open.collected.clone()
        });
        told.collect()
    }

    /// Takes the complete spans but those for which `waits` holds.
    pub(super) fn take_complete(&mut self, waits: impl Fn(&Collected) -> bool) -> Vec<Collected> {
        let mut taken = Vec::with_capacity(self.complete.len());
        for (collected, bytes) in std::mem::take(&mut self.complete) {
            if waits(&collected) {
                self.complete.push_back((collected, bytes));
            } else {
                self.bytes -= bytes;
                taken.push(collected);
            }
        }
        taken
    }

    pub(super) fn take_documents(&mut self) -> Vec<SdkDocument> {
        self.bytes -= self.documents.iter().map(SdkDocument::bytes).sum::<usize>();
        std::mem::take(&mut self.documents).into()
    }

    pub(super) fn open_ids(&self) -> Vec<(TraceId, SpanId)> {
        self.open.keys().copied().collect()
    }

    /// Whether there is something to take for which `waits` does not hold.
    pub(super) fn has_complete(&self, waits: impl Fn(&Collected) -> bool) -> bool {
        !self.documents.is_empty() || self.complete.iter().any(|(collected, _)| !waits(collected))
    }

    /// Spans in memory, open and complete.
    pub(super) fn held(&self) -> usize {
        let in_documents = self.documents.iter().map(SdkDocument::spans).sum::<u64>();
        self.open.len() + self.complete.len() + usize::try_from(in_documents).unwrap_or(usize::MAX)
    }
}

fn key(span: &Span) -> Option<(TraceId, SpanId)> {
    Some((TraceId::from_bytes(&span.trace_id)?, SpanId::from_bytes(&span.span_id)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn collected(id: u8, name: &str) -> Collected {
        let span = Span {
            trace_id: vec![7; 16],
            span_id: vec![id; 8],
            name: name.into(),
            start_time_unix_nano: 5,
            ..Span::default()
        };
        Collected { span: Box::new(span), origin: Arc::default(), request_id: None }
    }

    #[test]
    fn a_started_span_is_received_once_and_its_end_replaces_it() {
        let mut store = Store::new(10_000);
        store.start(Connection(0), collected(1, "open"));
        assert!(!store.has_complete(|_| false));
        store.end(collected(1, "whole"));
        assert_eq!(store.take_complete(|_| false)[0].span.name, "whole");
        assert!(store.accounts.balance(1), "handed out, not yet sent");
        assert_eq!((store.held(), store.bytes), (0, 0));
    }

    #[test]
    fn what_waits_stays_and_is_still_accounted_for() {
        let mut store = Store::new(10_000);
        (1..=3).for_each(|id| store.end(collected(id, "span")));
        let waits = |one: &Collected| one.span.span_id[0] != 2;
        assert!(store.has_complete(waits) && !store.has_complete(|_| true));
        assert_eq!(store.take_complete(waits).len(), 1);
        assert!(!store.has_complete(waits) && store.accounts.balance(3));
        assert_eq!(store.take_complete(|_| false).len(), 2);
        assert_eq!((store.held(), store.bytes), (0, 0));
    }

    #[test]
    fn what_is_taken_out_open_comes_back_complete() {
        let mut store = Store::new(10_000);
        store.start(Connection(0), collected(1, "handler"));
        store.start(Connection(1), collected(2, "other"));
        let taken = store.take_open(|open| open.connection == Connection(0));
        assert_eq!((taken.len(), store.held()), (1, 1));
        store.closed(taken);
        assert_eq!(store.take_complete(|_| false)[0].span.name, "handler");
        assert!(store.accounts.balance(2), "one handed out, one open");
    }

    #[test]
    fn doc_2_an_open_span_is_told_of_once() {
        let mut store = Store::new(10_000);
        store.start(Connection(0), collected(1, "handler"));
        assert_eq!(store.untold(4).len(), 0, "it began at 5");
        assert_eq!(store.untold(5).len(), 1);
        assert_eq!(store.untold(9).len(), 0);
        assert_eq!(store.held(), 1, "a copy is no span");
        assert!(store.accounts.balance(1));
    }

    #[test]
    fn memory_is_bounded_the_oldest_goes_and_is_counted() {
        let mut store = Store::new(200);
        for id in 1..=50 {
            store.end(collected(id, "some span"));
        }
        assert!(store.bytes <= 200);
        assert_eq!(store.complete.back().unwrap().0.span.span_id, vec![50; 8]);
        assert!(store.accounts.balance(store.held() as u64));
        assert!(store.accounts.has_losses());
    }
}
