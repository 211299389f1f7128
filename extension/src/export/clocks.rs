//! Time, as the outlets are told it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

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
}

/// The time a flush has.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Its beginning.
    pub now: Moment,
    /// Nothing runs past this (P4).
    pub until: Instant,
    /// The environment ends after it.
    pub is_last: bool,
}
