//! Trouble on request: the endpoint behaves as X-Ray does on a bad day.

use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What happens to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status and error type instead of an answer.
    Status(u16, &'static str),
    /// The right answer, late.
    Delay(Duration),
    /// No answer at all.
    Hang,
    /// The connection is closed without an answer.
    Close,
}

/// Refuses a document by what is in it.
type Refusal = Arc<dyn Fn(&Value) -> Option<(&'static str, String)> + Send + Sync>;

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Fault>,
    refusal: Option<Refusal>,
}

/// The faults of the requests to come, first in, first out, and which documents are refused.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Inner>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        let refuses = inner.refusal.is_some();
        f.debug_struct("Faults").field("waiting", &inner.waiting).field("refuses", &refuses).finish()
    }
}

impl Faults {
    /// The next `requests` requests meet this fault.
    pub fn add(&self, fault: &Fault, requests: usize) {
        self.lock().waiting.extend(std::iter::repeat_n(fault.clone(), requests));
    }

    /// From now on, documents for which `refusal` gives an error code and a message are answered as unprocessed (PTS-3).
    /// It takes the place of an earlier one.
    pub fn refuse_documents(
        &self,
        refusal: impl Fn(&Value) -> Option<(&'static str, String)> + Send + Sync + 'static,
    ) {
        self.lock().refusal = Some(Arc::new(refusal));
    }

    /// No more faults, and no more documents refused.
    pub fn clear(&self) {
        *self.lock() = Inner::default();
    }

    pub(super) fn next(&self) -> Option<Fault> {
        self.lock().waiting.pop_front()
    }

    /// The code and message for a document that is to be refused.
    pub(super) fn refusal_of(&self, document: &str) -> Option<(&'static str, String)> {
        let refusal = self.lock().refusal.clone()?;
        refusal(&serde_json::from_str(document).ok()?)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
