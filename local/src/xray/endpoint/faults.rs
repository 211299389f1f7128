//! Faults of the endpoint: tests and the command line ask for them, and the requests to come meet them.

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
    /// The same, with headers of the answer that are added or replaced, such as `retry-after` or `date`.
    StatusWith(u16, &'static str, Vec<(&'static str, String)>),
    /// The right answer, late.
    Delay(Duration),
    /// No answer at all.
    Hang,
    /// The connection is closed without an answer.
    Close,
    /// The same by a TCP reset.
    Reset,
    /// The request is carried out, and the connection closed without an answer.
    LoseAnswer,
}

/// Refuses a document by what is in it.
type Refusal = Arc<dyn Fn(&Value) -> Option<(&'static str, String)> + Send + Sync>;

/// Chooses the fault of a request by its number, from 0.
type Choice = Arc<dyn Fn(u64) -> Option<Fault> + Send + Sync>;

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Fault>,
    choice: Option<Choice>,
    requests: u64,
    refusal: Option<Refusal>,
    ids_hidden: bool,
    asked_for: bool,
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
        let mut inner = self.lock();
        inner.asked_for = true;
        inner.waiting.extend(std::iter::repeat_n(fault.clone(), requests));
    }

    /// From now on, documents for which `refusal` gives an error code and a message are answered as unprocessed (PTS-3).
    /// It takes the place of an earlier one.
    pub fn refuse_documents(
        &self,
        refusal: impl Fn(&Value) -> Option<(&'static str, String)> + Send + Sync + 'static,
    ) {
        let mut inner = self.lock();
        inner.asked_for = true;
        inner.refusal = Some(Arc::new(refusal));
    }

    /// From now on, requests for which nothing was added meet the fault that `choice` gives for their number. Whoever
    /// wants chance brings it, with a seed.
    pub fn choose(&self, choice: impl Fn(u64) -> Option<Fault> + Send + Sync + 'static) {
        let mut inner = self.lock();
        inner.asked_for = true;
        inner.choice = Some(Arc::new(choice));
    }

    /// Whether refused documents are answered without their id, as X-Ray does where it can't find it (PTS-3).
    pub fn hide_ids(&self, hidden: bool) {
        self.lock().ids_hidden = hidden;
    }

    /// No more faults, and no more documents refused.
    pub fn clear(&self) {
        let mut inner = self.lock();
        *inner = Inner { asked_for: inner.asked_for, ..Inner::default() };
    }

    /// Whether there has ever been trouble on request.
    pub fn were_asked_for(&self) -> bool {
        self.lock().asked_for
    }

    pub(super) fn next(&self) -> Option<Fault> {
        let (choice, number) = {
            let mut inner = self.lock();
            inner.requests += 1;
            if let Some(fault) = inner.waiting.pop_front() {
                return Some(fault);
            }
            (inner.choice.clone()?, inner.requests - 1)
        };
        choice(number)
    }

    pub(super) fn ids_hidden(&self) -> bool {
        self.lock().ids_hidden
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
