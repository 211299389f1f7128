//! Trouble on request: the endpoint behaves as X-Ray does on a bad day.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
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

/// The faults of the requests to come, first in, first out.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<VecDeque<Fault>>>);

impl Faults {
    /// The next `requests` requests meet this fault.
    pub fn add(&self, fault: &Fault, requests: usize) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(std::iter::repeat_n(fault.clone(), requests));
    }

    /// No more faults.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn next(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
