//! How long to wait before another try (BET-32).

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Tries of one request, the first included.
const MAX_TRIES: u32 = 3;
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// How often one request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// By the connection there is, once: the other side is failing.
    Once,
    /// Also by a new connection, where the kept one may have died.
    OncePerConnection,
    /// And again after pauses that end before then.
    Until(Instant),
}

impl Persistence {
    pub(crate) fn reconnects(self) -> bool {
        self != Self::Once
    }

    /// The pause after so many tries, which is at least what was asked for; `None`: that was the last.
    pub(crate) fn pause(self, tries: u32, asked: Option<Duration>, jitter: &mut Jitter) -> Option<Duration> {
        let Self::Until(until) = self else { return None };
        let pause = jitter.pause(tries).max(asked.unwrap_or_default());
        let left = until.saturating_duration_since(Instant::now());
        (tries < MAX_TRIES && pause < left).then_some(pause)
    }
}

/// A source of jitter: `SplitMix64`. It spreads a fleet; nothing secret hangs on it.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A source of its own for a task of its own.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// Anything from nothing to the full pause, which doubles with each try (1 is the first) up to a second.
    pub(crate) fn pause(&mut self, tries: u32) -> Duration {
        let most = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(8)).min(LONGEST);
        self.up_to(most)
    }

    /// Anything from nothing to `most`.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next() % micros.saturating_add(1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The pause an answer asks for in `Retry-After`: in seconds, or until a date. `date` is the answer's own, by which a
/// wrong clock here does not count; without one `now` is taken.
pub(crate) fn retry_after(header: Option<&str>, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let header = header?.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let theirs = date.and_then(http_date).unwrap_or(now);
    // What is over asks for nothing.
    http_date(header)?.duration_since(theirs).ok()
}

/// A date as HTTP has it.
pub(crate) fn http_date(text: &str) -> Option<SystemTime> {
    let date = DateTime::from_str(text.trim(), Format::HttpDate).ok()?;
    SystemTime::try_from(date).ok()
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

    #[tokio::test(start_paused = true)]
    async fn pts_6_no_pause_goes_past_the_time_left_however_long_it_is_asked_to_be() {
        let mut jitter = Jitter::new(7);
        let until = Persistence::Until(Instant::now() + Duration::from_secs(1));
        let seconds = |s| Some(Duration::from_secs(s));
        assert!(until.pause(1, None, &mut jitter).is_some_and(|pause| pause <= FIRST));
        assert_eq!(
            until.pause(1, Some(Duration::from_millis(900)), &mut jitter),
            Some(Duration::from_millis(900))
        );
        for asked in [seconds(1), seconds(u64::MAX), Some(Duration::MAX)] {
            assert_eq!(until.pause(1, asked, &mut jitter), None);
        }
        assert_eq!(until.pause(MAX_TRIES, None, &mut jitter), None);
        assert_eq!(Persistence::OncePerConnection.pause(1, None, &mut jitter), None);
    }

    #[test]
    fn bet_32_retry_after_is_read_in_seconds_and_as_a_date() {
        const THEN: &str = "Sat, 21 Nov 2026 07:28:00 GMT";
        let now = http_date("Sat, 21 Nov 2026 07:27:00 GMT").unwrap();
        let of = |header, date| retry_after(header, date, now);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(of(Some(" 2 "), None), seconds(2));
        assert_eq!(of(Some("18446744073709551615"), None), seconds(u64::MAX));
        assert_eq!(of(Some(THEN), None), seconds(60));
        assert_eq!(of(Some(THEN), Some("Sat, 21 Nov 2026 07:27:50 GMT")), seconds(10), "by their clock");
        assert_eq!(of(Some(THEN), Some("yesterday")), seconds(60));
        assert!(of(Some("Fri, 31 Dec 9999 23:59:59 GMT"), None) > seconds(3600));
        for none in
            ["-1", "1e30", "soon", "", "Fri, 99 Dec 99999 99:99:99 GMT", "Wed, 21 Oct 1900 07:28:00 GMT"]
        {
            assert_eq!(of(Some(none), None), None, "{none}");
        }
        assert_eq!(of(None, None), None);
    }
}
