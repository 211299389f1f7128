//! The clock, as the conductor reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

pub(super) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time left until an instant in epoch milliseconds; `None` when there is none (0).
pub(super) fn time_until(epoch_ms: u64) -> Option<Duration> {
    (epoch_ms > 0).then(|| Duration::from_millis(epoch_ms.saturating_sub(unix_nanos() / 1_000_000)))
}

/// Waits for an instant, or for ever.
pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

pub(super) fn instant_of(unix_nano: u64) -> Instant {
    Instant::now() + Duration::from_nanos(unix_nano.saturating_sub(unix_nanos()))
}
