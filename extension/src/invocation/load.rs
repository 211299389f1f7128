//! What leaves in one flush, handed out in portions: the whole of it is decoded nowhere.

use super::packed::{Packed, Source};
use super::{Batch, Invocation};
use crate::accounts::{Accounts, Reason};
use crate::ledger::{Charge, Ledger};
use crate::translate::sdk::SdkDocument;
use std::collections::VecDeque;
use std::sync::Arc;

/// Spans of a portion, and what they may take up when they are decoded. A trace stays whole: what is kept of one is
/// bounded by itself.
const PORTION_SPANS: usize = 512;
const PORTION_BYTES: usize = 1024 * 1024;
/// Documents of X-Ray SDKs in a portion, in bytes.
const PORTION_DOCUMENT_BYTES: usize = 256 * 1024;

/// The spans and documents of a flush.
#[derive(Debug, Default)]
pub struct Load {
    spans: VecDeque<Packed>,
    /// How many spans go together, from the first on.
    groups: VecDeque<usize>,
    documents: VecDeque<(SdkDocument, Charge)>,
    /// The portion that was handed out last, and what holds for all of them.
    portion: Batch,
    total_spans: u64,
    accounts: Accounts,
}

impl Load {
    /// `frame` is a batch with nothing in it yet. Traces are torn apart where nothing looks at whole ones.
    pub(super) fn new(
        mut spans: Vec<Packed>,
        documents: VecDeque<(SdkDocument, Charge)>,
        frame: Batch,
        tears_traces: bool,
    ) -> Self {
        let decoded_bytes: usize = spans.iter().map(Packed::decoded_bytes).sum();
        let is_small = spans.len() <= PORTION_SPANS && decoded_bytes <= PORTION_BYTES;
        let groups = if is_small {
            // What preceded an invocation may be told when all of its spans have left.
            let is_told_late = documents.is_empty() && frame.invocations.iter().any(is_initialised);
            VecDeque::from_iter((!spans.is_empty() || is_told_late).then_some(spans.len()))
        } else {
            if !tears_traces {
                // Stable: of a trace, what came first stays first.
                spans.sort_by_cached_key(|packed| packed.head().trace_id);
            }
            groups(&spans, tears_traces)
        };
        let in_documents = documents.iter().map(|(document, _)| document.spans()).sum::<u64>();
        Self {
            total_spans: spans.len() as u64 + in_documents,
            portion: Batch { is_part: !is_small, ..frame },
            spans: spans.into(),
            groups,
            documents,
            accounts: Accounts::default(),
        }
    }

    /// A batch that no machine has held.
    pub fn of(mut batch: Batch) -> Self {
        let ledger = Ledger::new(usize::MAX);
        let pack = |collected| {
            Packed::pack(&collected, &Arc::new(Source::new(&collected.origin, &ledger)), 0, &ledger)
        };
        let spans = std::mem::take(&mut batch.spans).into_iter().map(pack).collect();
        let documents = std::mem::take(&mut batch.sdk_documents);
        let documents = documents.into_iter().map(|document| (document, ledger.charge(0))).collect();
        Self::new(spans, documents, batch, false)
    }

    /// Spans that were in it at the beginning, those of documents included.
    pub fn total_spans(&self) -> u64 {
        self.total_spans
    }

    pub fn is_progress(&self) -> bool {
        self.portion.is_progress
    }

    /// The documents of X-Ray SDKs that have not been handed out.
    pub fn documents(&self) -> impl Iterator<Item = &SdkDocument> {
        self.documents.iter().map(|(document, _)| document)
    }

    /// The next portion; the one before is gone then. Spans come before documents.
    pub fn next_portion(&mut self) -> Option<&mut Batch> {
        self.portion.spans.clear();
        self.portion.sdk_documents.clear();
        if let Some(group) = self.groups.pop_front() {
            for packed in self.spans.drain(..group.min(self.spans.len())) {
                match packed.unpack() {
                    Some(collected) => self.portion.spans.push(collected),
                    None => self.accounts.drop(Reason::Unreadable, 1),
                }
            }
            return Some(&mut self.portion);
        }
        let mut bytes = 0;
        while let Some((document, _)) = self.documents.front()
            && (bytes == 0 || bytes + document.bytes() <= PORTION_DOCUMENT_BYTES)
        {
            bytes += document.bytes();
            self.portion.sdk_documents.extend(self.documents.pop_front().map(|(document, _)| document));
        }
        (bytes > 0).then_some(&mut self.portion)
    }

    /// What could not be handed out.
    pub fn take_accounts(&mut self) -> Accounts {
        std::mem::take(&mut self.accounts)
    }

    /// All portions as one, for whoever looks at small ones: an outlet never holds so much.
    pub fn whole(mut self) -> Batch {
        let mut whole = Batch { is_part: false, ..self.portion.clone() };
        while let Some(portion) = self.next_portion() {
            whole.spans.extend(portion.spans.iter().cloned());
            whole.sdk_documents.extend(portion.sdk_documents.iter().cloned());
        }
        whole
    }
}

fn is_initialised(invocation: &Invocation) -> bool {
    invocation.initialisation.is_some()
}

/// How many spans go together.
fn groups(spans: &[Packed], tears_traces: bool) -> VecDeque<usize> {
    let mut groups: VecDeque<usize> = VecDeque::new();
    let mut bytes_of_last = usize::MAX;
    let is_one_trace =
        |one: &Packed, next: &Packed| !tears_traces && one.head().trace_id == next.head().trace_id;
    for trace in spans.chunk_by(is_one_trace) {
        let bytes: usize = trace.iter().map(Packed::decoded_bytes).sum();
        let fits = bytes_of_last.saturating_add(bytes) <= PORTION_BYTES;
        if let Some(last) = groups.back_mut().filter(|last| fits && **last + trace.len() <= PORTION_SPANS) {
            *last += trace.len();
            bytes_of_last += bytes;
        } else {
            groups.push_back(trace.len());
            bytes_of_last = bytes;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::super::{Collected, Initialisation};
    use super::*;
    use opentelemetry_proto::tonic::trace::v1::Span;

    fn batch(spans: usize, of_a_trace: usize, name_bytes: usize) -> Batch {
        let collected = |number: usize| Collected {
            span: Box::new(Span {
                trace_id: (number % (spans / of_a_trace) + 1).to_be_bytes().repeat(2),
                span_id: (number + 1).to_be_bytes().to_vec(),
                name: "n".repeat(name_bytes),
                ..Span::default()
            }),
            origin: Arc::default(),
            request_id: None,
        };
        Batch { spans: (0..spans).map(collected).collect(), ..Batch::default() }
    }

    fn portions(mut load: Load) -> Vec<Vec<Collected>> {
        std::iter::from_fn(|| Some(load.next_portion()?.spans.clone())).collect()
    }

    fn decoded_bytes(portion: &[Collected]) -> usize {
        portion.iter().map(|one| crate::translate::weight::of_span(&one.span)).sum()
    }

    #[test]
    fn few_spans_are_one_portion_in_their_order() {
        let given = batch(500, 10, 10);
        let ids = |spans: &[Collected]| spans.iter().map(|one| one.span.span_id.clone()).collect::<Vec<_>>();
        let expected = ids(&given.spans);
        let mut load = Load::of(given);
        assert_eq!(load.total_spans(), 500);
        let portion = load.next_portion().unwrap();
        assert!(!portion.is_part);
        assert_eq!(ids(&portion.spans), expected);
        assert!(load.next_portion().is_none());
        assert!(Load::default().next_portion().is_none());
    }

    #[test]
    fn l_8_23_an_initialisation_that_is_told_late_is_a_portion_of_its_own() {
        let restored = Initialisation {
            name: "Restore",
            kind: "snap-start".to_owned(),
            start_unix_nano: 1,
            end_unix_nano: 2,
            was_ahead: false,
        };
        let waited = Invocation { initialisation: Some(restored), ..Invocation::default() };
        let mut load = Load::of(Batch { invocations: vec![waited], ..Batch::default() });
        assert_eq!(load.total_spans(), 0);
        assert_eq!(load.next_portion().map(|portion| portion.invocations.len()), Some(1));
        assert!(load.next_portion().is_none());
        let mut load = Load::of(Batch { invocations: vec![Invocation::default()], ..Batch::default() });
        assert!(load.next_portion().is_none(), "nothing to tell");
    }

    #[test]
    fn many_spans_are_portions_of_whole_traces_none_of_which_is_large() {
        for (spans, of_a_trace, name_bytes) in [(5000, 10, 10), (400, 4, 20_000), (2000, 1000, 10)] {
            let portions = portions(Load::of(batch(spans, of_a_trace, name_bytes)));
            assert_eq!(portions.iter().map(Vec::len).sum::<usize>(), spans);
            assert!(portions.len() > 1);
            let mut seen = std::collections::HashSet::new();
            for portion in &portions {
                let traces: std::collections::HashSet<_> =
                    portion.iter().map(|one| one.span.trace_id.clone()).collect();
                assert_eq!(portion.len(), traces.len() * of_a_trace, "whole traces");
                assert!(traces.len() == 1 || portion.len() <= PORTION_SPANS);
                assert!(traces.len() == 1 || decoded_bytes(portion) <= PORTION_BYTES);
                assert!(traces.into_iter().all(|trace| seen.insert(trace)));
            }
        }
    }
}
