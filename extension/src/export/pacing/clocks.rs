//! Time, as the outlets are told it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Clocks are adjusted by less than this.
const TEAR: Duration = Duration::from_secs(1);

/// A moment by both clocks. The monotonic one may stand still while the environment is frozen, the other may be set.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub instant: Instant,
    /// Time since 1970.
    pub unix: Duration,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// The time that has passed since `earlier`, by the clock that says more.
    pub fn since(self, earlier: Self) -> Duration {
        self.instant.saturating_duration_since(earlier.instant).max(self.unix.saturating_sub(earlier.unix))
    }

    /// Whether one clock has moved since `earlier` and the other not, or not as far.
    pub fn is_torn_from(self, earlier: Self) -> bool {
        let (by_one, by_other) = (
            self.instant.saturating_duration_since(earlier.instant),
            self.unix.checked_sub(earlier.unix).unwrap_or(Duration::MAX),
        );
        by_one.abs_diff(by_other) > TEAR
    }
}

/// The time a flush has.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Its beginning.
    pub now: Moment,
    /// Nothing runs past this (P4).
    pub until: Instant,
    pub occasion: Occasion,
}

/// Who waits for a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Lambda does, behind an invocation.
    Held,
    /// Nobody: it goes on beside something else.
    Beside,
    /// The environment ends after it.
    Last,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_8_5_a_jump_of_one_clock_is_told_from_time_that_passes() {
        let begin = Moment::now();
        let later = |instant, unix| Moment {
            instant: begin.instant + Duration::from_millis(instant),
            unix: begin.unix + Duration::from_millis(unix),
        };
        for (instant, unix, expected) in [
            (0, 0, false),
            (60_000, 60_000, false),
            (60_000, 60_900, false),
            (10, 60_000, true),
            (60_000, 10, true),
        ] {
            assert_eq!(later(instant, unix).is_torn_from(begin), expected, "{instant} {unix}");
        }
        assert!(begin.is_torn_from(later(0, 5)), "set back");
    }
}
