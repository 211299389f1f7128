//! How long to wait before another try (BET-32).

use std::time::Duration;

/// Tries of one request, the first included.
pub(super) const MAX_TRIES: u32 = 3;
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// A source of jitter: `SplitMix64`. It spreads a fleet; nothing secret hangs on it.
#[derive(Debug, Clone)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A source of its own for a task of its own.
    pub(super) fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// Anything from nothing to the full pause, which doubles with each try (1 is the first) up to a second.
    pub(super) fn pause(&mut self, tries: u32) -> Duration {
        let most = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(8)).min(LONGEST);
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next() % (micros + 1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The pause an answer asks for in `Retry-After`, where it is given in seconds.
pub(super) fn retry_after(header: Option<&str>) -> Option<Duration> {
    header?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bet_32_pauses_double_from_50_ms_to_a_second_and_fill_their_range() {
        for (tries, most_ms) in [(1, 50), (2, 100), (3, 200), (5, 800), (6, 1000), (40, 1000)] {
            let mut jitter = Jitter::new(7);
            let pauses: Vec<_> = (0..1000).map(|_| jitter.pause(tries)).collect();
            let most = Duration::from_millis(most_ms);
            assert!(pauses.iter().all(|pause| *pause <= most), "{tries}");
            assert!(pauses.iter().any(|pause| *pause > most * 9 / 10), "{tries}");
            assert!(pauses.iter().any(|pause| *pause < most / 10), "{tries}");
        }
    }

    #[test]
    fn sources_differ_by_seed_and_by_split() {
        let mut one = Jitter::new(1);
        let mut part = one.split();
        assert_ne!(
            (0..4).map(|_| one.next()).collect::<Vec<_>>(),
            (0..4).map(|_| part.next()).collect::<Vec<_>>()
        );
        assert_ne!(Jitter::new(1).next(), Jitter::new(2).next());
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(retry_after(Some(" 2 ")), Some(Duration::from_secs(2)));
        assert_eq!(retry_after(Some("Sat, 21 Nov 2026 07:28:00 GMT")), None);
        assert_eq!(retry_after(None), None);
    }
}
