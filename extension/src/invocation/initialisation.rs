//! What came before the first invocation: the initialisation of the environment, or its restore from a snapshot.

use super::Initialisation;
use crate::received::platform::{InitStart, Phase};

/// An initialisation that ended longer than this before an invocation was not waited for: it ran ahead of time, as
/// with provisioned concurrency (L-8.3).
const AHEAD_NANOS: u64 = 1_000_000_000;

const SNAP_START: &str = "snap-start";
const ON_DEMAND: &str = "on-demand";

/// What the platform and the invocations have said of it so far.
#[derive(Debug, Default)]
pub(super) struct Initialising {
    name: &'static str,
    kind: String,
    phase: Phase,
    start_unix_nano: Option<u64>,
    end_unix_nano: Option<u64>,
    /// `errorType`, where it failed.
    pub(super) error_type: Option<String>,
    /// The first invocation after it, and when that began.
    first: Option<(String, u64)>,
}

impl Initialising {
    /// `platform.initStart`.
    pub(super) fn started(&mut self, start: &InitStart, at_unix_nano: u64) {
        let kind = start.initialization_type.as_str();
        *self = Self {
            name: "Initialization",
            kind: kind.to_owned(),
            phase: start.phase.clone(),
            // What the snapshot was made of, no invocation has paid for (L-8.23).
            start_unix_nano: (kind != SNAP_START).then_some(at_unix_nano),
            first: self.first.take(),
            ..Self::default()
        };
    }

    /// `platform.restoreStart`: what was initialised before the snapshot is another environment's past (L-8.23).
    pub(super) fn restore_started(&mut self, at_unix_nano: u64) {
        *self = Self {
            name: "Restore",
            kind: SNAP_START.to_owned(),
            start_unix_nano: Some(at_unix_nano),
            // The record is buffered, and can come after the event of the invocation that waited for it.
            first: self.first.take().filter(|(_, begun_unix_nano)| *begun_unix_nano >= at_unix_nano),
            ..Self::default()
        };
    }

    /// It is over; said several times, the first counts.
    pub(super) fn ended(&mut self, at_unix_nano: u64, error_type: Option<&str>) {
        self.end_unix_nano.get_or_insert(at_unix_nano);
        if self.error_type.is_none() {
            self.error_type = error_type.map(str::to_owned);
        }
    }

    /// An invocation begins. The first is the one that the initialisation belongs to.
    pub(super) fn invoked(&mut self, request_id: &str, at_unix_nano: u64) {
        if self.first.is_none() {
            self.first = Some((request_id.to_owned(), at_unix_nano));
        }
    }

    /// Whether it is tried again within the invocation that waits for it, or that comes next, where it fails (L-8.21).
    pub(super) fn is_tried_again(&self) -> bool {
        self.phase == Phase::Init && self.kind == ON_DEMAND
    }

    pub(super) fn start_unix_nano(&self) -> Option<u64> {
        self.start_unix_nano
    }

    /// The initialisation, for the invocation it belongs to.
    pub(super) fn of(&self, request_id: &str) -> Option<Initialisation> {
        let (_, begun_unix_nano) = self.first.as_ref().filter(|(first, _)| first == request_id)?;
        let start_unix_nano = self.start_unix_nano?;
        // The record of the end is buffered, and can come after a short invocation.
        let end_unix_nano = self.end_unix_nano.unwrap_or(*begun_unix_nano).max(start_unix_nano);
        Some(Initialisation {
            name: self.name,
            kind: self.kind.clone(),
            start_unix_nano,
            end_unix_nano,
            was_ahead: begun_unix_nano.saturating_sub(end_unix_nano) > AHEAD_NANOS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(kind: &str) -> InitStart {
        InitStart { initialization_type: kind.to_owned(), ..InitStart::default() }
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn l_8_3_only_the_first_invocation_has_paid_and_only_when_it_waited() {
        for (begun, was_ahead) in [(3 * SECOND, false), (3_600 * SECOND, true)] {
            let mut initialising = Initialising::default();
            initialising.started(&start("on-demand"), SECOND);
            initialising.ended(3 * SECOND, None);
            initialising.ended(4 * SECOND, None);
            initialising.invoked("a", begun);
            initialising.invoked("b", begun + SECOND);
            let of_first = initialising.of("a").unwrap();
            assert_eq!((of_first.start_unix_nano, of_first.end_unix_nano), (SECOND, 3 * SECOND));
            assert_eq!(of_first.was_ahead, was_ahead);
            assert_eq!(initialising.of("b"), None);
        }
    }

    #[test]
    fn an_end_that_was_not_told_yet_is_the_begin_of_the_invocation() {
        let mut initialising = Initialising::default();
        initialising.invoked("a", 2 * SECOND);
        assert_eq!(initialising.of("a"), None, "nothing is known without telemetry");
        initialising.started(&start("on-demand"), SECOND);
        assert_eq!(initialising.of("a").unwrap().end_unix_nano, 2 * SECOND);
        assert_eq!(initialising.of("a").unwrap().name, "Initialization");
    }

    #[test]
    fn l_8_23_after_a_restore_the_next_invocation_is_the_first() {
        let mut initialising = Initialising::default();
        initialising.started(&start("snap-start"), SECOND);
        initialising.ended(2 * SECOND, None);
        initialising.invoked("at publish time", 3 * SECOND);
        initialising.restore_started(9 * SECOND);
        initialising.invoked("r", 10 * SECOND);
        assert_eq!(initialising.of("r").unwrap().name, "Restore");

        let mut told_late = Initialising::default();
        told_late.started(&start("snap-start"), SECOND);
        told_late.invoked("r", 10 * SECOND);
        assert_eq!(told_late.of("r"), None, "the snapshot's own initialisation is nobody's");
        told_late.restore_started(9 * SECOND);
        assert_eq!(told_late.of("r").unwrap().name, "Restore");
        assert_eq!(initialising.of("at publish time"), None);
    }
}
