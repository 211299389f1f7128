//! How much is held in memory, in all places together, of what `OTEL_XRAY_BUFFER_KB` allows.
//!
//! What is held has a [`Charge`], which goes with it wherever it goes and ends with it, so that nothing is counted twice
//! or forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that are held, and how many may be.
#[derive(Debug, Clone)]
pub struct Ledger {
    held: Arc<AtomicUsize>,
    limit_bytes: usize,
}

/// A part of what may be held.
#[derive(Debug, Clone)]
pub struct Share {
    ledger: Ledger,
    limit_bytes: usize,
}

/// So many bytes, held until this is dropped.
#[derive(Debug)]
pub struct Charge {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl Ledger {
    pub fn new(limit_bytes: usize) -> Self {
        Self { held: Arc::default(), limit_bytes }
    }

    pub fn charge(&self, bytes: usize) -> Charge {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Charge { held: Arc::clone(&self.held), bytes }
    }

    /// By everybody.
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// For one of so many that share what may be held while other sides can't be reached. A quarter is for what comes.
    pub fn share(&self, sharers: usize) -> Share {
        let waiting_bytes = self.limit_bytes - self.limit_bytes / 4;
        Share { ledger: self.clone(), limit_bytes: waiting_bytes / sharers.max(1) }
    }

    /// How much somebody may hold who holds so much already: what others leave, and a quarter in any case.
    pub fn room_for(&self, own_bytes: usize) -> usize {
        let others = self.held_bytes().saturating_sub(own_bytes);
        self.limit_bytes.saturating_sub(others).max(self.limit_bytes / 4)
    }
}

impl Share {
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub fn charge(&self, bytes: usize) -> Charge {
        self.ledger.charge(bytes)
    }
}

impl Charge {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// From now on it is for so many.
    pub fn set(&mut self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_gone() {
        let ledger = Ledger::new(1000);
        let mut first = ledger.charge(300);
        let second = ledger.clone().charge(200);
        assert_eq!((ledger.held_bytes(), first.bytes()), (500, 300));
        first.set(100);
        assert_eq!(ledger.held_bytes(), 300);
        drop(second);
        assert_eq!(ledger.held_bytes(), 100);
        drop(first);
        assert_eq!(ledger.held_bytes(), 0);
    }

    #[test]
    fn what_comes_has_room_whatever_waits() {
        let ledger = Ledger::new(1000);
        let own = ledger.charge(100);
        assert_eq!(ledger.room_for(own.bytes()), 1000);
        let _waiting = ledger.charge(600);
        assert_eq!(ledger.room_for(own.bytes()), 400);
        let _more = ledger.charge(600);
        assert_eq!(ledger.room_for(own.bytes()), 250);
        assert_eq!([1, 3].map(|sharers| ledger.share(sharers).limit_bytes()), [750, 250]);
    }
}
