//! When to try, and how: the other side that fails is tried by time, beside the function, and holds nobody (P1, BET-32).

use super::backoff::Jitter;
use super::clocks::{Moment, Occasion, Window};
use std::time::Duration;

/// The first failure may be chance.
const FORGIVEN: u32 = 1;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause that is taken from an answer: it may be wrong, or meant for somebody else.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// How much a flush may try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Everything at once, and each request again where that can help.
    Freely,
    /// One request; the rest when that is taken.
    OneFirst,
    /// Everything waits.
    No,
}

/// What the answers of the other side say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Well,
    /// `asked` is the pause that it wants.
    Failed {
        asked: Option<Duration>,
    },
}

impl Verdict {
    /// One for several requests: a failure counts, and the longest pause.
    pub(crate) fn and(self, other: Option<Self>) -> Self {
        match (self, other) {
            (Self::Failed { asked }, Some(Self::Failed { asked: before })) => {
                Self::Failed { asked: asked.max(before) }
            }
            (Self::Well, Some(failed @ Self::Failed { .. })) => failed,
            (verdict, _) => verdict,
        }
    }
}

/// How the last tries went.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Flushes and probes that have failed in a row.
    failures: u32,
    /// When the last one failed, and how long nothing is tried from then on.
    pause: Option<(Moment, Duration)>,
    /// The flush under way has failed: a large one has several parts, and no other is tried.
    has_failed: bool,
}

impl Health {
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// A flush begins.
    pub(crate) fn begin_flush(&mut self) {
        self.has_failed = false;
    }

    /// What this flush may try. From the second failure on, or as soon as the other side has asked for a pause, no flush
    /// tries at all: probes do ([`Self::is_due`]). The last flush always does.
    pub(crate) fn attempt(&self, window: Window) -> Attempt {
        match self.failures {
            0 => Attempt::Freely,
            _ if self.has_failed => Attempt::No,
            _ if window.occasion == Occasion::Last => Attempt::OneFirst,
            1..=FORGIVEN => Attempt::OneFirst,
            _ => Attempt::No,
        }
    }

    /// Whether it is time to probe: to send one request that nobody waits for.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.failures > FORGIVEN && self.pause.is_none_or(|(since, pause)| now.since(since) >= pause)
    }

    /// Takes down how a flush or a probe ended.
    pub(crate) fn take_down(&mut self, verdict: Verdict, now: Moment, jitter: &mut Jitter) {
        let Verdict::Failed { asked } = verdict else {
            *self = Self::default();
            return;
        };
        let least = if asked.is_some() { FORGIVEN + 1 } else { 1 };
        self.failures = self.failures.saturating_add(1).max(least);
        self.has_failed = true;
        self.rest(asked, now, jitter);
    }

    /// A probe ended without a word, because of a freeze: another follows after a pause as long as the last.
    pub(crate) fn was_cut(&mut self, now: Moment, jitter: &mut Jitter) {
        self.rest(None, now, jitter);
    }

    /// 1 s after the second failure, then 2 s, 4 s and so on up to a minute, of which chance takes up to a half.
    fn rest(&mut self, asked: Option<Duration>, now: Moment, jitter: &mut Jitter) {
        let doublings = self.failures.saturating_sub(FORGIVEN + 1).min(6);
        let longest = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        let pause = longest.saturating_sub(jitter.up_to(longest / 2));
        self.pause = Some((now, pause.max(asked.unwrap_or_default().min(LONGEST_ASKED))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Verdict = Verdict::Failed { asked: None };

    fn clock() -> impl Fn(u64) -> Moment {
        let begin = Moment::now();
        move |ms| Moment { unix: begin.unix + Duration::from_millis(ms), ..begin }
    }

    fn window(now: Moment, occasion: Occasion) -> Window {
        Window { now, until: now.instant, occasion }
    }

    #[test]
    fn p1_after_the_second_failure_probes_are_due_by_time_and_no_flush_tries_but_the_last() {
        for seed in 0..100 {
            let (at, mut jitter, mut health) = (clock(), Jitter::new(seed), Health::default());
            let attempt = |health: &Health, ms| health.attempt(window(at(ms), Occasion::Held));
            assert_eq!(attempt(&health, 0), Attempt::Freely);
            health.take_down(FAILED, at(0), &mut jitter);
            assert_eq!(attempt(&health, 0), Attempt::No, "not twice in one flush");
            health.begin_flush();
            assert_eq!((attempt(&health, 0), health.is_due(at(99_000))), (Attempt::OneFirst, false));
            health.take_down(FAILED, at(0), &mut jitter);
            let mut last = 0;
            let mut pauses = Vec::new();
            for ms in 0..200_000 {
                if health.is_due(at(ms)) {
                    pauses.push(ms - last);
                    last = ms;
                    health.take_down(FAILED, at(ms), &mut jitter);
                }
                assert_eq!(attempt(&health, ms), Attempt::No);
            }
            for (pause, longest) in pauses.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
                assert!((longest * 500..=longest * 1000).contains(pause), "{seed}: {pauses:?}");
            }
            health.begin_flush();
            assert_eq!(health.attempt(window(at(0), Occasion::Last)), Attempt::OneFirst);
            health.take_down(Verdict::Well, at(200_000), &mut jitter);
            assert_eq!(attempt(&health, 200_000), Attempt::Freely);
            assert!(!health.is_failing() && !health.is_due(at(900_000)));
        }
    }

    #[test]
    fn pts_6_a_pause_that_is_asked_for_begins_at_once_and_has_an_end() {
        for (asked_s, expected_s) in [(0, 1), (30, 30), (300, 300), (86_400, 300), (u64::MAX, 300)] {
            let (at, mut jitter, mut health) = (clock(), Jitter::new(7), Health::default());
            let asked = Some(Duration::from_secs(asked_s));
            health.take_down(Verdict::Failed { asked }, at(0), &mut jitter);
            assert_eq!(health.attempt(window(at(0), Occasion::Held)), Attempt::No);
            assert!(health.is_due(at(expected_s * 1000)), "{asked_s}");
            assert!(!health.is_due(at(expected_s * 1000 / 2 - 1)), "{asked_s}");
        }
    }

    #[test]
    fn l_8_6_a_probe_that_a_freeze_has_cut_makes_no_pause_longer() {
        let (at, mut jitter, mut health) = (clock(), Jitter::new(7), Health::default());
        health.take_down(FAILED, at(0), &mut jitter);
        health.take_down(FAILED, at(0), &mut jitter);
        for cut in 1..20 {
            assert!(health.is_due(at(cut * 1000)));
            health.was_cut(at(cut * 1000), &mut jitter);
            assert!(!health.is_due(at(cut * 1000)));
        }
    }

    #[test]
    fn of_several_requests_the_failure_counts_and_the_longest_pause() {
        let asked = |s| Verdict::Failed { asked: Some(Duration::from_secs(s)) };
        assert_eq!(Verdict::Well.and(None), Verdict::Well);
        assert_eq!(Verdict::Well.and(Some(asked(3))), asked(3));
        assert_eq!(FAILED.and(Some(Verdict::Well)), FAILED);
        assert_eq!(FAILED.and(Some(asked(3))), asked(3));
        assert_eq!(asked(9).and(Some(asked(3))), asked(9));
    }
}
