//! When not to try: another side that uses up the whole time of flush after flush would bill the user for nothing (P1).

use super::clocks::{Moment, Window};
use std::time::Duration;

/// The first time may be chance.
const FORGIVEN: u32 = 1;
const LONGEST: Duration = Duration::from_mins(1);

/// Remembers how often in a row no answer came in time.
#[derive(Debug, Default)]
pub(super) struct Patience {
    late: u32,
    last: Option<Moment>,
}

impl Patience {
    /// Whether to try in this flush. After the second late answer in a row nothing is tried for 2 s, then 4 s, and so
    /// on up to a minute; the last flush always is.
    pub(super) fn allows(&self, window: Window) -> bool {
        let pause = Duration::from_secs(1)
            .saturating_mul(1 << self.late.saturating_sub(FORGIVEN).min(6))
            .min(LONGEST);
        window.is_last
            || self.late <= FORGIVEN
            || self.last.is_none_or(|last| window.now.since(last) >= pause)
    }

    /// Takes down how a try ended.
    pub(super) fn tried(&mut self, was_late: bool, window: Window) {
        self.late = if was_late { self.late.saturating_add(1) } else { 0 };
        self.last = Some(window.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p1_pauses_grow_and_end_with_the_first_answer() {
        let begin = Moment::now();
        let window = |second: u64, is_last: bool| Window {
            now: Moment { unix: begin.unix + Duration::from_secs(second), ..begin },
            until: begin.instant,
            is_last,
        };
        let mut patience = Patience::default();
        let mut tried = Vec::new();
        for second in 0..130 {
            if patience.allows(window(second, false)) {
                patience.tried(true, window(second, false));
                tried.push(second);
            }
        }
        assert_eq!(tried, [0, 1, 3, 7, 15, 31, 63, 123]);
        assert!(!patience.allows(window(130, false)) && patience.allows(window(130, true)));
        patience.tried(false, window(130, true));
        assert!(patience.allows(window(130, false)));
    }
}
