//! The documents, kept by trace, in whatever order they come.

use super::trace::{Trace, outranks};
use crate::xray::document::{Accepted, Rejection, validate};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What X-Ray keeps of one trace (LIM-2).
const MAX_TRACE_BYTES: usize = 500_000;
/// What is kept of all traces; past that the oldest goes.
const MAX_TRACES: usize = 10_000;
const MAX_BYTES: usize = 128 * 1024 * 1024;

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

/// The documents of one trace, in the order in which they came.
#[derive(Debug, Default)]
struct Documents {
    list: Vec<Accepted>,
    places: HashMap<String, Place>,
    bytes: usize,
}

#[derive(Debug)]
struct Place {
    index: usize,
    /// A finished document has come, kept or not.
    finished: bool,
}

#[derive(Debug)]
struct Inner {
    traces: HashMap<String, Documents>,
    order: VecDeque<String>,
    bytes: usize,
    duplicates: usize,
    forgotten: usize,
    max_traces: usize,
    max_bytes: usize,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            traces: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            duplicates: 0,
            forgotten: 0,
            max_traces: MAX_TRACES,
            max_bytes: MAX_BYTES,
        }
    }
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
        inner.order.iter().filter_map(|id| Some(Trace::assemble(id, &inner.traces.get(id)?.list))).collect()
    }

    /// The trace of that id, in upper or lower case.
    pub fn trace(&self, id: &str) -> Option<Trace> {
        let id = id.to_lowercase();
        self.lock().traces.get(&id).map(|documents| Trace::assemble(&id, &documents.list))
    }

    /// Every document, traces in order.
    pub fn documents(&self) -> Vec<Accepted> {
        let inner = self.lock();
        inner
            .order
            .iter()
            .filter_map(|id| inner.traces.get(id))
            .flat_map(|trace| trace.list.clone())
            .collect()
    }

    /// The documents of one trace, in the order in which they came.
    pub fn documents_of(&self, trace_id: &str) -> Vec<Accepted> {
        self.lock().traces.get(&trace_id.to_lowercase()).map(|trace| trace.list.clone()).unwrap_or_default()
    }

    /// How many finished documents came after a finished one of the same id (DOC-3, LAM-3).
    pub fn duplicates(&self) -> usize {
        self.lock().duplicates
    }

    /// How many traces had to make room for newer ones.
    pub fn forgotten(&self) -> usize {
        self.lock().forgotten
    }

    fn put(&self, text: &str) -> Result<(), Rejection> {
        let document = validate(text)?;
        self.lock().put(document)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, document: Accepted) -> Result<(), Rejection> {
        let trace_id = document.trace_id.to_lowercase();
        let documents = match self.traces.entry(trace_id.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.order.push_back(trace_id.clone());
                entry.insert(Documents::default())
            }
        };
        let before = documents.bytes;
        self.duplicates += usize::from(documents.put(document)?);
        self.bytes = self.bytes + documents.bytes - before;
        // The trace just written stays, whatever its age.
        while self.order.len() > 1 && (self.order.len() > self.max_traces || self.bytes > self.max_bytes) {
            let oldest = usize::from(self.order[0] == trace_id);
            let gone = self.order.remove(oldest).and_then(|id| self.traces.remove(&id));
            self.bytes -= gone.map_or(0, |documents| documents.bytes);
            self.forgotten += 1;
        }
        Ok(())
    }
}

impl Documents {
    /// Keeps one document of an id. Returns whether it is finished and a finished one was there.
    fn put(&mut self, document: Accepted) -> Result<bool, Rejection> {
        let place = self.places.get_mut(&document.id);
        let replaced = place.as_ref().map_or(0, |place| self.list[place.index].bytes);
        if self.bytes - replaced + document.bytes > MAX_TRACE_BYTES {
            let message =
                format!("Trace Size Exceeded: a trace holds at most {MAX_TRACE_BYTES} bytes (LIM-2)");
            return Err(Rejection { id: Some(document.id), code: "InvalidSegment", message });
        }
        let finished = !document.in_progress;
        let Some(place) = place else {
            self.bytes += document.bytes;
            self.places.insert(document.id.clone(), Place { index: self.list.len(), finished });
            self.list.push(document);
            return Ok(false);
        };
        let repeated = finished && place.finished;
        place.finished |= finished;
        let earlier = &mut self.list[place.index];
        if outranks((document.is_segment, &document.body), (earlier.is_segment, &earlier.body)) {
            self.bytes = self.bytes - earlier.bytes + document.bytes;
            *earlier = document;
        }
        Ok(repeated)
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
    fn doc_3_duplicates_are_noticed_and_lam_3_a_segment_stays() {
        let segment = document(1, None);
        let subsegment = document(1, Some(2));
        for (order, duplicates) in [
            (vec![&segment, &segment], 1),
            (vec![&segment, &segment, &segment], 2),
            (vec![&segment, &subsegment], 1),
            (vec![&subsegment, &segment], 1),
        ] {
            let store = Store::default();
            assert_eq!(store.put_documents(order.iter().map(ToString::to_string).collect()), []);
            assert_eq!(store.duplicates(), duplicates, "{order:?}");
            assert_eq!(store.documents().iter().map(|kept| kept.is_segment).collect::<Vec<_>>(), [true]);
        }
    }

    fn large(trace: &str, id: u64, bytes: usize) -> String {
        json!({"name": "n", "id": format!("{id:016x}"), "trace_id": trace, "start_time": 1, "end_time": 2,
               "metadata": {"default": {"x": "y".repeat(bytes)}}})
        .to_string()
    }

    #[test]
    fn lim_2_the_size_of_a_trace_is_limited() {
        let store = Store::default();
        let refused = store.put_documents((1..=10).map(|id| large(TRACE, id, 60_000)).collect());
        assert_eq!(refused.len(), 2);
        assert_eq!(
            (refused[0].code.as_str(), refused[0].id.as_deref()),
            ("InvalidSegment", Some("0000000000000009"))
        );
        assert!(refused[0].message.starts_with("Trace Size Exceeded"));
        // A smaller document in place of a larger one makes room.
        assert_eq!(store.put_documents(vec![large(TRACE, 1, 60_001)]), []);
        assert_eq!(store.put_documents(vec![document(11, None)]), []);
        assert_eq!(store.put_documents(vec![large(TRACE, 12, 30_000)]).len(), 1);
    }

    #[test]
    fn the_oldest_traces_make_room() {
        let trace = |number: u64| format!("1-00000000-{number:024x}");
        let store = Store::default();
        store.lock().max_traces = 3;
        store.put_documents((1..=5).map(|number| large(&trace(number), 1, 10)).collect());
        let kept = |store: &Store| store.traces().into_iter().map(|trace| trace.id).collect::<Vec<_>>();
        assert_eq!((kept(&store), store.forgotten()), (vec![trace(3), trace(4), trace(5)], 2));

        let store = Store::default();
        store.lock().max_bytes = 10_000;
        store.put_documents(vec![large(&trace(1), 1, 4_000), large(&trace(2), 1, 4_000)]);
        // The oldest grows: it stays, and the next one goes.
        store.put_documents(vec![large(&trace(1), 2, 4_000)]);
        assert_eq!((kept(&store), store.forgotten()), (vec![trace(1)], 1));
        let sum: usize = store.documents().iter().map(|document| document.bytes).sum();
        assert_eq!(store.lock().bytes, sum);
    }

    /// One document: nested or independent, running or finished, alone or repeated.
    fn any_document() -> impl Strategy<Value = String> {
        (1_u64..8, 0_u64..8, any::<bool>(), 0_u64..3, 0_u64..3).prop_map(|(id, parent, running, nested, end)| {
            let mut document: serde_json::Value =
                serde_json::from_str(&document(id, (parent > 0).then_some(parent))).unwrap();
            document["end_time"] = json!(id + end);
            if running {
                document.as_object_mut().unwrap().remove("end_time");
                document["in_progress"] = json!(true);
            }
            document["subsegments"] = (0..nested)
                .map(|n| json!({"name": "nested", "id": format!("{:016x}", (id + n) % 9 + 1), "start_time": n, "end_time": 9}))
                .collect();
            document.to_string()
        })
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(
            (documents, shuffled) in prop::collection::vec(any_document(), 0..12)
                .prop_flat_map(|documents| (Just(documents.clone()), Just(documents).prop_shuffle()))
        ) {
            let [one, other] = [documents, shuffled].map(|documents| {
                let store = Store::default();
                let refused = store.put_documents(documents);
                (refused, store.trace(TRACE), store.duplicates())
            });
            prop_assert_eq!(one, other);
        }
    }
}
