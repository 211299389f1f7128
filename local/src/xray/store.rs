//! The documents, kept by trace, in whatever order they come.

use super::document::{Accepted, Rejection, validate};
use super::trace::Trace;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What X-Ray keeps of one trace (LIM-2).
const MAX_TRACE_BYTES: usize = 500_000;
/// Traces kept; past that the oldest goes.
const MAX_TRACES: usize = 10_000;

/// One entry of `UnprocessedTraceSegments`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unprocessed {
    pub id: Option<String>,
    pub code: String,
    pub message: String,
}

impl From<Rejection> for Unprocessed {
    fn from(rejection: Rejection) -> Self {
        Self { id: rejection.id, code: rejection.code.to_owned(), message: rejection.message }
    }
}

#[derive(Debug, Default)]
struct Inner {
    traces: HashMap<String, Vec<Accepted>>,
    order: VecDeque<String>,
    /// Finished documents that came a second time (DOC-3).
    duplicates: usize,
}

/// A handle to the one store.
#[derive(Debug, Clone, Default)]
pub struct Store(Arc<Mutex<Inner>>);

impl Store {
    /// Takes documents one by one; what is refused is returned.
    pub fn put_documents(&self, documents: Vec<String>) -> Vec<Unprocessed> {
        documents
            .into_iter()
            .filter_map(|document| self.put(&document).err())
            .map(Unprocessed::from)
            .collect()
    }

    /// Every trace, in the order in which they were first heard of.
    pub fn traces(&self) -> Vec<Trace> {
        let inner = self.lock();
        inner.order.iter().filter_map(|id| Some(Trace::assemble(id, inner.traces.get(id)?))).collect()
    }

    pub fn trace(&self, id: &str) -> Option<Trace> {
        self.lock().traces.get(id).map(|documents| Trace::assemble(id, documents))
    }

    /// Every document, traces in order.
    pub fn documents(&self) -> Vec<Accepted> {
        let inner = self.lock();
        inner.order.iter().filter_map(|id| inner.traces.get(id)).flatten().cloned().collect()
    }

    /// How many finished documents came a second time.
    pub fn duplicates(&self) -> usize {
        self.lock().duplicates
    }

    fn put(&self, text: &str) -> Result<(), Rejection> {
        let document = validate(text)?;
        let mut inner = self.lock();
        let id = document.trace_id.to_lowercase();
        if !inner.traces.contains_key(&id) {
            if inner.order.len() == MAX_TRACES
                && let Some(oldest) = inner.order.pop_front()
            {
                inner.traces.remove(&oldest);
            }
            inner.order.push_back(id.clone());
        }
        let mut duplicate = false;
        let documents = inner.traces.entry(id).or_default();
        let others: usize =
            documents.iter().filter(|other| other.id != document.id).map(|other| other.bytes).sum();
        if others + document.bytes > MAX_TRACE_BYTES {
            let message =
                format!("Trace Size Exceeded: a trace holds at most {MAX_TRACE_BYTES} bytes (LIM-2)");
            return Err(Rejection { id: Some(document.id), code: "InvalidSegment", message });
        }
        match documents.iter_mut().find(|earlier| earlier.id == document.id) {
            // A final document replaces the one in progress, whichever comes first (DOC-2).
            Some(earlier) if earlier.in_progress => *earlier = document,
            Some(_) if document.in_progress => {}
            Some(earlier) => {
                duplicate = true;
                *earlier = document;
            }
            None => documents.push(document),
        }
        inner.duplicates += usize::from(duplicate);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const TRACE: &str = "1-581cf771-a006649127e371903a2de979";

    fn document(id: u64, parent: Option<u64>) -> String {
        let mut document = json!({"name": format!("n{id}"), "id": format!("{id:016x}"), "trace_id": TRACE,
            "start_time": id, "end_time": id + 1});
        if let Some(parent) = parent {
            document["type"] = json!("subsegment");
            document["parent_id"] = json!(format!("{parent:016x}"));
        }
        document.to_string()
    }

    #[test]
    fn doc_2_a_final_document_replaces_one_in_progress_in_either_order() {
        let running = json!({"name": "n", "id": "0000000000000001", "trace_id": TRACE, "start_time": 1, "in_progress": true});
        for order in [[running.to_string(), document(1, None)], [document(1, None), running.to_string()]] {
            let store = Store::default();
            assert_eq!(store.put_documents(order.to_vec()), []);
            assert!(!store.documents()[0].in_progress);
            assert_eq!(store.duplicates(), 0);
        }
    }

    #[test]
    fn doc_3_lim_2_duplicates_are_noticed_and_the_size_of_a_trace_is_limited() {
        let store = Store::default();
        store.put_documents(vec![document(1, None), document(1, None)]);
        assert_eq!((store.documents().len(), store.duplicates()), (1, 1));
        let large = |id: u64| {
            json!({"name": "n", "id": format!("{id:016x}"), "trace_id": TRACE, "start_time": 1, "end_time": 2,
                   "metadata": {"default": {"x": "y".repeat(60_000)}}})
            .to_string()
        };
        let refused = store.put_documents((10..20).map(large).collect());
        assert_eq!(refused.len(), 2);
        assert!(refused[0].message.starts_with("Trace Size Exceeded"));
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(order in Just((1..8_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let parent = |id| if id == 1 { None } else { Some(id / 2) };
            let sorted = Store::default();
            sorted.put_documents((1..8).map(|id| document(id, parent(id))).collect());
            let shuffled = Store::default();
            shuffled.put_documents(order.into_iter().map(|id| document(id, parent(id))).collect());
            prop_assert_eq!(sorted.trace(TRACE), shuffled.trace(TRACE));
        }
    }
}
