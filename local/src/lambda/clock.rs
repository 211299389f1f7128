//! The platform's wall clock, and its formats.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// The wall clock of what the platform says. While a snapshot is made it shows the time of that (SIM-21); the clocks of
/// processes cannot be set for them alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct WallClock {
    behind_ms: Arc<AtomicU64>,
}

impl WallClock {
    pub(crate) fn now(&self) -> SystemTime {
        let behind = Duration::from_millis(self.behind_ms.load(Ordering::Relaxed));
        SystemTime::now().checked_sub(behind).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// From now on it is as much behind.
    pub(crate) fn set_back(&self, by: Duration) {
        self.behind_ms.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn since_epoch(at: SystemTime) -> Duration {
    // A clock before 1970 is a broken machine; zero keeps the environment running.
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since the Unix epoch, the unit of every `deadlineMs`.
pub(crate) fn epoch_ms(at: SystemTime) -> u64 {
    u64::try_from(since_epoch(at).as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch, the unit of segment documents.
pub(crate) fn epoch_seconds(at: SystemTime) -> f64 {
    since_epoch(at).as_secs_f64()
}

/// `2026-11-21T04:38:00.123Z`, as telemetry records carry it.
pub(crate) fn iso8601(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (hour, minute, second, millisecond) = at.to_hms_milli();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z", at.date())
}

/// `2026/11/21`, the beginning of a log stream's name.
pub(crate) fn date_path(at: SystemTime) -> String {
    OffsetDateTime::from(at).date().to_string().replace('-', "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days_and_year_ends() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_224_538_079, "2026-11-21T01:28:58.079Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (ms, expected) in cases {
            let at = UNIX_EPOCH + Duration::from_millis(ms);
            assert_eq!(iso8601(at), expected);
            assert_eq!(date_path(at), expected[..10].replace('-', "/"));
            assert_eq!(epoch_ms(at), ms);
        }
    }
}
