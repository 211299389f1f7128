//! What waits for a better moment, bounded in bytes (BET-30, BET-33).

use crate::ledger::{Charge, Share};
use std::collections::VecDeque;

/// Something that may have to wait.
pub(crate) trait Waits {
    /// Which flush first tried to send it. One flush is one invocation's spans, and the late ones before it.
    fn generation(&self) -> u64;
    /// As it is sent.
    fn bytes(&self) -> usize;
    /// What it takes up in memory while it waits.
    fn held_bytes(&self) -> usize;
    fn spans(&self) -> u64;
    /// Whether it is worth sending later.
    fn may_wait(&self) -> bool {
        true
    }
}

/// What could not be sent, oldest first.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    waiting: VecDeque<T>,
    limit_bytes: usize,
    /// For what waits, and for what was handed out until it is known what came of it.
    charge: Charge,
    /// What was handed out and may come back.
    lent_bytes: usize,
    generation: u64,
}

impl<T: Waits> Buffer<T> {
    pub(crate) fn new(share: &Share) -> Self {
        Self {
            waiting: VecDeque::new(),
            limit_bytes: share.limit_bytes(),
            charge: share.charge(0),
            lent_bytes: 0,
            generation: 0,
        }
    }

    /// The number of the flush that begins now.
    pub(crate) fn next_generation(&mut self) -> u64 {
        self.generation = self.generation.saturating_add(1);
        self.generation
    }

    /// The number of the flush that is under way.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Hands out everything. It counts as held until something is kept again.
    pub(crate) fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.waiting).into()
    }

    /// Lets go of everything, and says how many spans that was.
    pub(crate) fn clear(&mut self) -> u64 {
        let spans = self.spans();
        self.waiting.clear();
        self.note_held(0);
        spans
    }

    fn note_held(&mut self, waiting_bytes: usize) {
        self.charge.set(waiting_bytes.saturating_add(self.lent_bytes));
    }

    /// Hands out the oldest, within these limits; one is always within. They have a place here until
    /// [`Self::forget_lent`].
    pub(crate) fn lend(&mut self, most: usize, most_bytes: usize) -> Vec<T> {
        let mut lent = Vec::new();
        let mut bytes = 0_usize;
        while let Some(next) = self.waiting.front() {
            let with_next = bytes.saturating_add(next.bytes());
            if !lent.is_empty() && (lent.len() >= most || with_next > most_bytes) {
                break;
            }
            bytes = with_next;
            self.lent_bytes = self.lent_bytes.saturating_add(next.held_bytes());
            lent.extend(self.waiting.pop_front());
        }
        lent
    }

    /// What was lent has come back, or never will.
    pub(crate) fn forget_lent(&mut self) {
        self.lent_bytes = 0;
    }

    /// Keeps these, and returns how many spans had to go: the oldest invocation first, whole, so that what stays is
    /// not a trace without its beginning. Of an invocation that is alone and too large, the end goes.
    pub(crate) fn keep(&mut self, items: impl IntoIterator<Item = T>) -> u64 {
        self.waiting.extend(items.into_iter().filter(Waits::may_wait));
        self.waiting.make_contiguous().sort_by_key(Waits::generation);
        let mut bytes = self.waiting.iter().map(Waits::held_bytes).fold(0, usize::saturating_add);
        let limit_bytes = self.limit_bytes.saturating_sub(self.lent_bytes);
        let mut gone = 0;
        while bytes > limit_bytes {
            let (Some(oldest), Some(newest)) = (self.waiting.front(), self.waiting.back()) else { break };
            let taken = if oldest.generation() == newest.generation() {
                let last = self.waiting.pop_back();
                last.into_iter().collect()
            } else {
                let generation = oldest.generation();
                let end = self.waiting.partition_point(|item| item.generation() == generation);
                self.waiting.drain(..end).collect::<Vec<_>>()
            };
            bytes = taken.iter().map(Waits::held_bytes).fold(bytes, usize::saturating_sub);
            gone = taken.iter().map(Waits::spans).fold(gone, u64::saturating_add);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        self.note_held(bytes);
        gone
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Spans that wait.
    pub(crate) fn spans(&self) -> u64 {
        self.waiting.iter().map(Waits::spans).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    #[derive(Debug, Clone, PartialEq)]
    struct Item(u64, usize);

    impl Waits for Item {
        fn generation(&self) -> u64 {
            self.0
        }
        fn bytes(&self) -> usize {
            self.1
        }
        fn held_bytes(&self) -> usize {
            self.1
        }
        fn spans(&self) -> u64 {
            1
        }
    }

    /// With so much room for what waits.
    fn buffer(limit_bytes: usize) -> Buffer<Item> {
        Buffer { limit_bytes, ..Buffer::new(&Ledger::new(limit_bytes).share(1)) }
    }

    fn kept(limit: usize, items: &[Item]) -> (Vec<Item>, u64) {
        let mut buffer = buffer(limit);
        let gone = buffer.keep(items.to_vec());
        assert_eq!(buffer.spans() + gone, items.len() as u64);
        (buffer.take(), gone)
    }

    #[test]
    fn bet_33_the_oldest_invocation_goes_whole() {
        let items = [Item(2, 40), Item(1, 40), Item(1, 10), Item(3, 40)];
        assert_eq!(kept(100, &items), (vec![Item(2, 40), Item(3, 40)], 2));
        assert_eq!(kept(130, &items).1, 0);
        assert_eq!(kept(50, &items), (vec![Item(3, 40)], 3));
    }

    #[test]
    fn bet_33_of_an_invocation_that_is_alone_the_beginning_stays() {
        assert_eq!(kept(25, &[Item(1, 10), Item(1, 11), Item(1, 12)]), (vec![Item(1, 10), Item(1, 11)], 1));
        assert_eq!(kept(5, &[Item(1, 10)]), (vec![], 1));
    }

    #[test]
    fn bet_30_what_is_lent_is_the_oldest_and_keeps_its_place() {
        let mut buffer = buffer(100);
        assert_eq!(buffer.keep([Item(1, 40), Item(1, 41), Item(2, 10)]), 0);
        assert_eq!(buffer.lend(2, 50), [Item(1, 40)]);
        assert_eq!(buffer.keep([Item(3, 10)]), 1, "41 and 10 are too much beside 40: the oldest here goes");
        buffer.forget_lent();
        assert_eq!(buffer.keep([Item(1, 40)]), 0);
        assert_eq!(buffer.lend(2, 5), [Item(1, 40)], "one is always within");
        assert_eq!(buffer.lend(2, 1000), [Item(2, 10), Item(3, 10)]);
        assert_eq!(buffer.lend(2, 1000), []);
    }

    #[test]
    fn what_comes_back_keeps_its_place() {
        let mut buffer = buffer(1000);
        assert_eq!(buffer.keep([Item(2, 1), Item(2, 2)]), 0);
        assert_eq!(buffer.keep([Item(1, 3), Item(2, 4)]), 0);
        assert_eq!(buffer.take(), [Item(1, 3), Item(2, 1), Item(2, 2), Item(2, 4)]);
        assert!(buffer.is_empty());
    }
}
