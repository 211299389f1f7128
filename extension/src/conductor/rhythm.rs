//! When spans leave: at the end of each invocation, or every so often beside the invocations. Pure.

use crate::export::Moment;
use crate::settings::FlushStrategy;
use std::collections::VecDeque;
use std::time::Duration;

/// `adaptive`: so many invocations within this time are frequent.
const FREQUENT: (usize, Duration) = (10, Duration::from_secs(10));
/// How often spans leave while invocations are frequent.
const WHILE_FREQUENT: Duration = Duration::from_secs(5);
/// Where invocations have no end that is told (L-8.27).
const CONTINUOUS: Duration = Duration::from_secs(1);
/// So many spans in memory do not wait for the time to come.
const MANY_SPANS: usize = 1000;

/// The strategy, and what it goes by.
#[derive(Debug)]
pub(super) struct Rhythm {
    strategy: FlushStrategy,
    hears_of_invocations: bool,
    /// The newest invocations' beginnings.
    begun: VecDeque<Moment>,
    last_flush: Moment,
}

impl Rhythm {
    pub(super) fn new(strategy: FlushStrategy, now: Moment) -> Self {
        Self { strategy, hears_of_invocations: true, begun: VecDeque::new(), last_flush: now }
    }

    /// Managed Instances tell of no invocation: spans leave all the time.
    pub(super) fn without_invocations(&mut self) {
        self.hears_of_invocations = false;
    }

    pub(super) fn invoked(&mut self, now: Moment) {
        if self.begun.len() == FREQUENT.0 {
            self.begun.pop_front();
        }
        self.begun.push_back(now);
    }

    pub(super) fn flushed(&mut self, now: Moment) {
        self.last_flush = now;
    }

    /// How long until spans leave that no end of an invocation sends; `None` where such an end does.
    pub(super) fn due_in(&self, now: Moment, spans: usize) -> Option<Duration> {
        let every = self.interval(now)?;
        if spans >= MANY_SPANS {
            return Some(Duration::ZERO);
        }
        Some(every.saturating_sub(now.since(self.last_flush)))
    }

    /// `None`: at the end of each invocation.
    pub(super) fn interval(&self, now: Moment) -> Option<Duration> {
        let is_frequent = || {
            self.begun.len() == FREQUENT.0 && self.begun.iter().all(|begun| now.since(*begun) <= FREQUENT.1)
        };
        match self.strategy {
            FlushStrategy::Every(interval) => Some(interval),
            _ if !self.hears_of_invocations => Some(CONTINUOUS),
            FlushStrategy::Adaptive if is_frequent() => Some(WHILE_FREQUENT),
            FlushStrategy::Adaptive | FlushStrategy::AtEnd => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> impl Fn(u64) -> Moment {
        let begin = Moment::now();
        move |ms| Moment { unix: begin.unix + Duration::from_millis(ms), ..begin }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn at_the_end_nothing_is_ever_due_in_between() {
        let at = clock();
        let mut rhythm = Rhythm::new(FlushStrategy::AtEnd, at(0));
        (0..100).for_each(|ms| rhythm.invoked(at(ms)));
        assert_eq!(rhythm.due_in(at(100_000), MANY_SPANS), None);
    }

    #[test]
    fn periodic_is_due_when_its_time_has_passed_also_by_a_freeze_or_when_spans_are_many() {
        let at = clock();
        let mut rhythm = Rhythm::new(FlushStrategy::Every(SECOND), at(0));
        assert_eq!(rhythm.due_in(at(400), 1), Some(Duration::from_millis(600)));
        assert_eq!(rhythm.due_in(at(60_000), 1), Some(Duration::ZERO));
        rhythm.flushed(at(60_000));
        assert_eq!(rhythm.due_in(at(60_000), 1), Some(SECOND));
        assert_eq!(rhythm.due_in(at(60_000), MANY_SPANS), Some(Duration::ZERO));
    }

    #[test]
    fn adaptive_changes_with_the_tenth_invocation_in_ten_seconds_and_back() {
        let at = clock();
        let mut rhythm = Rhythm::new(FlushStrategy::Adaptive, at(0));
        for number in 0..10 {
            assert_eq!(rhythm.interval(at(number * 1000)), None);
            rhythm.invoked(at(number * 1000));
        }
        assert_eq!(rhythm.interval(at(9000)), Some(WHILE_FREQUENT));
        assert_eq!(rhythm.interval(at(10_001)), None, "the first of the ten is too long ago");
        rhythm.invoked(at(10_500));
        assert_eq!(rhythm.interval(at(10_500)), Some(WHILE_FREQUENT));
        assert_eq!(rhythm.interval(at(60_000)), None, "after a pause");
    }

    #[test]
    fn l_8_27_where_no_invocation_is_told_of_spans_leave_every_second_or_as_often_as_is_asked_for() {
        let at = clock();
        for (strategy, expected) in [
            (FlushStrategy::AtEnd, CONTINUOUS),
            (FlushStrategy::Adaptive, CONTINUOUS),
            (FlushStrategy::Every(10 * SECOND), 10 * SECOND),
        ] {
            let mut rhythm = Rhythm::new(strategy, at(0));
            rhythm.without_invocations();
            assert_eq!(rhythm.interval(at(0)), Some(expected));
        }
    }
}
